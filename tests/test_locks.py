"""The cache's lock: one holder at a time, and the dead hold nothing."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flows.locks import FlockManager

HOLD = (
    "import sys; from pathlib import Path; from flows.locks import FlockManager\n"
    "assert FlockManager(Path(sys.argv[1])).acquire_lock('k', 'child')\n"
    "print('held', flush=True); sys.stdin.read()"
)


def _holder(folder: Path) -> subprocess.Popen:
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout.readline().strip() == b"held"
    return child


def test_another_process_keeps_the_lock_until_it_is_killed(tmp_path: Path) -> None:
    child = _holder(tmp_path)
    manager = FlockManager(tmp_path)
    assert manager.is_locked("k")
    assert not manager.acquire_lock("k", "me", acquire_timeout=0)
    assert not manager.wait_for_lock("k", timeout=0)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert manager.acquire_lock("k", "me", acquire_timeout=10)
    assert manager.is_lock_holder("k", "me")


def test_the_holder_may_ask_twice_and_others_of_the_process_wait(tmp_path: Path) -> None:
    manager = FlockManager(tmp_path)
    assert manager.acquire_lock("k", "a")
    assert manager.acquire_lock("k", "a")
    assert not manager.acquire_lock("k", "b", acquire_timeout=0)
    taken = threading.Event()
    waiter = threading.Thread(target=lambda: manager.acquire_lock("k", "b") and taken.set())
    waiter.start()
    manager.release_lock("k", "a")
    assert taken.wait(10)
    waiter.join()
    with pytest.raises(ValueError, match="does not hold"):
        manager.release_lock("k", "a")
    manager.release_lock("k", "b")
    assert not manager.is_locked("k")
    assert manager.wait_for_lock("k", timeout=0)


async def _async_cycle(folder: Path) -> bool:
    manager = FlockManager(folder)
    held = await manager.aacquire_lock("k", "a")
    busy = not await manager.await_for_lock("k", timeout=0)
    manager.release_lock("k", "a")
    return held and busy and await manager.await_for_lock("k", timeout=0)


def test_the_async_half_does_the_same(tmp_path: Path) -> None:
    import asyncio

    assert asyncio.run(_async_cycle(tmp_path))
