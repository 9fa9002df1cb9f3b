"""Jinja templates of prompts: rendered in a sandbox, with a fixed date, and checked to show the question."""

import re
from datetime import date
from typing import TYPE_CHECKING, NoReturn

from kpod.errors import ConfigError
from kpod.text.prompts import question_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from transformers import PreTrainedTokenizerBase

PROBE = "How many pens are in 4 boxes of 3?"  # a question to test templates with
OPTIONS = ("12", "7")
TODAY = date(2024, 7, 26)  # the date for all templates, so that a prompt never changes
_NOW = re.compile(r"strftime_now\(\s*(?P<quote>['\"])(?P<form>.*?)(?P=quote)\s*\)")


def check_custom(template: str, system: str | None) -> None:
    """Raise ValueError in one line if a template of `prompt.kind: custom` fails, or drops question or system."""
    question = question_text(PROBE, OPTIONS)
    try:
        compiled = _environment().from_string(template)
        shown = compiled.render(question=question, system=system, bos_token="", eos_token="")
    except Exception as error:  # a template can raise anything
        raise ValueError(f"prompt.template: {_reason(error)}") from error
    if question not in shown:
        raise ValueError("prompt.template loses the question: it must show {{ question }} unchanged")
    if system is not None and system not in shown:
        raise ValueError("prompt.template does not show {{ system }}, so leave prompt.system out")


def _environment() -> "Environment":
    """A sandbox that reads templates as transformers, vLLM and llama.cpp read chat templates."""
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    def fail(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = fail
    return environment


def rendered(
    tokenizer: "PreTrainedTokenizerBase", template: str, messages: list[dict[str, str]], generation: bool = True
) -> str:
    """A chat of `messages` (role and content) by a chat template; `generation`: up to the assistant's next words.

    Raises ConfigError if the template raises.
    """
    try:
        return str(
            tokenizer.apply_chat_template(
                messages, chat_template=template, tokenize=False, add_generation_prompt=generation
            )
        )
    except Exception as error:  # a template can raise anything
        raise ConfigError(
            f"prompt: the chat template cannot be used ({_reason(error)}): use prompt.kind cot"
        ) from error


def _reason(error: Exception) -> str:
    """The message of an error in one line, or its type."""
    return " ".join(str(error).split()) or type(error).__name__


def without_clock(template: str) -> str:
    """The template with the date TODAY in place of calls of `strftime_now`."""
    return _NOW.sub(lambda match: repr(TODAY.strftime(match["form"])), template)


def literal(text: str) -> str:
    """`text` as a Jinja string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
    return f"'{escaped}'"


def wrapped(template: str, front: str, behind: str = "") -> str:
    """A template with statements before and after it, which change no white space."""
    lead = f"{front}{{{{- '' }}}}" if front else ""
    return lead + template.removesuffix("\n") + behind
