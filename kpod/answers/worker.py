"""A verifier as a process: `python -m kpod.answers.worker math|package.module:function SECONDS`.

Reads requests and writes verdicts as JSON lines; started by `kpod.answers.workers`.
"""

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
    """The function or the gold answer cannot be used; the message is passed on as it is."""


def math_judge() -> Judge:
    """A judge by math-verify, without its own time limits, which need signals. Raises ImportError."""
    import math_verify

    def judge(question: str, completion: str, gold: str) -> tuple[str | None, float]:
        parse = partial(math_verify.parse, parsing_timeout=None)
        expected = parse(f"${gold}$") or parse(gold)
        if not expected:
            raise Unusable(f"math-verify cannot read the gold answer {gold[:60]!r}")
        parsed = parse(completion)
        right = bool(parsed) and math_verify.verify(expected, parsed, timeout_seconds=None)
        return (str(parsed[-1]) if parsed else None), float(right)

    return judge


def python_judge(name: str) -> Judge:
    """A judge by the user's function `package.module:function`. Raises Unusable, or what importing it raises."""
    module, _, attribute = name.partition(":")
    function = getattr(importlib.import_module(module), attribute)
    if not callable(function):
        raise Unusable(f"{name} is no function")

    def judge(question: str, completion: str, gold: str) -> tuple[str | None, float]:
        verdict = function(question, completion, gold)
        if not isinstance(verdict, bool | int | float):
            raise Unusable(f"{name} returned {type(verdict).__name__}, not bool or float")
        if not 0 <= verdict <= 1 or math.isnan(verdict):
            raise Unusable(f"{name} returned {verdict}, which is not within 0 and 1")
        return None, float(verdict)

    return judge


def main(judge_name: str, seconds: float) -> None:
    """Answer requests until stdin is closed; exit if one takes longer than `seconds`, as the parent may be gone."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the verifier prints goes to stderr
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    judge = _attempt(lambda: math_judge() if judge_name == "math" else python_judge(judge_name))
    _send(pipe, {"failure": judge} if isinstance(judge, str) else {"ready": True})
    if isinstance(judge, str):
        return
    for line in requests:
        watch = threading.Timer(seconds, os._exit, (1,))
        watch.daemon = True
        watch.start()
        request = json.loads(line)
        verdict = _attempt(partial(judge, *request))
        watch.cancel()
        _send(pipe, {"failure": verdict} if isinstance(verdict, str) else {"answer": verdict[0], "score": verdict[1]})


def _attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or what it raised, as one line."""
    try:
        return call()
    except BaseException as error:  # the user's code may raise anything, SystemExit too
        named = "" if isinstance(error, Unusable) else f"{type(error).__name__}: "
        return " ".join(f"{named}{error}".split())[:300]


def _send(pipe: Any, message: dict[str, Any]) -> None:
    pipe.write(json.dumps(message) + "\n")
    pipe.flush()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
