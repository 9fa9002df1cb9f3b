"""Separation of thinking and answer in a text in which the server left their marks.

Three families: a pair of tags around the thinking (of many names; the opening one may be in the chat template), the
channels of gpt-oss (harmony), and texts in which the channels' special tokens were dropped while their names stayed
("analysis...assistantfinal...").
"""

import re

_NAME = r"(?:[a-z]{1,12}:|longcat_)?(?:think(?:ing)?|thoughts?|reasoning)"
_OPEN = (
    rf"<\|?{_NAME}(?:\s[^<>\n]{{0,80}})?\|?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|"
    r"<unused94>(?:thought\b)?"
)
_CLOSE = rf"<\|?/\s?{_NAME}\s?\|?>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>|<\|END_THINKING\|>|<unused95>"
_MARK = re.compile(rf"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
# Tags around the answer, removed if they enclose the whole text.
_WRAPPED = [
    re.compile(rf"\s*{begin}(.*?)(?:{end})?\s*", re.DOTALL | re.IGNORECASE)
    for begin, end in (
        (r"<answer>", r"</answer>"),
        (r"<response>", r"</response>"),
        (r"<\|begin_of_solution\|>", r"<\|end_of_solution\|>"),
        (r"<\|START_RESPONSE\|>", r"<\|END_RESPONSE\|>"),
        (r"\[BEGIN FINAL RESPONSE\]", r"\[END FINAL RESPONSE\](?:<\|end\|>)?"),
    )
]
_CHANNEL = re.compile(r"<\|channel\|>\s*+(\w{1,20}+)[^<]{0,60}+(?:<\|constrain\|>\s*+\w{0,20}+\s*+)?<\|message\|>")
_ENDED = re.compile(r"(?:<\|(?:end|return|call)\|>|<\|start\|>(?:assistant)?)\s*")
_BARE = re.compile(r"^\s*analysis(?=[^a-z\s]|\s*\n)")
_BARE_NEXT = re.compile(r"assistant\s?(final|analysis|commentary)(?: to=\S{1,60})?")


def divide(content: str) -> tuple[str, str | None]:
    """(answer, thinking or None) of a completion, both without marks and outer white space.

    The answer is empty if the text ends inside its thinking. Time is linear in the length of `content`.
    """
    if "<|channel|>" in content:
        answer, reasoning = _channels(content)
    elif _BARE.match(content):
        answer, reasoning = _bare_channels(content)
    else:
        answer, reasoning = _tags(content)
    thinking = "\n\n".join(part for part in map(str.strip, reasoning) if part)
    return unwrap("".join(answer)).strip(), thinking or None


def unwrap(text: str) -> str:
    """`text` without tags around the whole of it."""
    for pattern in _WRAPPED:
        if match := pattern.fullmatch(text):
            return match[1]
    return text


def _tags(content: str) -> tuple[list[str], list[str]]:
    answer, reasoning = list[str](), list[str]()
    at, inside, end = 0, False, len(content.rstrip())
    for mark in _MARK.finditer(content):
        part = content[at : mark.start()]
        at = mark.end()
        if mark["open"]:
            (reasoning if inside else answer).append(part)
            inside = True
        elif inside:
            reasoning.append(part)
            inside = False
        else:  # nothing opened it: all that stands before is thinking, unless nothing follows
            answer.append(part)
            if at < end:
                reasoning += answer
                answer = []
    (reasoning if inside else answer).append(content[at:])
    return answer, reasoning


def _channels(content: str) -> tuple[list[str], list[str]]:
    """Messages of the channel `final` are said; all others, and what comes before the first channel, are thinking."""
    answer, reasoning = list[str](), list[str]()
    at, final = 0, False
    for mark in _CHANNEL.finditer(content):
        (answer if final else reasoning).append(_ENDED.sub("", content[at : mark.start()]))
        at, final = mark.end(), mark[1].lower() == "final"
    (answer if final else reasoning).append(_ENDED.sub("", content[at:]))
    return answer, reasoning


def _bare_channels(content: str) -> tuple[list[str], list[str]]:
    answer, reasoning = list[str](), list[str]()
    at, final = content.index("analysis") + len("analysis"), False
    for mark in _BARE_NEXT.finditer(content, at):
        if final:  # the answer may speak of an assistant
            break
        reasoning.append(content[at : mark.start()])
        at, final = mark.end(), mark[1] == "final"
    (answer if final else reasoning).append(content[at:])
    return answer, reasoning
