"""What functions do when they run under observation: they write into files, wait for files, and fail; and how tests read that."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import handoff

HEARTBEAT_SECONDS = 0.1               # what a node says is free is as old as this at most
PATIENCE_SECONDS = 20.0              # far more than anything here takes, so that a slow machine does not fail a test


# ── inside workers ───────────────────────────────────────────────────────────


def mark(path: str | Path, word: str) -> None:
    """One line more; appends this short do not mix."""
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(f"{word}\n")


def await_file(path: str | Path, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until somebody makes it."""
    deadline = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} did not come")
        time.sleep(0.005)


def step(diary: str, word: str, *inputs: Any, seconds: float = 0.0, gate: str = "", value: Any = None) -> Any:
    """Says that it runs, waits, and answers its word (or `value`) with those of its inputs."""
    mark(diary, word)
    if gate:
        await_file(gate)
    time.sleep(seconds)
    return value if value is not None else "".join([word, *map(str, inputs)])


def block(diary: str, word: str, nbytes: int, *inputs: Any) -> bytes:
    """Says that it runs, and makes a large value."""
    mark(diary, word)
    return bytes(nbytes)


def size_of(diary: str, word: str, value: Any) -> int:
    """Says that it runs, and takes a large value."""
    mark(diary, word)
    return len(value)


async def nap(diary: str, word: str, seconds: float) -> str:
    """A coroutine that says when it begins, and how it ends."""
    mark(diary, f"{word} began")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        mark(diary, f"{word} cancelled")
        raise
    mark(diary, f"{word} ended")
    return word


# ── inside tests ─────────────────────────────────────────────────────────────


class Diary:
    """The lines that functions wrote."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def lines(self) -> list[str]:
        """So far."""
        with contextlib.suppress(FileNotFoundError):
            return Path(self.path).read_text(encoding="utf-8").splitlines()
        return []

    def counts(self) -> Counter[str]:
        """How often each was written."""
        return Counter(self.lines())

    def wait_for(self, *words: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Until all of them were written."""
        until(lambda: set(words) <= set(self.lines()), lambda: f"{words} in {self.lines()}", seconds)


def until(is_true: Callable[[], Any], what: Callable[[], str] | str = "it", seconds: float = PATIENCE_SECONDS) -> None:
    """Poll; AssertionError when it does not become true."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what() if callable(what) else what}"
        time.sleep(0.005)


def await_free(client: handoff.Client, seconds: float = PATIENCE_SECONDS) -> None:
    """Until every node has all that it offers, nothing runs and nothing waits, and stays so over some heartbeats."""
    deadline = time.monotonic() + seconds
    free_since = None
    while free_since is None or time.monotonic() < free_since + 3 * HEARTBEAT_SECONDS:
        nodes = client.nodes()
        if all(node.free == node.capacity and not node.running and not node.queued for node in nodes):
            free_since = free_since or time.monotonic()
        else:
            free_since = None
            assert time.monotonic() < deadline, f"not free within {seconds:g} s: {nodes}"
        time.sleep(0.01)


def workers_of(pid: int) -> list[psutil.Process]:
    """All processes below a daemon, but for the shell that ends what they started if it is killed."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() != "sh":
                found.append(process)
    return found


def values_on(pid: int) -> int:
    """How many large values a process holds open."""
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            count += "memfd:handoff-value" in str(Path(entry.path).readlink())
    return count


@contextlib.contextmanager
def cluster_with(nodes: Any = 1, settings: dict[str, float] | None = None, **options: Any) -> Iterator[handoff.LocalCluster]:
    """A cluster whose daemons have these settings, such as {"scheduler.lost_seconds": 2}."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"node.heartbeat_seconds": HEARTBEAT_SECONDS, **(settings or {})}.items():
            section, _, setting = name.partition(".")
            patch.setenv(f"HANDOFF_{section.upper()}__{setting.upper()}", str(value))
        with handoff.LocalCluster(nodes, **options) as cluster:
            yield cluster
