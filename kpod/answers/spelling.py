"""Normalisation of texts: signs, digits, spaces, vulgar fractions, Markdown, HTML and LaTeX in one plain spelling."""

import re
import unicodedata

from kpod.answers.latex import latex_to_text

_VULGAR = {
    chr(code): name.replace("\u2044", "/")
    for code in [*range(0xBC, 0xBF), *range(0x2150, 0x215F), 0x2189]
    if "/" in (name := unicodedata.normalize("NFKD", chr(code)).replace("\u2044", "/"))
}
_SUPER = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉", "0123456789+-0123456789")
_SPELLED: dict[str | int, str | None] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},  # full width
    **dict.fromkeys("−‐‑﹣", "-"),
    **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u3000\t", " "),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff\u00ad", None),
    **dict.fromkeys("“”„«»「」『』", '"'),
    **dict.fromkeys("’‘", "'"),
    **dict.fromkeys("【〔", "["),
    **dict.fromkeys("】〕", "]"),
    **dict.fromkeys("×✕✖", "x"),
    **dict.fromkeys("÷∕", "/"),
    "。": ". ",
    "、": ", ",
    "‰": " permille",
}
_SIGNS = str.maketrans(_SPELLED)
_PATTERNS = [
    (re.compile(r"<<[^<>\n]{0,100}>>"), ""),  # the calculator of GSM8K: 9*4=<<9*4=36>>36
    (re.compile(r"(?<=\d)['_](?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<=\d) ?\*\* ?(?=\d)"), "^"),
    (re.compile(r"</?(?:b|strong|i|em|u|code|span|sup|sub|p|div|mark|center)>"), ""),
    (re.compile(r"<br ?/?>", re.IGNORECASE), "\n"),
    (re.compile(r"\*\*|`|(?<!\w)_{1,3}(?=[\w$(-])|(?<=[\w.%)])_{1,3}(?!\w)"), ""),
    (re.compile(r"–(?=[\d$€£.])"), "-"),
    (re.compile(r"\b(is|are|was|were|would|should|could|do|does|did)n't\b", re.IGNORECASE), r"\1 not"),
    (re.compile(r"\bcan't\b"), "cannot"),
    (re.compile(r"[^\S\n]+"), " "),
]
_SMALL_FRACTION = re.compile(r"([⁰¹²³⁴⁵⁶⁷⁸⁹]{1,9})[⁄/]([₀₁₂₃₄₅₆₇₈₉]{1,9})")
_POWER = re.compile(r"(?<=[\w)])([⁺⁻]?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)")


def normalize(text: str) -> str:
    """`text` in the plain spelling: "−2½" is "-2 1/2", "$\\frac34$" is "$3/4$", "**7**" is "7", "10⁵" is "10^5"."""
    if not text.isascii():
        for sign, fraction in _VULGAR.items():
            if sign in text:
                text = re.sub(rf"(?<=\w) ?{sign}", f" {fraction}", text).replace(sign, fraction)
        text = _SMALL_FRACTION.sub(lambda match: f"{match[1]}/{match[2]}".translate(_SUPER), text)
        text = _POWER.sub(lambda match: "^" + match[1].translate(_SUPER), text)
        text = text.replace("⁄", "/").translate(_SIGNS)
        text = re.sub(r"\d", lambda match: str(unicodedata.decimal(match[0])), text)
    text = latex_to_text(text.replace("\t", " "))
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
