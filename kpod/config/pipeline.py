"""All settings of a pipeline, and the settings that each method changes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, model_validator

from kpod.answers.verifiers import MathVerifier, Verifier
from kpod.config.curriculum import Curriculum, Difficulty, PlannedCurriculum, Steps
from kpod.config.distill import Distill, Validation
from kpod.config.evaluate import Evaluate
from kpod.config.methods import MethodSettings, Variants
from kpod.config.prompt import Answer, Form, Prompt
from kpod.config.questions import EXAMPLE as QUESTIONS
from kpod.config.questions import MATH_SETS, OPTION_SETS, QuestionHub, Questions
from kpod.config.student import EXAMPLE as STUDENT
from kpod.config.student import FolderStudent, GgufStudent, HubStudent, Student
from kpod.config.teacher import ENDPOINT, MODEL, REASON, SharedTeachers, Teacher, Teachers
from kpod.config.weights import Weights
from kpod.fields import NAME, Strict
from kpod.text.prompts import answer_format

_PLAIN = {"distill": {"token_weights": False, "progressive": False}}
_KPOD = {"distill": {"token_weights": True, "progressive": True}}

# What each method changes of a configuration.
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},  # the student before distillation
    "scotd": _PLAIN,  # Eq. 1
    "scotd-1": {"distill": {**_PLAIN["distill"], "samples": 1}},  # on one rationale a question, however many there are
    "kpod": _KPOD,
    # As published: no floor, every step, whole rationales from half of the epochs on, and budget.epochs epochs.
    "kpod-paper": {
        "distill": {**_KPOD["distill"], "weight_floor": 0.0, "keypoints": 0.0, "budget": {"of": None}},
        "curriculum": {"T": 0.5},
    },
    "kpod-wo-sig": {"distill": {"token_weights": False, "progressive": True}},
    "kpod-wo-sig-dif": {**_KPOD, "difficulty": {"weighting": "uniform"}},
    "kpod-wo-prog": {"distill": {"token_weights": True, "progressive": False}},
    "kpod-wo-div": {**_KPOD, "curriculum": {"beta": 0.0}},
    # With a loss of their own: settings in `Variants`, objectives in `kpod.methods`.
    "icl": _PLAIN,
    "acl": _PLAIN,
    "spl": _PLAIN,
    "mcc-kd": _PLAIN,
    "scott": _PLAIN,
    "specialized": _PLAIN,
}
if TYPE_CHECKING:
    Method = str
else:
    Method = Literal[tuple(VARIANTS)]  # so that a method is added in one place


Judged = TypeVar("Judged", Teacher, Evaluate, Validation)  # settings with a verifier


class Pipeline(Strict):
    """All settings of a pipeline. The defaults suit a pretrained causal student of 0.1 to 8 billion parameters.

    `questions`, `teacher` (or `teachers`) and `student` have no default.
    """

    name: str = Field("kpod", pattern=NAME, description="Name of the runs in MLflow.")
    methods: list[Method] = Field(["base", "scotd", "kpod"], min_length=1, description="Students to make and compare.")
    prompt: Prompt = Field(Prompt(), description="What the student is given.")
    answer: Answer = Field(Answer(), description="How the answer is stated, by teacher and student.")
    questions: Questions = Field(examples=[{"sources": [QUESTIONS]}])
    teacher: Teacher | None = Field(examples=[{"endpoint": ENDPOINT, "model": MODEL}])
    teachers: SharedTeachers = Field([], description="Several teachers in place of `teacher`, each with its `share`.")
    verifier: Verifier | None = Field(
        None,
        description="How answers are judged, in the teacher's replies, validation and evaluation alike; null: by "
        "option where a question has options, else by number; `math` where a source is MATH or MATH-500.",
    )
    steps: Steps = Steps()
    student: Student = Field(examples=[STUDENT], description="The model to train.")
    weights: Weights = Weights()
    difficulty: Difficulty = Difficulty()
    curriculum: Curriculum = Curriculum()
    distill: Distill = Distill()
    variants: Variants = Variants()
    evaluate: Evaluate = Evaluate()

    @property
    def dataset(self) -> str:
        """Name of the first source, which names the registered student."""
        return self.questions.sources[0].dataset

    @property
    def all_teachers(self) -> Sequence[Teacher]:
        """The teachers, also if there is only one."""
        return [self.teacher] if self.teacher else self.teachers

    @property
    def teaching(self) -> Teacher | Teachers:
        """The settings of the stage `rationales`."""
        return self.teacher or Teachers(teachers=self.teachers)

    @property
    def teacher_name(self) -> str:
        """Name of the teacher in tables and tags, or names and shares of several."""
        return (
            self.teacher.model
            if self.teacher
            else ", ".join(f"{teacher.name} ({teacher.share:.0%})" for teacher in self.teachers)
        )

    @property
    def student_name(self) -> str:
        """Name of the student in tables and tags."""
        match self.student:
            case HubStudent(name=name):
                return name.rpartition("/")[2]
            case FolderStudent(path=path):
                return path.name
            case GgufStudent(package=package):
                return package
        return self.student.kind

    @property
    def planned(self) -> PlannedCurriculum:
        """The settings of the stage `curriculum`."""
        shared = {name: getattr(self.distill, name) for name in ("budget", "samples", "form")}
        return PlannedCurriculum(**dict(self.curriculum), **shared)

    @model_validator(mode="before")
    @classmethod
    def _several_teachers_or_one(cls, value: Any) -> Any:
        if not isinstance(value, dict) or not value.get("teachers"):
            return value
        if value.get("teacher") is not None:
            raise ValueError("give teacher or teachers, not both")
        return {**value, "teacher": None}

    @model_validator(mode="after")
    def _a_teacher_is_there(self) -> "Pipeline":
        if not self.all_teachers:
            raise ValueError("teacher is null and teachers is empty: give one of them")
        return self

    @model_validator(mode="after")
    def _latex_is_verified_as_such(self) -> "Pipeline":
        by_name = {
            source.dataset
            for source in self.questions.sources
            if isinstance(source, QuestionHub) and source.path is None
        }
        if self.verifier is None and (latex := sorted(by_name & set(MATH_SETS))):
            if options := sorted(by_name & set(OPTION_SETS)):
                raise ValueError(
                    f"verifier: {latex[0]} needs kind math and {options[0]} kind choice: use two runs, or set verifier"
                )
            object.__setattr__(self, "verifier", MathVerifier())
        return self

    @model_validator(mode="after")
    def _one_verifier_everywhere(self) -> "Pipeline":
        def inherit(name: str, part: Judged) -> Judged:
            if part.verifier not in (None, self.verifier):
                raise ValueError(f"{name}.verifier is set by verifier: leave it out")
            return part.model_copy(update={"verifier": self.verifier})

        object.__setattr__(self, "evaluate", inherit("evaluate", self.evaluate))
        if self.distill.validation:
            filled = {"validation": inherit("distill.validation", self.distill.validation)}
            object.__setattr__(self, "distill", self.distill.model_copy(update=filled))
        self._update_teachers(inherit)
        return self

    @model_validator(mode="after")
    def _one_form_everywhere(self) -> "Pipeline":
        form = Form(prompt=self.prompt, answer=self.answer)
        for name in ("weights", "difficulty", "distill", "evaluate"):
            stage = getattr(self, name)
            if stage.form not in (Form(), form):
                raise ValueError(f"{name}.form is set by prompt and answer: leave it out")
            object.__setattr__(self, name, stage.model_copy(update={"form": form}))
        closing = answer_format(self.answer.kind, self.answer.template).instruction

        def inherit(name: str, teacher: Teacher) -> Teacher:
            if teacher.answer not in (Answer(), self.answer):
                raise ValueError(f"{name}.answer is set by answer: leave it out")
            prompt = teacher.prompt
            if "system" not in prompt.model_fields_set:
                prompt = prompt.model_copy(update={"system": f"{REASON} {closing}"})
            return teacher.model_copy(update={"answer": self.answer, "prompt": prompt})

        self._update_teachers(inherit)
        return self

    def _update_teachers(self, inherit: Callable[[str, Teacher], Teacher]) -> None:
        """Replace the settings of each teacher by `inherit(key, settings)`."""
        if self.teacher:
            object.__setattr__(self, "teacher", inherit("teacher", self.teacher))
        several = [inherit(f"teachers.{number}", teacher) for number, teacher in enumerate(self.teachers)]
        object.__setattr__(self, "teachers", several)

    @model_validator(mode="after")
    def _a_server_has_one_student(self) -> "Pipeline":
        if self.evaluate.server and len(self.methods) > 1:
            raise ValueError("evaluate.server answers for one student: methods must name only the method that made it")
        return self

    @model_validator(mode="after")
    def _validation_chooses_and_test_judges(self) -> "Pipeline":
        if self.distill.validation:
            if "validation" in self.evaluate.splits:
                raise ValueError("evaluate.splits must not hold validation: distill.validation chooses the epoch by it")
            split_by = {(source.dataset, split) for source in self.questions.sources for split in source.held}
            if not any((name, "validation") in split_by for name, split in split_by if split == "train"):
                raise ValueError("distill.validation: no set of questions.sources has the splits train and validation")
        return self

    @model_validator(mode="after")
    def _methods_have_their_data(self) -> "Pipeline":
        for method in self.methods:
            if settings := self.variants_of(method):
                settings.check(self)
        return self

    def variants_of(self, method: str) -> MethodSettings | None:
        """The settings of a method with a loss of its own, or None."""
        settings: MethodSettings | None = getattr(self.variants, method.replace("-", "_"), None)
        return settings
