"""The other end of `kpod.answers.workers`: `python -m kpod.answers.worker math|package.module:function SECONDS`."""

import importlib
import json
import math
import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

Judge = Callable[[str, str, str], tuple[str | None, float]]


class Unusable(Exception):
    """The function or the gold answer cannot be used: said as it is."""


def math_judge() -> Judge:
    """math-verify, without its own time limits: those need signals."""
    parsing, verify = importlib.import_module("math_verify"), importlib.import_module("math_verify").verify

    def judge(question: str, completion: str, gold: str) -> tuple[str | None, float]:
        wanted = parsing.parse(f"${gold}$", parsing_timeout=None) or parsing.parse(gold, parsing_timeout=None)
        if not wanted:
            raise Unusable(f"math-verify cannot read the gold answer {gold[:60]!r}")
        parsed = parsing.parse(completion, parsing_timeout=None)
        right = bool(parsed) and verify(wanted, parsed, timeout_seconds=None)
        return (str(parsed[-1]) if parsed else None), float(right)

    return judge


def python_judge(name: str) -> Judge:
    """The user's function."""
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    if not callable(function):
        raise Unusable(f"{name} is no function")

    def judge(question: str, completion: str, gold: str) -> tuple[str | None, float]:
        found = function(question, completion, gold)
        if not isinstance(found, bool | int | float):
            raise Unusable(f"{name} returned {type(found).__name__}, not bool or float")
        if not 0 <= found <= 1 or math.isnan(found):
            raise Unusable(f"{name} returned {found}, which is not within 0 and 1")
        return None, float(found)

    return judge


def main(what: str, seconds: float) -> None:
    """Answer requests until the pipe is closed; end by itself if one takes too long and nobody is left to kill it."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the verifier prints is no answer
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    answered = _attempt(lambda: math_judge() if what == "math" else python_judge(what))
    _send(pipe, {"failure": answered} if isinstance(answered, str) else {"ready": True})
    if isinstance(answered, str):
        return
    for line in requests:
        watch = threading.Timer(seconds, os._exit, (1,))
        watch.daemon = True
        watch.start()
        request = json.loads(line)
        found = _attempt(partial(answered, *request))
        watch.cancel()
        _send(pipe, {"failure": found} if isinstance(found, str) else {"answer": found[0], "score": found[1]})


def _attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or what it raised, as one line."""
    try:
        return call()
    except BaseException as error:  # the user's code may raise anything, SystemExit too
        named = "" if isinstance(error, Unusable) else f"{type(error).__name__}: "
        return " ".join(f"{named}{error}".split())[:300]


def _send(pipe: Any, found: dict[str, Any]) -> None:
    pipe.write(json.dumps(found) + "\n")
    pipe.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
