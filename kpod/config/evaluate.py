"""Settings of the stage `evaluate`."""

from typing import Any, Literal

from pydantic import Field, model_validator

from kpod.answers.verifiers import Verifier
from kpod.config.prompt import StudentStage
from kpod.fields import Address, Split, Strict, VariableName, operational


class StudentServer(Strict):
    """A server that has loaded the student and speaks `/v1/completions`: vLLM, llama.cpp."""

    base_url: Address = Field(min_length=1, description="Root of the API, e.g. http://127.0.0.1:8000/v1.")
    model: str = Field(min_length=1, description="Name by which the server knows the student.")
    api_key_env: VariableName | None = operational(None, "Name of the environment variable that holds the key.")
    concurrency: int = operational(16, "Requests at a time.", ge=1)
    extra_body: dict[str, Any] = Field(
        default_factory=dict, description="Further fields of each request, e.g. {repeat_penalty: 1.0} for llama.cpp."
    )


class Evaluate(StudentStage):
    """Stage `evaluate`: greedy answers of a student."""

    splits: list[Split] = Field(["test"], min_length=1, description="Splits whose questions the student answers.")
    max_new_tokens: int = Field(512, ge=1, description="Longest answer, in the student's tokens.")
    batch_size: int = Field(64, ge=1, description="Questions a batch; greedy output can depend on it in low precision.")
    backend: Literal["auto", "transformers", "vllm"] = Field(
        "auto",
        description="What generates the answers: transformers, by the built-in batches; vllm, in this process (extra "
        "`kpod[vllm]`, a CUDA device, decoder-only students); auto: vllm where it is installed. Greedy answers are "
        "equal up to rounding.",
    )
    processes: int = operational(1, "Processes on this machine that share the questions, one a GPU.", ge=1)
    server: StudentServer | None = Field(
        None, description="Ask this server, which has loaded the (exported) student, instead of loading it here."
    )
    verifier: Verifier | None = Field(None, description="Set by `verifier`, the setting of all stages.")

    @model_validator(mode="after")
    def _one_process_asks(self) -> "Evaluate":
        if self.processes > 1 and (self.backend == "vllm" or self.server):
            raise ValueError("evaluate.processes needs the backend transformers: leave it out with vllm or a server")
        return self
