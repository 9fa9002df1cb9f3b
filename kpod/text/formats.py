"""The prompt format of a student's rows, shared by training, weighting, difficulty, evaluation and export."""

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from kpod.errors import ConfigError
from kpod.text.prompts import SENTENCE, AnswerFormat, prompt, question_text
from kpod.text.special import AS_TEXT, reader
from kpod.text.templates import literal, rendered, wrapped

_IDS = {"return_attention_mask": False, "return_token_type_ids": False}
_COT = "Q: {{ messages[-1]['content'] | trim }} A: Let's think step by step."


@dataclass(frozen=True)
class PromptFormat:
    """The segments around a rationale: `prompt | lead rationale | closing statement eos`, each tokenised by itself."""

    kind: str = "cot"
    template: str | None = None  # a chat template that renders the prompt from one user message; None: the paper's form
    specials: bool = True  # whether the tokenizer adds special tokens around the prompt; else the template has them
    lead: str = " "  # between prompt and rationale
    closing: str = ""  # end of the thinking
    answer: AnswerFormat = SENTENCE
    eos: int | None = None  # the token that ends the assistant's turn; None: the tokenizer's own
    asks_on: bool = True  # whether a student may continue with the next question, which then ends its answer
    marks: tuple[str, ...] = ()  # the texts of the tokenizer's special tokens

    def prompt_text(
        self, tokenizer: PreTrainedTokenizerBase, question: str, choices: Sequence[str] | None = None
    ) -> str:
        """The prompt of a question. Raises ConfigError if the template raises or drops the question."""
        if self.template is None:
            return prompt(question, choices)
        text = question_text(question, choices)
        shown = rendered(tokenizer, self.template, [{"role": "user", "content": text}])
        if text not in shown:
            raise ConfigError("prompt: the chat template loses the question: use prompt.kind cot or custom")
        return shown

    def sent_text(self, tokenizer: PreTrainedTokenizerBase, question: str, choices: Sequence[str] | None = None) -> str:
        """The prompt for a server that tokenises it as plain text and adds the tokenizer's special tokens."""
        text = self.prompt_text(tokenizer, question, choices)
        return text if self.specials else text.removeprefix(str(tokenizer.decode(_around(tokenizer)[0])))

    def prompt_ids(
        self, tokenizer: PreTrainedTokenizerBase, question: str, choices: Sequence[str] | None = None
    ) -> list[int]:
        """Ids of the prompt; special tokens in the question itself are encoded as plain characters."""
        return self.prompts_ids(tokenizer, [(question, choices)])[0]

    def prompts_ids(
        self, tokenizer: PreTrainedTokenizerBase, questions: Sequence[tuple[str, Sequence[str] | None]]
    ) -> list[list[int]]:
        """As `prompt_ids`, for many questions, each with its options or None."""
        texts = [self.prompt_text(tokenizer, question, choices) for question, choices in questions]
        if self.template is None:
            return list(reader(tokenizer, texts)(texts, **AS_TEXT, **_IDS)["input_ids"]) if texts else []
        words = [question_text(question, choices) for question, choices in questions]
        marked = {row for row, text in enumerate(words) if any(mark in text for mark in self.marks)}
        plain = [text for row, text in enumerate(texts) if row not in marked]
        encoded = iter(tokenizer(plain, add_special_tokens=self.specials, **_IDS)["input_ids"] if plain else [])
        return [
            self._with_marks(tokenizer, text, words[row]) if row in marked else list(next(encoded))
            for row, text in enumerate(texts)
        ]

    def _with_marks(self, tokenizer: PreTrainedTokenizerBase, text: str, question: str) -> list[int]:
        """Ids of a prompt whose question holds special tokens as plain characters."""
        front, _, behind = text.rpartition(question)
        first, last = _around(tokenizer) if self.specials else ([], [])
        [words] = _words(tokenizer, [question])
        return [*first, *_plain(tokenizer, front), *words, *_plain(tokenizer, behind), *last]

    def dialogue_ids(
        self, tokenizer: PreTrainedTokenizerBase, turns: Sequence[tuple[str, str]], question: str
    ) -> list[int] | None:
        """Ids of the prompt of `question` after earlier `turns` (user, assistant) of a chat.

        None if one of the texts holds a special token. Raises ConfigError if the template drops a turn.
        """
        texts = [text for turn in turns for text in turn] + [question]
        if any(mark in text for mark in self.marks for text in texts):
            return None
        roles = ("user", "assistant") * len(turns) + ("user",)
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        shown = rendered(tokenizer, str(self.template), messages)
        if not all(text.strip() in shown for text in texts):
            raise ConfigError("prompt: the chat template loses earlier turns: use another method or prompt.kind: cot")
        return list(tokenizer(shown, add_special_tokens=self.specials)["input_ids"])

    def answer_ids(self, tokenizer: PreTrainedTokenizerBase, answer: str) -> list[int]:
        """Ids of the end of the thinking, the statement of the answer, and EOS."""
        return self.answers_ids(tokenizer, [answer])[0]

    def answers_ids(self, tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[list[int]]:
        """As `answer_ids`, for many answers."""
        stated = [self.answer.statement(answer) for answer in answers]
        if self.closing:
            stated = [text.lstrip() for text in stated]
        front, end = _plain(tokenizer, self.closing), self.eos_id(tokenizer)
        return [[*front, *ids, end] for ids in _words(tokenizer, stated)]

    def eos_id(self, tokenizer: PreTrainedTokenizerBase) -> int:
        """The id of the token that ends a row and a generation."""
        return int(tokenizer.eos_token_id if self.eos is None else self.eos)

    def chat_template(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """A chat template that renders the training prompt, for servers that add no special tokens."""
        first, last = (str(tokenizer.decode(ids)) for ids in _around(tokenizer)) if self.specials else ("", "")
        body = _COT if self.template is None else self.template
        front = f"{{{{- {literal(first)} }}}}" if first else ""
        return wrapped(body, front, f"{{{{ {literal(last)} }}}}" if last else "")


COT = PromptFormat()


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """Ids of the special tokens that the tokenizer adds before and after an input."""
    bare, ids = _plain(tokenizer, "x"), list(tokenizer("x")["input_ids"])
    begin = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
    return ids[:begin], ids[begin + len(bare) :]


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Ids of a part of a prompt, with its special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def _words(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Ids of texts, with special tokens as plain characters."""
    if not texts:
        return []
    return list(reader(tokenizer, texts)(list(texts), add_special_tokens=False, **AS_TEXT, **_IDS)["input_ids"])
