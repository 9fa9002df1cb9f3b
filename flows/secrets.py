"""Keys that lie in Prefect: read when a run begins, and kept in this process alone."""

from typing import Any

from prefect.blocks.system import Secret

from kpod.config import OpenAIEndpoint, Pipeline
from kpod.teacher import key


def read_secrets(config: Pipeline) -> None:
    """Hand the key of the teacher's Secret block over to the stages; who needs it says so if it is missing."""
    endpoint = config.teacher.endpoint
    if not isinstance(endpoint, OpenAIEndpoint) or endpoint.api_key_block is None:
        return
    try:
        block: Any = Secret.load(endpoint.api_key_block)
    except ValueError:  # no such block, which does not matter if all rationales are in the cache
        return
    key.give(endpoint.api_key_block, str(block.get()))
