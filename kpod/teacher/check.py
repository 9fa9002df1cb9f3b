"""A check before anything is spent that the teacher can be reached."""

import httpx2
from openai import APIConnectionError, APIStatusError

from kpod import observe
from kpod.config import OpenAIEndpoint, Teacher
from kpod.errors import TeacherError
from kpod.teacher.client import blocking_client
from kpod.teacher.failure import refusal
from kpod.teacher.key import api_key, base_url, redact

SECONDS = 10.0


def check(config: Teacher) -> None:
    """Look for the key and the server, and ask the server for its models, which costs nothing.

    Raises ConfigError if the address is malformed or the key missing, and TeacherError if the server cannot be
    reached or refuses the key. Local teachers are started by the stage itself, so there is nothing to check.
    """
    if not isinstance(config.endpoint, OpenAIEndpoint):
        return
    url, key = base_url(config.endpoint), api_key(config.endpoint)
    with blocking_client(url, key, max_retries=1, timeout=httpx2.Timeout(SECONDS)) as client:
        try:
            answer = client.get("/models", cast_to=httpx2.Response)
        except APIConnectionError as error:
            why = redact(str(error.__cause__ or error), key)
            raise TeacherError(
                f"teacher.endpoint.base_url: {url} cannot be reached ({why}); start the server or correct the address"
            ) from None
        except APIStatusError as error:
            if error.status_code == 401:
                message = redact(error.message, key)
                raise TeacherError(f"teacher.endpoint: {url} refuses the key ({message})") from None
            if error.status_code < 400:
                raise refusal(error, key) from None
            return  # no such route, a key without a right to it (403), a busy server: requests will tell
    try:
        names = [model["id"] for model in answer.json()["data"]]
    except (ValueError, KeyError, TypeError):
        return
    if names and config.model not in names:
        observe.warning(f"teacher.model: {url} does not list {config.model!r} among its {len(names)} models")
