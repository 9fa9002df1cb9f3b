"""Settings of the prompt and of how an answer is stated, which all stages share."""

from typing import Literal

from pydantic import Field, model_validator

from kpod.fields import Attention, Precision, Strict, operational
from kpod.text import templates


class Prompt(Strict):
    """What the student is given, and how its rationale is marked."""

    kind: Literal["cot", "chat", "custom"] | None = Field(
        None,
        description="cot: `Q: ... A: Let's think step by step.` (the paper); chat: the tokenizer's chat template; "
        "custom: `template`; null: chat if the student's tokenizer has a chat template, else cot.",
    )
    system: str | None = Field(None, min_length=1, description="System prompt of `chat` and `custom`.")
    template: str | None = Field(
        None,
        description="Of `custom`: Jinja with {{ question }} (and its options), {{ system }} and {{ bos_token }}.",
    )
    thinking: bool | None = Field(
        None,
        description="true: the rationale is between `<think>` and `</think>`, the answer after it; true and false are "
        "also passed to the chat template as enable_thinking; null: neither.",
    )

    @model_validator(mode="after")
    def _settings_fit_the_kind(self) -> "Prompt":
        if (self.kind == "custom") != (self.template is not None):
            raise ValueError("prompt.template is the Jinja template of prompt.kind: custom; give both or neither")
        if self.kind == "cot" and (self.system is not None or self.thinking is not None):
            raise ValueError("prompt.system and prompt.thinking belong to prompt.kind chat or custom, not to cot")
        if self.template is not None:
            templates.check_custom(self.template, self.system)
        return self


class Answer(Strict):
    """How the answer is stated behind a rationale, by the student and by the teacher."""

    kind: Literal["sentence", "boxed", "hashes", "json", "template"] = Field(
        "sentence",
        description="sentence: `Therefore, the answer is X.`; boxed: `\\boxed{X}`; hashes: `#### X`; "
        'json: `{"answer": "X"}`; template: a text of your own.',
    )
    template: str | None = Field(None, description="Of kind `template`: a text that holds {answer} once.")

    @model_validator(mode="after")
    def _template_fits(self) -> "Answer":
        if (self.kind == "template") != (self.template is not None):
            raise ValueError("answer.template is the text of answer.kind: template; give both or neither")
        front, mark, behind = (self.template or "").partition("{answer}")
        if self.template is not None and (not mark or not front.strip() or "{answer}" in behind):
            raise ValueError("answer.template must hold {answer} once, with words in front of it")
        return self


class Form(Strict):
    """Prompt and answer together, as a stage needs them."""

    prompt: Prompt = Field(Prompt(), description="What the student is given.")
    answer: Answer = Field(Answer(), description="How the answer is stated.")


class ModelStage(Strict):
    """Settings shared by the stages that run a model."""

    precision: Precision = Field("auto", description="auto: bf16 where the machine computes in it natively, else fp32.")
    max_tokens: int = Field(1024, ge=8, description="Rows longer than this are dropped and counted, never truncated.")
    form: Form = Field(Form(), description="Set by the settings `prompt` and `answer` of the pipeline.")


class StudentStage(ModelStage):
    """Settings shared by the stages that train the student or ask it."""

    attn_implementation: Attention = operational(
        "sdpa",
        "Attention kernel, as transformers names it. sdpa: torch's own (eager where a model lacks it); "
        "flash_attention_2 and flash_attention_3 need the packages flash-attn and flash-attn-3, a CUDA device and "
        "bf16; flex_attention needs a CUDA device.",
    )

    @model_validator(mode="after")
    def _flash_attention_in_bf16(self) -> "StudentStage":
        if self.attn_implementation.startswith("flash_attention") and self.precision == "fp32":
            raise ValueError(
                f"attn_implementation: {self.attn_implementation} computes in bf16: leave precision at auto"
            )
        return self
