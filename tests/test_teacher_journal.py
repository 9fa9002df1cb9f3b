"""The journal: what was finished stays finished, whoever is killed and whenever."""

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kpod.teacher import journal as journal_module
from kpod.teacher.journal import Journal
from kpod.teacher.reply import Reply

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_teacher_journal import key, record
from kpod.teacher.journal import Journal
first, last = int(sys.argv[2]), int(sys.argv[3])
with Journal(Path(sys.argv[1])) as journal:
    print("ready", flush=True)
    if sys.argv[4] == "claim":
        print(journal.claim(key(first)), flush=True)
        sys.stdin.read()
    for i in range(first, last):
        journal.add(key(i), record(i))
"""


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def record(number: int) -> dict[str, Any]:
    text = f"Größe {number}: “so”\nnext line" + " more" * (number % 7)
    return Reply(text, None, False, "stop", number, 2, False, "m").record()


def holds(journal: Journal, numbers: range | list[int]) -> bool:
    return all((found := journal.get(key(i))) and found["text"] == record(i)["text"] for i in numbers)


def start(folder: Path, first: int, last: int, what: str = "write") -> subprocess.Popen[str]:
    code = WRITER.format(tests=str(Path(__file__).parent))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), str(first), str(last), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_is_added_is_there_after_reopening(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        assert journal.get(key(1)) is None
        journal.add(key(1), record(1))
        journal.add(key(1), record(2))  # a key is finished once: the first stays
        assert holds(journal, [1])
    with Journal(tmp_path) as journal:
        assert holds(journal, [1])
        assert len(journal) == 1


@settings(max_examples=40)
@given(cut=st.integers(min_value=0, max_value=900), junk=st.binary(max_size=30))
def test_a_log_cut_off_anywhere_loses_only_what_was_cut(cut: int, junk: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with Journal(Path(folder)) as journal:
            for i in range(5):
                journal.add(key(i), record(i))
        log = next(Path(folder).glob("log-*"))
        whole = log.read_bytes()
        log.write_bytes(whole[: max(0, len(whole) - cut)] + (b"" if cut == 0 else junk.replace(b"\n", b"")))
        left = log.read_bytes().count(b"\n")
        with Journal(Path(folder)) as journal:
            assert len(journal) == left
            assert holds(journal, range(left))
            journal.add(key(77), record(77))
        assert all(json.loads(line) for line in log.read_bytes().splitlines())
        with Journal(Path(folder)) as journal:
            assert holds(journal, [*range(left), 77])


def test_an_unreadable_line_in_the_middle_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Journal(tmp_path) as journal:
        journal.add(key(1), record(1))
    log = next(tmp_path.glob("log-*"))
    log.write_bytes(b'{"key": "zz"}\nnoise\n' + log.read_bytes())
    with Journal(tmp_path) as journal:
        assert holds(journal, [1])
        assert len(journal) == 1
    assert capsys.readouterr().err.count("unreadable line") == 2


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    writers = [start(tmp_path, 0, 300), start(tmp_path, 200, 500)]
    with Journal(tmp_path) as journal:
        for i in range(500, 600):
            journal.add(key(i), record(i))
        assert [writer.wait() for writer in writers] == [0, 0]
        assert holds(journal, range(600))  # what others wrote is seen without reopening
    lines = next(tmp_path.glob("log-*")).read_bytes().splitlines()
    assert len(lines) == len({json.loads(line)["key"] for line in lines}) == 600


def test_sigkill_while_writing(tmp_path: Path) -> None:
    writer = start(tmp_path, 0, 100_000)
    with Journal(tmp_path) as journal:
        while journal.get(key(50)) is None:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        journal.add(key(200_000), record(0))
    with Journal(tmp_path) as journal:
        assert holds(journal, range(len(journal) - 1))


def test_a_claim_holds_across_processes_and_dies_with_its_owner(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        other = start(tmp_path, 3, 3, "claim")
        assert other.stdout
        assert [other.stdout.readline().strip() for _ in range(2)] == ["ready", "True"]
        assert not journal.claim(key(3))
        assert journal.claim(key(4))
        journal.release(key(4))
        other.kill()
        other.wait()
        assert journal.claim(key(3))


def test_compaction_keeps_everything_and_others_go_on(tmp_path: Path) -> None:
    with Journal(tmp_path) as one, Journal(tmp_path) as two:
        for i in range(1300):
            one.add(key(i), record(i))
        two.compact()
        assert [path.suffix for path in sorted(tmp_path.glob("[lp]*-*"))] == [".jsonl", ".parquet"]
        assert holds(one, range(1300))
        two.add(key(2000), record(2000))
        assert holds(one, [2000])  # `one` has moved on to the new log
        one.add(key(2001), record(2001))
        assert holds(two, [5, 2000, 2001])
    with Journal(tmp_path) as journal:
        assert len(journal) == 1302
        journal.compact()
        assert holds(journal, [*range(1300), 2000, 2001])


def test_a_kill_between_the_part_and_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as journal:
        journal.add(key(1), record(1))
        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: _stop())
            with pytest.raises(KeyboardInterrupt):
                journal.compact()
    with Journal(tmp_path) as journal:
        assert len(journal) == 1
        assert holds(journal, [1])
        journal.add(key(2), record(2))
    with Journal(tmp_path) as journal:
        assert holds(journal, [1, 2])


def _stop() -> None:
    raise KeyboardInterrupt


def test_a_long_log_is_compacted_when_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path) as journal:
        journal.add(key(1), record(1))
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 10)
    with Journal(tmp_path) as journal:
        assert list(tmp_path.glob("part-*"))
        assert holds(journal, [1])
