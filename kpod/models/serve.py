"""An OpenAI-compatible server of a student on loopback: vLLM or llama.cpp where installed, else this module's.

All of them use the chat template that the export wrote, so a chat with one question is the training prompt.
"""

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from kpod.errors import ConfigError, ModelError
from kpod.models.export import converter, export, form_of
from kpod.run.results import result_of
from kpod.teacher.http import LOOPBACK, HttpRequest, HttpResponse, refusal, reply, serve_forever
from kpod.text.formats import PromptFormat
from kpod.text.stops import first_answer
from kpod.training import models

MOST_TOKENS = 512  # of an answer, unless the request sets a limit


def serve(run: str, port: int, engine: str = "auto") -> None:
    """Serve the student of `run` until interrupted.

    `engine`: vllm, llama.cpp, kpod (this module) or auto, the first that is installed. Raises ConfigError for an
    engine that is not installed or a port that is taken.
    """
    with tempfile.TemporaryDirectory(prefix="kpod-serve-") as folder:
        student = Path(folder) / "student"
        command = _command(run, student, port, engine)
        if command:
            print(f"http://{LOOPBACK}:{port}/v1 by {command[0]}", flush=True)
            raise SystemExit(os.spawnvp(os.P_WAIT, command[0], command))  # noqa: S606
        export(run, student)
        model, tokenizer = models.load(student, "auto")
        form = form_of(result_of(run, "distill"), tokenizer)
        serve_forever(StudentServer(model, tokenizer, form).handle, LOOPBACK, port)


def _command(run: str, student: Path, port: int, engine: str) -> list[str] | None:
    """The command of an installed engine that serves the exported student; None for this module's server."""
    if engine in ("auto", "vllm") and shutil.which("vllm"):
        export(run, student)
        return ["vllm", "serve", str(student), "--served-model-name", "kpod", "--host", LOOPBACK, "--port", str(port)]
    if engine in ("auto", "llama.cpp") and shutil.which("llama-server"):
        try:
            converter()
            file = student.with_suffix(".gguf")
            export(run, file)
            shown = ["--alias", "kpod", "--jinja", "--host", LOOPBACK, "--port", str(port)]
            return ["llama-server", "-m", str(file), *shown]
        except (ConfigError, ModelError):
            if engine != "auto":
                raise
    if engine not in ("auto", "kpod"):
        raise ConfigError(f"--engine {engine} is not installed: install it, or take --engine kpod")
    return None


class StudentServer:
    """Chat and text completions of a loaded student, one at a time."""

    def __init__(self, model: Any, tokenizer: Any, form: PromptFormat) -> None:
        self._model, self._tokenizer, self._form = model, tokenizer, form
        self._turn = asyncio.Lock()

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """The answer to one request: models, chat completions or completions; 400 if it is malformed."""
        if request.path == "/v1/models":
            return reply({"object": "list", "data": [{"id": "kpod", "object": "model", "owned_by": "kpod"}]})
        kind = {"/v1/chat/completions": "chat", "/v1/completions": "text"}.get(request.path)
        if kind is None or request.method != "POST":
            return refusal(404, f"unknown path {request.path}")
        try:
            body = json.loads(request.body)
            ids = self._ids(body, kind)
            most, temperature = int(body.get("max_tokens") or MOST_TOKENS), float(body.get("temperature") or 0)
        except Exception as error:  # whatever is wrong with a request is the client's to know
            return refusal(400, f"malformed request: {' '.join(str(error).split())[:200]}")
        if body.get("stream"):
            return refusal(400, "stream is not supported by this server: use vLLM or llama.cpp")
        async with self._turn:
            fresh, stopped = await asyncio.to_thread(self._generate, ids, most, temperature)
        text = self._tokenizer.decode(fresh, skip_special_tokens=True)
        text = first_answer(text) if self._form.asks_on else text.strip()
        content = {"message": {"role": "assistant", "content": text}} if kind == "chat" else {"text": text}
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(fresh), "total_tokens": len(ids) + len(fresh)}
        choice = {"index": 0, **content, "finish_reason": "stop" if stopped else "length", "logprobs": None}
        kinds = {"chat": "chat.completion", "text": "text_completion"}
        return reply(
            {"id": "kpod", "object": kinds[kind], "created": 0, "model": "kpod", "choices": [choice], "usage": usage}
        )

    def _ids(self, body: dict[str, Any], kind: str) -> list[int]:
        if kind == "text":
            return list(self._tokenizer(str(body["prompt"]))["input_ids"])
        messages = body["messages"]
        if len(messages) == 1 and messages[0]["role"] == "user":
            return self._form.prompt_ids(self._tokenizer, str(messages[0]["content"]))
        return list(self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"])

    @torch.inference_mode()
    def _generate(self, ids: list[int], most: int, temperature: float) -> tuple[list[int], bool]:
        inputs = torch.tensor([ids], device=self._model.device)
        sampling = {"do_sample": True, "temperature": temperature} if temperature else {"do_sample": False}
        out = self._model.generate(
            input_ids=inputs,
            attention_mask=torch.ones_like(inputs),
            max_new_tokens=most,
            pad_token_id=self._tokenizer.pad_token_id,
            **sampling,
        )
        whole: list[int] = out[0].tolist()
        fresh = whole[1:] if self._model.config.is_encoder_decoder else whole[len(ids) :]
        text, ends = self._tokenizer.decode(fresh), self._model.generation_config.eos_token_id
        stopped = bool(set(fresh[-1:]) & set(ends if isinstance(ends, list) else [ends]))
        return fresh, stopped or (self._form.asks_on and first_answer(text) != text.strip())
