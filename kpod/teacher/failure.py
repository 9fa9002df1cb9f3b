"""Classification of error answers: retry, give up this request, or stop the run.

Servers agree neither on the shape of an error nor on its words, so every name and text in the body is examined. An
error that only says that a request is bad (400, 413, 422) is attributed to its row; the plan stops the run if all rows
fail alike.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from openai import APIStatusError

from kpod.config.flat import scrubbed
from kpod.errors import TeacherError
from kpod.teacher.key import redact, without_route

RETRYABLE = frozenset({408, 409, 424, 425, 429, 498, 499})
ABOUT_THE_ROW = frozenset({400, 413, 414, 422, 431, 451})
SHOWN = 300  # characters of a server's message
DEPTH, ITEMS = 6, 60  # of a body that are examined

_NO_MONEY = re.compile(
    r"insufficient[ _](?:user[ _])?(?:quota|balance|credits?|funds)|insufficient(?:quota|balance)|billing_hard_limit"
    r"|payment_required|credit balance is too low|arrearage|account[^.]{0,60}(?:overdue|good standing)",
    re.IGNORECASE,
)
_NO_KEY = re.compile(
    r"\b(?:invalid|incorrect|missing|expired|wrong)[ _-]?api[ _-]?key|api[ _-]?key[^.]{0,40}(?:invalid|incorrect"
    r"|missing|expired|not valid)|invalid_authentication|authentication_error|account_deactivated",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"model_?not_?(?:found|available|exist|supported)|(?:invalid|unknown|no such|unsupported)[ _]model\b(?! output)"
    r"|\bmodel\b[^.:]{0,80}(?:not found|does not exist|doesn't exist|not exist|is not available|no longer available)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[ _-]?(?:length|window|size)"
    r"|(?:prompt|input|request|payload|body|entity|content)[a-z ]{0,20} too (?:long|large)"
    r"|too many (?:input |prompt )?tokens|longer than the model|string_above_max_length|exceed_context|max_model_len"
    r"|(?:maximum|max)[ _](?:input|prompt|sequence|model|allowed|number of)?[ _]?(?:length|tokens)",
    re.IGNORECASE,
)
_BLOCKED = re.compile(
    r"content[ _-]?(?:filter|policy|management)|moderation|flagged|data_?inspection|invalid_prompt|inappropriate"
    r"|prohibited|unsafe|sensitive|content exists risk|high risk|responsible ?ai|usage polic",
    re.IGNORECASE,
)
_NAMES = ("code", "type", "status", "reason", "error_type", "__type")
_TEXTS = ("message", "detail", "msg", "error", "error_description", "title", "")
_ECHOED = frozenset({"input", "flagged_input", "prompt", "messages", "failed_generation", "request", "headers"})
_GENERAL = re.compile(r"error|invalid_?request_?error|invalid_?argument|bad_?request_?error|bad_?request|none|null")


class Failed(Exception):
    """This attempt failed, a retry may succeed.

    `after`: seconds that the server asks to wait; `limited`: a rate limit; `lost`: it may have been billed.
    """

    def __init__(self, reason: str, after: float | None = None, limited: bool = False, lost: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.after, self.limited, self.lost = reason, after, limited, lost


class Refused(Exception):
    """The server will never answer this request; other requests are not affected."""


def failure(
    status: int, body: object, key: str, after: float | None = None, location: str | None = None
) -> Failed | Refused | TeacherError:
    """The exception for an error answer. `after`: seconds that the server asks to wait; `location`: of a redirect."""
    if 300 <= status < 400:
        return _moved(status, location, key)
    values = list(_values(body))
    words = " ".join(text for _, text in values)
    code = next((t for n, t in values if n in _NAMES and not t.isdigit() and not _GENERAL.fullmatch(t.lower())), "")
    code = redact(code, key)[:60]
    reason = redact(next((t for name in _TEXTS for n, t in values if n == name), ""), key)[:SHOWN]
    message = f"the teacher answered {status}: {reason or code or 'no reason given'}"
    row = Refused(f"{status}{' ' + code if code else ''}: {reason or 'no reason given'}")
    if status == 402 or _NO_MONEY.search(words if status < 500 and status != 429 else code):
        return TeacherError(f"{message} (what is finished is kept; pay, then run again)")
    stop = TeacherError(f"{message} (what is finished is kept; correct the teacher settings, then run again)")
    if status in (401, 404, 405) or (status < 500 and status != 429 and _NO_KEY.search(words)):
        return stop
    if _TOO_LONG.search(words) and (status != 429 or "too large" in words):
        return row
    if status in RETRYABLE or status >= 500:
        return Failed(str(status), after, limited=status == 429)
    if _BLOCKED.search(words):
        return row
    return row if status in ABOUT_THE_ROW and not _NO_MODEL.search(words) else stop


def refusal(error: APIStatusError, key: str, after: float | None = None) -> Failed | Refused | TeacherError:
    """The exception for an error of the `openai` client; `key` is removed from its message."""
    location = error.response.headers.get("location")
    where = str(error.response.url.join(location)) if location else None
    return failure(error.status_code, error.body, key, after, where)


def status_of(error: Any) -> int:
    """The status of an error inside a body whose own status is missing or 200: as the error says, else 400 or 500."""
    values = list(_values(error))
    for name, text in values:
        if name in ("code", "status", "status_code") and text.isdigit() and 400 <= int(text[:4]) < 600:
            return int(text)
    words = " ".join(text for _, text in values)
    return 400 if _TOO_LONG.search(words) or _BLOCKED.search(words) else 500


def _moved(status: int, location: str | None, key: str) -> TeacherError:
    where = redact(str(scrubbed(without_route(location))), key) if location else "an address that it does not name"
    return TeacherError(
        f"teacher.endpoint.base_url: the server answered {status}, it has moved to {where}: write the new address there"
    )


def _values(body: object, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    """(name, text) of every value in an error body, the outer ones first."""
    if isinstance(body, Mapping):
        items = [(str(key), value) for key, value in list(body.items())[:ITEMS] if key not in _ECHOED]
    elif isinstance(body, list):
        items = [(name, value) for value in body[:ITEMS]]
    else:
        if body is not None and not isinstance(body, bool):
            yield name, (body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body))[: 10 * SHOWN]
        return
    if depth < DEPTH:
        for key, value in sorted(items, key=lambda item: isinstance(item[1], Mapping | list)):
            yield from _values(value, key, depth + 1)
