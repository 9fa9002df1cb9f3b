"""Answers of a student on a server: vLLM, llama.cpp, or any other with the route `/v1/completions`.

Greedy, with the prompts and stops of the local generator. All sampling settings are sent, because servers have their
own defaults (llama.cpp penalises repetition).
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
from kpod.evaluate.generate import Completion
from kpod.teacher.finish import finish_reason
from kpod.teacher.key import NO_KEY, redact
from kpod.text.stops import STOPS, first_answer

RETRIES = 8  # after connection errors, timeouts, 408, 409, 429 and 5xx, with growing pauses
ALIKE = 5  # first rows that all get no completion, after which the server is at fault


class NoCompletion(Exception):
    """The server answered without a completion, or refused this prompt; the message is the reason, in one line."""


def ask(
    server: StudentServer, prompts: Mapping[str, str], max_new_tokens: int, work: Path, asks_on: bool = True
) -> dict[str, Completion]:
    """Completions by id for prompts by id; finished ones are kept in `work`, from which a killed evaluation continues.

    `asks_on`: a completion ends where the next question begins. A prompt without a completion is left out, with a
    warning. Raises ConfigError if the key is not set, ModelError if the server refuses the requests, cannot be reached,
    or completes nothing.
    """
    key = _key(server)
    work.mkdir(parents=True, exist_ok=True)
    file = work / "served.jsonl"
    completions = {name: completion for name, completion in _read(file) if name in prompts}
    failed: dict[str, str] = {}
    waiting = [name for name in prompts if name not in completions]
    with (
        openai.OpenAI(base_url=server.base_url, api_key=key, max_retries=RETRIES) as client,
        observe.progress("evaluate", len(prompts), "question", initial=len(completions)) as bar,
        file.open("a", encoding="utf-8") as journal,
        ThreadPoolExecutor(server.concurrency) as pool,
    ):
        futures = {pool.submit(_send, client, server, prompts[name], max_new_tokens, asks_on): name for name in waiting}
        try:
            for future in as_completed(futures):
                name = futures[future]
                try:
                    completions[name] = completion = future.result()
                except NoCompletion as error:
                    failed[name] = str(error)
                    if not completions and len(failed) >= min(ALIKE, len(prompts)):
                        raise ModelError(_blame(server, f"gives no completions: {error}", key)) from None
                    continue
                journal.write("\n" + json.dumps([name, completion.text, completion.truncated]))
                journal.flush()
                bar.advance(1)
        except openai.OpenAIError as error:
            raise ModelError(_blame(server, f"failed: {error}", key)) from None
        finally:
            pool.shutdown(cancel_futures=True)
    if failed:
        first = redact(next(iter(failed.values())), key)
        observe.warning(f"evaluate: {len(failed)} questions got no completion and count as wrong; the first: {first}")
    return completions


def _send(client: openai.OpenAI, server: StudentServer, prompt: str, max_new_tokens: int, asks_on: bool) -> Completion:
    try:
        answer: object = client.completions.create(
            model=server.model,
            prompt=prompt,
            max_tokens=max_new_tokens,
            stop=STOPS if asks_on else None,
            temperature=0.0,
            top_p=1.0,
            frequency_penalty=0.0,
            presence_penalty=0.0,
            seed=0,
            extra_body=server.extra_body,
        )
    except (openai.BadRequestError, openai.UnprocessableEntityError) as error:  # a prompt too long, or blocked
        raise NoCompletion(str(error)) from None
    except (openai.APIResponseValidationError, ValueError) as error:
        raise NoCompletion(f"the answer is not JSON ({type(error).__name__})") from None
    return _completion(answer, asks_on)


def _completion(answer: object, asks_on: bool) -> Completion:
    """The first choice of the server's answer, which may have any form. Raises NoCompletion."""
    choices = getattr(answer, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    text = getattr(first, "text", None)
    failure = getattr(first, "error", None) or getattr(answer, "error", None)
    reason = finish_reason(getattr(first, "finish_reason", None))
    if not isinstance(text, str) or failure or reason in ("error", "abort", "content_filter"):
        problem = failure or (f"finish_reason {reason}" if isinstance(text, str) else answer)
        raise NoCompletion(f"{type(answer).__name__} without a text: {str(problem)[:200]}")
    return Completion(first_answer(text) if asks_on else text.strip(), truncated=reason != "stop")


def _blame(server: StudentServer, failure: str, key: str) -> str:
    return redact(f"evaluate.server: {server.base_url} {failure}", key)


def _key(server: StudentServer) -> str:
    if server.api_key_env is None:
        return NO_KEY
    if key := os.environ.get(server.api_key_env, "").strip():
        return key
    raise ConfigError(f"evaluate.server.api_key_env: the environment variable {server.api_key_env} is not set")


def _read(path: Path) -> Iterator[tuple[str, Completion]]:
    """The completions of an earlier attempt; an incomplete line of a killed process is skipped."""
    for line in path.read_text(encoding="utf-8").split("\n") if path.exists() else ():
        try:
            name, text, truncated = json.loads(line)
        except ValueError:
            continue
        yield name, Completion(text, truncated)
