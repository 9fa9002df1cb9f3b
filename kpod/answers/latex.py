"""LaTeX as plain text: fractions, roots, boxes and formatting commands.

A fraction of two numbers becomes "3/4". What is not a number is written as no number is, such as "sqrt(3)/2", so that
no part of it is read as the answer.
"""

import re

_FRACTION = re.compile(r"\\[dtc]?frac(?![A-Za-z])")
_DRESS = re.compile(
    r"\\(?:text|textbf|textit|textrm|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mathbb|operatorname|mbox|bf|rm|"
    r"underline|emph|bm|boldsymbol|textnormal)(?![A-Za-z])\s*\{([^{}]*)\}"
)
_ROOT = re.compile(r"\\sqrt(?:\[(?P<degree>[^\[\]]{0,9})\])?")
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)")
_ATOM = re.compile(r"[A-Za-zπ]|[a-z]{2,5}\([^()]*\)")
_COMMANDS = [
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|limits|quad|qquad|hspace\{[^{}]*\})(?![A-Za-z])"), " "),
    (re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})"), "°"),
    (re.compile(r"\\(?:degree|circ)(?![A-Za-z])"), "°"),
    (re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"), "x"),
    (re.compile(r"\\div(?![A-Za-z])"), "/"),
    (re.compile(r"\\(?:approx|simeq|sim)(?![A-Za-z])"), "≈"),
    (re.compile(r"\\(?:infty|infin)(?![A-Za-z])"), "∞"),
    (re.compile(r"\\(?:geq?|geqslant)(?![A-Za-z])"), "≥"),
    (re.compile(r"\\(?:leq?|leqslant)(?![A-Za-z])"), "≤"),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r"\\pm(?![A-Za-z])"), "±"),
    (re.compile(r"\\pi(?![A-Za-z])"), "π"),
    (re.compile(r"\\(?:dots|ldots|cdots)(?![A-Za-z])"), "..."),
    (re.compile(r"(?<=\d)\\[,!](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<=\d,)\\[,!;:]\s?(?=\d{3}(?!\d))"), ""),
    (re.compile(r"\\[,;: ]"), " "),
    (re.compile(r"\\([$%#&{}_])"), r"\1"),
    (re.compile(r"\\[!()\[\]]"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\{\s*(-?\d+)\s*\}"), r"^\1"),
    (re.compile(r"(?<=[a-z]) +(?=\^[23](?!\d))"), ""),
]
_DEEPEST = 20  # braces within braces; what lies deeper stays as it is
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)(?![A-Za-z])\s*")


def latex_to_text(text: str) -> str:
    """`text` with its LaTeX commands replaced by plain text."""
    if "\\" not in text and "{" not in text:
        return text
    for pattern, replacement in _COMMANDS[:2]:  # they look like arguments: \left(, ^{\circ}
        text = pattern.sub(replacement, text)
    for _ in range(_DEEPEST):
        undressed = _DRESS.sub(r" \1 ", text)
        if undressed == text:
            break
        text = undressed
    text = _arguments(text, _ROOT, 1)
    return _signs(_arguments(text, _FRACTION, 2))


def _signs(text: str) -> str:
    for pattern, replacement in _COMMANDS:
        text = pattern.sub(replacement, text)
    return text


def unboxed(text: str) -> list[tuple[int, int, str]]:
    """Begin, end and content of each outermost box (`\\boxed{...}`); one that is not closed ends with its line."""
    boxes = []
    at = 0
    while match := _BOX.search(text, at):
        content, at = _argument(text, match.end(), open_to="\n")
        for _ in range(_DEEPEST):
            inner = _BOX.match(content)
            if inner is None:  # \boxed{\boxed{7}}
                break
            content, _ = _argument(content, inner.end(), open_to="\n")
        boxes.append((match.start(), at, content))
    return boxes


def _arguments(text: str, command: re.Pattern[str], count: int, depth: int = 0) -> str:
    """`text` with each `command` and its `count` arguments as plain text."""
    pieces, at = [], 0
    while match := command.search(text, at):
        arguments, end = [], match.end()
        for _ in range(count):
            argument, end = _argument(text, end)
            arguments.append(_arguments(argument, command, count, depth + 1) if depth < _DEEPEST else argument)
        before = text[at : match.start()]
        pieces.append(before)
        if count == 1:
            pieces.append((" " if before[-1:].isalpha() else "") + _root(arguments[0], match["degree"]))
        else:
            whole = "".join(pieces[-1:]).rstrip()[-1:].isdigit()
            pieces.append(_fraction(arguments[0], arguments[1], whole))
        at = end
    return "".join(pieces) + text[at:]


def _root(argument: str, degree: str | None) -> str:
    return f"{f'root{degree.strip()}' if degree else 'sqrt'}({_signs(argument).strip()})"


def _fraction(top: str, bottom: str, behind_digit: bool) -> str:
    top, bottom = _signs(top).strip(), _signs(bottom).strip()
    if _NUMBER.fullmatch(top) and _NUMBER.fullmatch(bottom):
        negative = top.startswith("-") != bottom.startswith("-")
        written = f"{top.lstrip('+-')}/{bottom.lstrip('+-')}"
        if behind_digit:  # 2\frac12 is 2 1/2; 2\frac{-1}{2} is a product
            return f" {written}" if not negative else f"*(-{written})"
        return f"-{written}" if negative else written
    return f"{_grouped(top)}/{_grouped(bottom)}"


def _grouped(term: str) -> str:
    return term if _NUMBER.fullmatch(term) or _ATOM.fullmatch(term) else f"({term})"


def _argument(text: str, at: int, open_to: str | None = None) -> tuple[str, int]:
    """The argument of a command at `at`, in braces or a single sign, and where it ends."""
    while at < len(text) and text[at] in " \t":
        at += 1
    if at >= len(text):
        return "", at
    if text[at] == "\\":
        command = re.compile(r"\\(?:[A-Za-z]+(?:\[[^\]{}]{0,9}\])?|.)", re.DOTALL).match(text, at)
        end = command.end() if command else at + 1
        while text[end : end + 1] == "{":
            _, end = _argument(text, end)
        return text[at:end], end
    if text[at] != "{":
        number = re.compile(r"[0-9][0-9.,]*").match(text, at) if open_to else None  # \boxed 42, but \frac 12
        end = number.end() if number else at + 1
        return text[at:end], end
    depth, start = 0, at
    for sign in re.compile(r"\\.|[{}]").finditer(text, at):
        depth += {"{": 1, "}": -1}.get(sign[0], 0)
        if depth == 0:
            return text[start + 1 : sign.start()], sign.end()
    line = text.find(open_to, start) if open_to else -1
    end = len(text) if line < 0 else line
    return text[start + 1 : end], end
