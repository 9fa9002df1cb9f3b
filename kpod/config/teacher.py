"""Settings of the stage `rationales`: the teacher, its sampling, and which rationales are kept."""

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from kpod.answers.verifiers import Verifier
from kpod.config.prompt import Answer
from kpod.fields import NAME, Address, Fraction, Seed, Strict, VariableName, operational
from kpod.text.prompts import SENTENCE

ENDPOINT = {"kind": "openai", "base_url": "http://127.0.0.1:8000/v1"}
MODEL = "Qwen/Qwen2.5-7B-Instruct"
REASON = "Reason step by step in short plain sentences."


class OpenAIEndpoint(Strict):
    """Any server that speaks chat completions: a hosted provider, vLLM, llama.cpp."""

    kind: Literal["openai"] = "openai"
    base_url: Address | None = operational(
        None, "Root of the API, e.g. http://127.0.0.1:8000/v1; default OPENAI_BASE_URL."
    )
    api_key_env: VariableName | None = operational(
        "OPENAI_API_KEY", "Name of the environment variable that holds the key; null for a server that needs none."
    )
    api_key_block: str | None = operational(
        None, "Name of a Prefect Secret block that holds the key, in place of an environment variable."
    )


class ScriptedEndpoint(Strict):
    """A local server started for the stage, which works generated word problems out itself."""

    kind: Literal["scripted"] = "scripted"
    wrong: Fraction = Field(0.1, description="Share of answers that are worked out wrongly on purpose.")
    filler: Fraction = Field(0.3, description="Share of steps that come with a sentence irrelevant to the reasoning.")
    phrases: Fraction = Field(1.0, description="Share of steps that open with words irrelevant to the reasoning.")
    wordings: int = Field(4, ge=1, le=4, description="Ways in which a step is worded.")
    seed: Seed = 0


class ReplayEndpoint(Strict):
    """A local server started for the stage, which answers a known question with a stored rationale."""

    kind: Literal["replay"] = "replay"
    rationales: Path = Field(description="JSONL (optionally .gz): id, sample, rationale, answer.")
    questions: list[Path] = Field(
        min_length=1, description="Their questions, JSONL (optionally .gz) or Parquet: id, question, choices."
    )


class ImportEndpoint(Strict):
    """No server: existing rationales are read from files."""

    kind: Literal["import"] = "import"
    rationales: list[Path] = Field(
        min_length=1, description="JSONL (optionally .gz) or Parquet: question_id or id, rationale; sample, answer."
    )
    format: Literal["kpod", "openthoughts", "openr1", "distilabel", "curator", "messages"] = Field(
        "kpod",
        description="Which project wrote the files. All but `kpod` are matched with questions by the question's text.",
    )


Endpoint = Annotated[OpenAIEndpoint | ScriptedEndpoint | ReplayEndpoint | ImportEndpoint, Field(discriminator="kind")]


class Price(Strict):
    """Price in US dollars per million tokens."""

    input: Decimal = Field(Decimal(0), ge=0, description="Price of prompt tokens.")
    output: Decimal = Field(Decimal(0), ge=0, description="Price of completion tokens.")


class TeacherPrompt(Strict):
    """The prompt of the teacher: zero-shot chain of thought by default."""

    api: Literal["chat", "completion"] = Field("chat", description="`completion`: one plain text, for base models.")
    system: str | None = Field(
        f"{REASON} {SENTENCE.instruction}",
        description="System message (`chat`) or first paragraph (`completion`); the default ends in how to close, as "
        "the setting `answer` says.",
    )
    template: str = Field(
        "Q: {question}\nA: Let's think step by step.", description="Text sent for each question, around {question}."
    )
    examples: Path | None = Field(None, description="Few-shot, JSONL: question, rationale, answer; optionally choices.")
    stop: list[str] = Field(default_factory=list, max_length=4, description="Texts at which the teacher stops.")

    @model_validator(mode="after")
    def _template_shows_question(self) -> "TeacherPrompt":
        if "{question}" not in self.template:
            raise ValueError("teacher.prompt.template must contain {question}")
        return self


class Teacher(Strict):
    """Stage `rationales`: the teacher, its sampling, and which rationales are kept."""

    endpoint: Endpoint = Field(examples=[ENDPOINT], description="Where the rationales come from.")
    model: str = Field(
        "", description="Model name sent with each request, as the server knows it; only a local teacher needs none."
    )
    prompt: TeacherPrompt = TeacherPrompt()
    answer: Answer = Field(Answer(), description="Set by the setting `answer` of the pipeline.")
    samples: int = Field(1, ge=1, description="Rationales asked for each question.")
    resamples: int = Field(2, ge=0, description="Further samples of a question, at most, in place of dropped ones.")
    temperature: float | None = Field(0.7, ge=0, description="null: not sent, for reasoning models that refuse it.")
    top_p: float | None = Field(1.0, gt=0, le=1, description="null: not sent.")
    max_tokens: int = Field(512, ge=1, description="Longest completion, in the teacher's tokens.")
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="Name under which the limit is sent; OpenAI's reasoning models want the second."
    )
    send_seed: bool = Field(True, description="Send the sample number as `seed`; off for providers that refuse it.")
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of each request, e.g. {repeat_penalty: 1.0}."
    )
    thinking: Literal["drop", "use"] = Field(
        "drop", description="Thinking in a field of its own or between marks: leave it out, or take it as rationale."
    )
    finish_reasons: dict[str, Literal["stop", "length", "content_filter"]] = Field(
        default_factory=dict,
        description="Meaning of finish reasons that only this server uses, in lower case, e.g. {my_stop: stop}.",
    )
    keep_wrong: bool = Field(False, description="Keep rationales whose answer disagrees with gold.")
    verifier: Verifier | None = Field(None, description="Set by `verifier`, the setting of all stages.")
    max_chars: int = Field(4000, ge=1, description="Longer rationales are dropped.")
    price: Price | None = Field(None, description="Needed for cost figures and for max_cost_usd.")
    max_cost_usd: Decimal | None = operational(
        None, "Spending cap: requests stop before it is passed. What earlier runs paid for these answers counts.", ge=0
    )
    batch: bool = operational(False, "Use the provider's Batch API instead of single requests.")
    batch_poll_s: float = operational(30.0, "Seconds between two looks at a batch.", gt=0)
    concurrency: int = operational(16, "Requests in flight.", ge=1)
    requests_per_minute: int | None = operational(None, "Rate limit, if the provider has one.", ge=1)
    tokens_per_minute: int | None = operational(None, "Rate limit, if the provider has one.", ge=1)
    timeout_s: float = operational(120.0, "Seconds after which a request is given up and retried.", gt=0)
    max_retries: int = operational(6, "Tries after the first for a retryable failure.", ge=0)
    max_failed: Fraction = operational(0.1, "The stage stops if a larger share of the requests fails for good.")

    @model_validator(mode="after")
    def _a_server_is_told_its_model(self) -> "Teacher":
        if not self.model:
            if self.endpoint.kind == "openai":
                raise ValueError(f"name the model to ask in teacher.model, e.g. {MODEL}")
            object.__setattr__(self, "model", self.endpoint.kind)
        return self

    @model_validator(mode="after")
    def _settings_agree(self) -> "Teacher":
        if self.max_cost_usd is not None and self.price is None:
            raise ValueError("teacher.max_cost_usd needs teacher.price (US dollars per million tokens)")
        if self.endpoint.kind in ("scripted", "replay") and not self.send_seed:
            raise ValueError("teacher.send_seed: the local teachers tell samples apart by the seed, leave it on")
        return self


class SharedTeacher(Teacher):
    """One of several teachers: the settings of `teacher`, a name and a share."""

    name: str = Field("", pattern=rf"^$|{NAME}", description="Its name in tables; default: its model.")
    share: Fraction = Field(description="Share of the questions that this teacher is asked.")

    @model_validator(mode="after")
    def _named(self) -> "SharedTeacher":
        if not self.name:
            object.__setattr__(self, "name", self.model.rpartition("/")[2] or self.model)
        return self


def _shares(teachers: list[SharedTeacher]) -> list[SharedTeacher]:
    if teachers and abs(sum(teacher.share for teacher in teachers) - 1) > 1e-6:
        raise ValueError("the shares of all teachers must sum to 1")
    names = [teacher.name for teacher in teachers]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"two teachers are called {repeated}: give them a name each")
    return teachers


SharedTeachers = Annotated[list[SharedTeacher], AfterValidator(_shares)]


class Teachers(Strict):
    """Stage `rationales` with several teachers: each question is one teacher's, by a hash of its id."""

    teachers: SharedTeachers
