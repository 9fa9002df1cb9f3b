"""Keys in Prefect's Secret blocks: read when a run begins, and kept only in this process."""

from typing import Any

from prefect.blocks.system import Secret

from kpod.config import OpenAIEndpoint, Pipeline
from kpod.teacher import key


def read_secrets(config: Pipeline) -> None:
    """Register the keys of the teachers' Secret blocks; a missing block is an error only when its key is needed."""
    endpoints = [teacher.endpoint for teacher in config.all_teachers]
    blocks = {endpoint.api_key_block for endpoint in endpoints if isinstance(endpoint, OpenAIEndpoint)}
    for name in filter(None, blocks):
        try:
            block: Any = Secret.load(name)
        except ValueError:  # no such block, which does not matter if all rationales are in the cache
            continue
        key.register_key(name, str(block.get()))
