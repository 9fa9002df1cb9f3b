"""Keys that lie in Prefect: read when a run begins, and kept in this process alone."""

from typing import Any

from prefect.blocks.system import Secret

from kpod.config import OpenAIEndpoint, Pipeline
from kpod.teacher import key


def read_secrets(config: Pipeline) -> None:
    """Hand the keys of the teachers' Secret blocks over to the stages; who needs it says so if it is missing."""
    endpoints = [one.endpoint for one in config.all_teachers]
    for name in {one.api_key_block for one in endpoints if isinstance(one, OpenAIEndpoint) and one.api_key_block}:
        try:
            block: Any = Secret.load(name)
        except ValueError:  # no such block, which does not matter if all rationales are in the cache
            continue
        key.register_key(name, str(block.get()))
