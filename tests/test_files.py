"""Files are whole or absent, and content hashes see names and bytes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kpod.store.files import atomic, publish, sha256_tree, write_text


def test_atomic_write_replaces_the_old_file_only_when_complete(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def dies() -> None:
        with atomic(target) as temporary:
            temporary.write_text("new")
            raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        dies()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_sigkill_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from kpod.store.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as t:\n"
        "    t.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert target.read_text() == "old"


def test_publish_replaces_a_whole_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "out", tmp_path / "work"
    for folder, name in ((old, "old.txt"), (new, "new.txt")):
        folder.mkdir()
        (folder / name).write_text(name)
    publish(new, old)
    assert [p.name for p in old.iterdir()] == ["new.txt"]
    assert not new.exists()


def test_nobody_finds_half_a_folder_while_it_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "out", tmp_path / "work"
    for folder in (old, new):
        folder.mkdir()
        for name in "ab":
            (folder / name).write_text(folder.name)
    seen: list[set[str]] = []
    for module, call in ((os, "replace"), (shutil, "rmtree")):
        real = getattr(module, call)

        def watched(*arguments: object, _real: Any = real, **options: object) -> None:
            _real(*arguments, **options)
            seen.append({path.name for path in old.glob("*")})

        monkeypatch.setattr(module, call, watched)
    publish(new, old)
    assert seen
    assert all(names in (set(), {"a", "b"}) for names in seen)
    assert (old / "a").read_text() == "work"
    assert {path.name for path in tmp_path.iterdir()} == {"out"}


def test_tree_hash_changes_with_bytes_and_with_names(tmp_path: Path) -> None:
    def tree(name: str, file: str, text: str) -> str:
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / file).write_text(text)
        return sha256_tree(folder)

    first = tree("a", "x", "1")
    assert tree("b", "x", "1") == first
    assert tree("c", "x", "2") != first
    assert tree("d", "y", "1") != first
