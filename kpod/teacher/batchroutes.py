"""The files and batches routes of the local server: upload a JSONL of requests, poll, fetch the output."""

import json
import re
from collections.abc import Callable
from typing import Any

from kpod.teacher.http import HttpRequest, HttpResponse, refusal, reply

Work = Callable[[dict[str, Any], str], HttpResponse | None]  # None: the line expired


class BatchRoutes:
    """Files and batches in memory. A batch is finished when it has been polled `polls` times."""

    def __init__(self, work: Work, polls: int) -> None:
        self._work, self._polls = work, polls
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, dict[str, Any]] = {}

    def handle(self, request: HttpRequest) -> HttpResponse | None:
        """The answer to a request of one of these routes, None for any other."""
        parts = request.path.strip("/").split("/")[1:]
        match [request.method, *parts]:
            case ["POST", "files"]:
                return self._upload(request)
            case ["GET", "files", name, "content"] if name in self._files:
                return HttpResponse(200, self._files[name], {"content-type": "application/octet-stream"})
            case ["POST", "batches"]:
                return self._create(json.loads(request.body))
            case ["GET", "batches"]:
                return reply({"object": "list", "data": [*self._batches.values()][::-1], "has_more": False})
            case ["GET", "batches", name] if name in self._batches:
                return self._look(self._batches[name])
            case ["POST", "batches", name, "cancel"] if name in self._batches:
                self._batches[name]["status"] = "cancelled"
                return reply(self._batches[name])
        return None

    def _store(self, content: bytes) -> str:
        name = f"file-{len(self._files):06d}"
        self._files[name] = content
        return name

    def _upload(self, request: HttpRequest) -> HttpResponse:
        boundary = request.headers.get("content-type", "").partition("boundary=")[2].strip('"')
        for part in request.body.split(b"--" + boundary.encode()):
            head, _, content = part.partition(b"\r\n\r\n")
            if re.search(rb'name="file"', head):
                name = self._store(content.removesuffix(b"\r\n"))
                size = len(self._files[name])
                return reply(
                    {
                        "id": name,
                        "object": "file",
                        "bytes": size,
                        "created_at": 0,
                        "filename": "batch.jsonl",
                        "purpose": "batch",
                        "status": "processed",
                    }
                )
        return refusal(400, "no part named `file`")

    def _create(self, body: dict[str, Any]) -> HttpResponse:
        if body.get("input_file_id") not in self._files:
            return refusal(400, "unknown input_file_id")
        name = f"batch-{len(self._batches):06d}"
        self._batches[name] = {
            "id": name,
            "object": "batch",
            "created_at": 0,
            "status": "validating",
            "endpoint": body["endpoint"],
            "completion_window": body["completion_window"],
            "input_file_id": body["input_file_id"],
            "output_file_id": None,
            "error_file_id": None,
            "metadata": body.get("metadata"),
            "errors": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "looks": 0,
        }
        return reply(self._batches[name])

    def _look(self, batch: dict[str, Any]) -> HttpResponse:
        batch["looks"] += 1
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if batch["looks"] > self._polls:
                self._finish(batch)
        return reply(batch)

    def _finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self._files[batch["input_file_id"]].splitlines() if line.strip()]
        done, failed = list[dict[str, Any]](), list[dict[str, Any]]()
        expired = False
        for line in lines:
            if (response := self._work(line["body"], line["url"])) is None:
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                failed.append({"custom_id": line["custom_id"], "response": None, "error": error})
                expired = True
                continue
            answer = {"status_code": response.status, "request_id": "", "body": json.loads(response.body)}
            row = {"custom_id": line["custom_id"], "response": answer, "error": None}
            (done if response.status == 200 else failed).append(row)
        counts = {"total": len(lines), "completed": len(done), "failed": len(failed)}
        batch.update(status="expired" if expired else "completed", request_counts=counts)
        for rows, where in ((done[::-1], "output_file_id"), (failed, "error_file_id")):  # order is not promised
            if rows:
                batch[where] = self._store(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
