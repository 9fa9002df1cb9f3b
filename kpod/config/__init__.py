"""Every setting of the pipeline: one typed model a stage, unknown keys refused.

The same models validate YAML recipes, `--set` overrides and the form of a Prefect deployment. A field marked
`operational` changes how fast or how patiently a stage works but never what it writes, so it stays out of the
stage's cache key. A `Path` is an input file: it must exist, and its content (not its name) enters the key.
"""

from kpod.config.budget import Budget
from kpod.config.curriculum import (
    Curriculum,
    Difficulty,
    Embedder,
    GloveEmbedder,
    PlannedCurriculum,
    SentenceEmbedder,
    Steps,
    StudentEmbedder,
)
from kpod.config.distill import Distill, Full, Lora, Validation
from kpod.config.evaluate import Evaluate, StudentServer
from kpod.config.pipeline import VARIANTS, Method, Pipeline
from kpod.config.prompt import Answer, Form, ModelStage, Prompt
from kpod.config.questions import Columns, Family, QuestionFile, QuestionHub, Questions, WordProblems
from kpod.config.student import FolderStudent, GgufStudent, HubStudent, ScratchStudent, Student
from kpod.config.teacher import (
    Endpoint,
    ImportEndpoint,
    OpenAIEndpoint,
    Price,
    ReplayEndpoint,
    ScriptedEndpoint,
    SharedTeacher,
    Teacher,
    TeacherPrompt,
    Teachers,
)
from kpod.config.weights import Weights, collapsed

__all__ = [
    "VARIANTS",
    "Answer",
    "Budget",
    "Columns",
    "Curriculum",
    "Difficulty",
    "Distill",
    "Embedder",
    "Endpoint",
    "Evaluate",
    "Family",
    "FolderStudent",
    "Form",
    "Full",
    "GgufStudent",
    "GloveEmbedder",
    "HubStudent",
    "ImportEndpoint",
    "Lora",
    "Method",
    "ModelStage",
    "OpenAIEndpoint",
    "Pipeline",
    "PlannedCurriculum",
    "Price",
    "Prompt",
    "QuestionFile",
    "QuestionHub",
    "Questions",
    "ReplayEndpoint",
    "ScratchStudent",
    "ScriptedEndpoint",
    "SentenceEmbedder",
    "SharedTeacher",
    "Steps",
    "Student",
    "StudentEmbedder",
    "StudentServer",
    "Teacher",
    "TeacherPrompt",
    "Teachers",
    "Validation",
    "Weights",
    "WordProblems",
    "collapsed",
]
