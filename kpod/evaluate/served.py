"""Answers of a student that a server has loaded: vLLM, llama.cpp, or any other that speaks `/v1/completions`.

Greedy like the local way, with the same prompt and the same stops; every sampling setting is sent, because servers
have defaults of their own (llama.cpp penalises repetition).
"""

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import openai

from kpod import observe
from kpod.config import StudentServer
from kpod.errors import ConfigError, ModelError
from kpod.evaluate.generate import NEXT_QUESTION, Completion
from kpod.teacher.key import NO_KEY, strike

RETRIES = 8  # of what can pass: connections, timeouts, 408, 409, 429 and 5xx, with growing pauses


def ask(server: StudentServer, prompts: Mapping[str, str], max_new_tokens: int, work: Path) -> dict[str, Completion]:
    """Completions by id for prompts by id; finished ones are kept in `work`, so that a killed evaluation goes on.

    Raises ConfigError if the key is not set, ModelError in one line if the server refuses or cannot be reached.
    """
    key = _key(server)
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "served.jsonl"
    told = {name: told for name, told in _read(kept) if name in prompts}
    waiting = [name for name in prompts if name not in told]
    with (
        openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=RETRIES) as client,
        observe.progress("evaluate", len(prompts), "question", initial=len(told)) as bar,
        kept.open("a", encoding="utf-8") as journal,
        ThreadPoolExecutor(server.concurrency) as pool,
    ):
        asked = {pool.submit(_one, client, server, prompts[name], max_new_tokens): name for name in waiting}
        try:
            for future in as_completed(asked):
                completion, name = future.result(), asked[future]
                told[name] = completion
                journal.write("\n" + json.dumps([name, completion.text, completion.truncated]))
                journal.flush()
                bar.advance(1)
        except openai.OpenAIError as error:
            pool.shutdown(cancel_futures=True)
            raise ModelError(f"evaluate.server: {server.base_url} failed: {strike(str(error), key)}") from None
    return told


def _one(client: openai.OpenAI, server: StudentServer, prompt: str, max_new_tokens: int) -> Completion:
    answer = client.completions.create(
        model=server.model,
        prompt=prompt,
        max_tokens=max_new_tokens,
        stop=[NEXT_QUESTION],
        temperature=0.0,
        top_p=1.0,
        frequency_penalty=0.0,
        presence_penalty=0.0,
        seed=0,
        extra_body=server.extra_body,
    )
    first = answer.choices[0]
    return Completion(first.text.split(NEXT_QUESTION)[0].strip(), truncated=first.finish_reason == "length")


def _key(server: StudentServer) -> str:
    if server.api_key_env is None:
        return NO_KEY
    if key := os.environ.get(server.api_key_env, "").strip():
        return key
    raise ConfigError(f"evaluate.server.api_key_env: the environment variable {server.api_key_env} is not set")


def _read(path: Path) -> Iterator[tuple[str, Completion]]:
    """What a former attempt was told; a line that a kill cut short is no answer."""
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
        try:
            name, text, truncated = json.loads(line)
        except ValueError:
            continue
        yield name, Completion(text, truncated)
