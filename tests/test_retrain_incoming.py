"""New questions from a bucket and from the hub; folders are in test_retrain.py."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from kpod.questions import hub
from kpod.retrain import incoming

OBJECTS = {
    "new/a.jsonl": b'{"question": "What is 1 plus 1?", "answer": "2"}',
    "new/more/b.jsonl.gz": b"packed",
    "new/c.txt": b"no question",
    "new/large.parquet": b"x" * 2_000_000,
    "new/gone.jsonl": b"deleted after it was listed",
}


class Bucket(BaseHTTPRequestHandler):
    """As much of S3 as listing and reading need."""

    protocol_version = "HTTP/1.1"
    read: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        path, _, query = self.path.partition("?")
        key = path.removeprefix("/kpod/")
        body = self._listing() if "list-type" in query else OBJECTS[key]
        status = 404 if key == "new/gone.jsonl" else 200
        if span := self.headers.get("Range"):
            first, last = map(int, span.removeprefix("bytes=").split("-"))
            body, status = body[first : last + 1], 206
            self.read.append(key)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_GET = do_HEAD

    def _listing(self) -> bytes:
        stamp = "<LastModified>2026-11-24T00:00:00.000Z</LastModified>"
        listed = [f"<Contents><Key>{k}</Key>{stamp}<Size>{len(v)}</Size></Contents>" for k, v in OBJECTS.items()]
        return f"<ListBucketResult><IsTruncated>false</IsTruncated>{''.join(listed)}</ListBucketResult>".encode()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def bucket() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = Thread(target=server.serve_forever)
    thread.start()
    place = f"127.0.0.1:{server.server_port}"
    yield f"s3://user:key@kpod/new?endpoint_override={place}&scheme=http&region=us-east-1"
    server.shutdown()
    server.server_close()
    thread.join()


def test_files_of_a_bucket_are_taken_once_by_the_same_rules_as_those_of_a_folder(bucket: str, kpod_home: Path) -> None:
    Bucket.read.clear()
    found = incoming.collect(bucket, max_mb=1)
    texts = {file.name.partition("-")[2]: file.read_bytes() for file in found.files}
    assert texts == {"a.jsonl": OBJECTS["new/a.jsonl"], "b.jsonl.gz": OBJECTS["new/more/b.jsonl.gz"]}
    assert set(found.refused) == {"large.parquet is larger than 1 MB", "gone.jsonl is gone again"}
    assert incoming.collect(bucket, max_mb=1).files == found.files
    assert sorted(Bucket.read) == ["new/a.jsonl", "new/more/b.jsonl.gz"]  # the second time nothing is read


def test_a_revision_of_a_hub_set_is_a_file_of_its_training_questions(
    monkeypatch: pytest.MonkeyPatch, kpod_home: Path
) -> None:
    asked: list[Any] = []

    def load(source: Any) -> Iterator[SimpleNamespace]:
        asked.append(source)
        yield SimpleNamespace(fields={"question": "What is 1 plus 1?", "answer": "2"})

    monkeypatch.setattr(hub, "load", load)
    first, again = (incoming.collect("hub:gsm8k@abc123", max_mb=1) for _ in range(2))
    assert (asked[0].dataset, asked[0].revision, asked[0].splits) == ("gsm8k", "abc123", ["train"])
    assert json.loads(first.files[0].read_text()) == {"question": "What is 1 plus 1?", "answer": "2"}
    assert first == again
    assert first.files[0].parent == kpod_home / "incoming"
