"""A stand-in for the Hugging Face hub on loopback: what of its HTTP interface creates a repository and writes to it."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class FakeHub:
    """`created`: the requests for repositories; `files`: bytes by repository and path; `tokens`: all that were sent."""

    url: str = ""
    refuse: int = 0  # answer everything with this status
    created: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)  # by sha256, until a commit names them

    def answer(self, path: str, body: bytes) -> tuple[int, object]:
        if self.refuse:
            return self.refuse, {"error": "no right to write"}
        if path == "/api/repos/create":
            self.created.append(json.loads(body))
            return 200, {"url": f"{self.url}/{self.created[-1]['organization']}/{self.created[-1]['name']}"}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}
        if path.startswith("/large/"):
            self.large[path.removeprefix("/large/")] = body
            return 200, {}
        repository = "/".join(path.removeprefix("/api/models/").strip("/").removesuffix(".git").split("/")[:2])
        if path.endswith("/preupload/main"):
            told = json.loads(body)["files"]
            mode = {one["path"]: "lfs" if one["path"].endswith(".safetensors") else "regular" for one in told}
            return 200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in mode.items()]}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            for one in objects:
                one["actions"] = {"upload": {"href": f"{self.url}/large/{one['oid']}"}}
            return 200, {"transfer": "basic", "objects": objects}
        if path.endswith("/commit/main"):
            self._commit(repository, [json.loads(line) for line in body.splitlines()])
            return 200, {"success": True, "commitOid": "abc", "commitUrl": f"{self.url}/{repository}/commit/abc"}
        return 404, {"error": f"unknown path {path}"}

    def _commit(self, repository: str, lines: list[dict[str, Any]]) -> None:
        written = self.files.setdefault(repository, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                written[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                data = self.large[value["oid"]]
                assert hashlib.sha256(data).hexdigest() == value["oid"]
                written[value["path"]] = data


@contextmanager
def running() -> Iterator[FakeHub]:
    """A hub that listens on a free port."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            hub.tokens.add(self.headers.get("authorization"))
            status, told = hub.answer(self.path.partition("?")[0], self._body())
            data = json.dumps(told).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_PUT = do_GET = do_POST

        def _body(self) -> bytes:
            if self.headers.get("transfer-encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("content-length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
