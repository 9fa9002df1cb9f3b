"""The prompt format that the settings ask for, made with the chat template of a tokenizer or one of the user's own."""

from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from kpod.errors import ConfigError
from kpod.text.formats import PromptFormat
from kpod.text.prompts import AnswerFormat, answer_format, question_text
from kpod.text.templates import OPTIONS, PROBE, literal, rendered, without_clock, wrapped

if TYPE_CHECKING:
    from kpod.config import Form

THINK, END_THINK = "<think>", "</think>"
CHOSEN = (
    "prompt.kind is left out and the student's tokenizer has a chat template, so prompts are made with it (chat);"
    " prompt.kind: cot is the paper's form"
)


def resolve(tokenizer: PreTrainedTokenizerBase, form: "Form") -> PromptFormat:
    """The prompt format of the settings `form` for a tokenizer.

    Raises ConfigError if `chat` is asked for and the tokenizer has no chat template, or the template is unusable.
    """
    settings, answer = form.prompt, answer_format(form.answer.kind, form.answer.template)
    kind = settings.kind or ("chat" if tokenizer.chat_template else "cot")
    if kind == "cot":
        return PromptFormat(answer=answer)
    if kind == "chat":
        return _chat(tokenizer, settings.system, settings.thinking, answer)
    front = "{%- set question = messages[-1]['content'] | trim %}"
    front += f"{{%- set system = {literal(settings.system) if settings.system is not None else 'none'} %}}"
    template = wrapped(str(settings.template), front, f"{{{{ '{THINK}\\n' }}}}" if settings.thinking else "")
    shown = _tried(tokenizer, template)
    bos = tokenizer.bos_token
    return PromptFormat(
        kind="custom",
        template=template,
        specials=not (bos and shown.startswith(bos)),
        lead="" if shown[-1:].isspace() else " ",
        closing=f"\n{END_THINK}\n\n" if settings.thinking else "",
        answer=answer,
        asks_on=False,
        marks=tuple(_special(tokenizer).values()),
    )


def _chat(
    tokenizer: PreTrainedTokenizerBase, system: str | None, thinking: bool | None, answer: AnswerFormat
) -> PromptFormat:
    if not tokenizer.chat_template:
        raise ConfigError("prompt.kind: chat needs a chat template, and the tokenizer has none: use cot or custom")
    template = without_clock(tokenizer.get_chat_template())
    if thinking is not None:
        template = wrapped(template, f"{{%- set enable_thinking = {str(thinking).lower()} %}}")
    if system is not None:
        template = _with_system(tokenizer, template, system)
    shown = _tried(tokenizer, template)
    if thinking and not shown.rstrip().endswith(THINK):
        template = wrapped(template, "", f"{{% if add_generation_prompt %}}{{{{ '{THINK}\\n' }}}}{{% endif %}}")
        shown = _tried(tokenizer, template)
    lead, eos = _turn(tokenizer, template, shown)
    return PromptFormat(
        kind="chat",
        template=template,
        specials=False,
        lead=("" if shown[-1:].isspace() else "\n") if thinking else lead,
        closing=f"\n{END_THINK}\n\n" if thinking else "",
        answer=answer,
        eos=eos,
        asks_on=False,
        marks=tuple(_special(tokenizer).values()),
    )


def _with_system(tokenizer: PreTrainedTokenizerBase, template: str, system: str) -> str:
    """The template with a system prompt, put in front of the question if the template has no such role."""
    content = literal(system)
    role = (
        f"{{%- if messages[0]['role'] != 'system' %}}{{%- set messages = [{{'role': 'system', 'content': {content}}}]"
    )
    changed = wrapped(template, f"{role} + messages %}}{{%- endif %}}")
    try:
        if system.strip() in rendered(tokenizer, changed, [{"role": "user", "content": PROBE}]):
            return changed
    except ConfigError:
        pass
    user = f"{{%- set messages = [{{'role': 'user', 'content': {content} + '\\n\\n' + messages[0]['content']}}]"
    return wrapped(template, f"{user} + messages[1:] %}}")


def _turn(tokenizer: PreTrainedTokenizerBase, template: str, prompt: str) -> tuple[str, int | None]:
    """The text in front of the assistant's words, and the token that ends its turn (None: unknown)."""
    reply = "Twelve pens"
    messages = [{"role": "user", "content": question_text(PROBE, OPTIONS)}]
    messages.append({"role": "assistant", "content": reply})
    try:
        dialogue = rendered(tokenizer, template, messages, generation=False)
    except ConfigError:
        return "", None
    front, separator, behind = dialogue.rpartition(reply)
    special = _special(tokenizer)
    ids = tokenizer(behind, add_special_tokens=False)["input_ids"] if separator and behind else []
    ends = [number for number in ids if number in special]
    # Only white space: a template may put an empty thought here, which is not part of the prompt.
    lead = front.removeprefix(prompt) if front.startswith(prompt) else ""
    return ("" if lead.strip() else lead), (ends[0] if ends else None)


def _special(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Id and text of every special token."""
    special = dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))
    return special | {
        number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special
    }


def _tried(tokenizer: PreTrainedTokenizerBase, template: str) -> str:
    """The prompt of a question that every template is tried on."""
    return PromptFormat(template=template).prompt_text(tokenizer, PROBE, OPTIONS)
