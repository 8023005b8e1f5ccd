"""What a node says to its peers, link by link; and that nothing of it can be the end of the node, whose brain it is asked by."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from handoff.errors import ProtocolError
from handoff.ids import PeerId, RunId
from handoff.machine import Lost
from handoff.node import shared_memory
from handoff.node.events import Deliver
from handoff.node.exchange import Exchange
from handoff.node.shared_memory import write_shared
from handoff.node.store import ResultStore
from handoff.settings import KIB, WireSettings

RUN, PEER = RunId(1), PeerId(8)


class Line:
    """A link that keeps to what a message may have."""

    role, name, hello, peer, writable = "node", "other", None, PEER, True

    def __init__(self, settings: WireSettings) -> None:
        self._settings = settings
        self.said: list[Any] = []
        self.closed = ""

    def send(self, message: Any) -> None:
        """As a link does."""
        if sum(map(len, message.body)) > self._settings.body_bytes_max:
            raise ProtocolError("too large")
        self.said.append(message)

    def close(self, reason: str) -> None:
        """It is over."""
        self.closed = reason


class Node:
    """An exchange with one link."""

    def __init__(self, **settings: int) -> None:
        wire = WireSettings(**settings)
        self.events: list[Any] = []
        self.store = ResultStore()
        nobody: Any = SimpleNamespace(role="node")
        self.exchange = Exchange(nobody, wire, lambda: None, self.store, self.events.append)  # type: ignore[arg-type,return-value]
        self.line: Any = Line(wire)
        self.exchange.opened(self.line)


@pytest.mark.parametrize("body_bytes_max", [64 * KIB, 200 * KIB, 16 << 20])
async def test_small_values_travel_in_messages_that_may_be(body_bytes_max: int) -> None:
    """Whatever the settings say that a body may have: one that is larger would be taken for a bug, and end the node."""
    node = Node(body_bytes_max=body_bytes_max, chunk_bytes=body_bytes_max)
    sizes = {task: 60 * KIB - task for task in range(200)}
    node.store.put_many(RUN, list(sizes), [b"x" * size for size in sizes.values()])
    node.exchange.deliver(Deliver(PEER, RUN, (*sizes, 999)))
    told = {task: size for message in node.line.said for task, size in zip(message.tasks, message.sizes, strict=True)}
    assert told == sizes
    assert len(node.line.said) == {64 * KIB: 200, 200 * KIB: 67, 16 << 20: 3}[body_bytes_max]
    node.exchange.close()


async def test_what_can_not_be_mapped_ends_a_link_and_not_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small value that came in a chunk lies in a file, of which a mapping takes one more descriptor: without one it is read."""
    node = Node()
    node.store.put(RUN, 1, write_shared([b"small"], 5))
    broken = OSError(24, "Too many open files")

    def refused(*_: Any) -> Any:
        raise broken

    monkeypatch.setattr(shared_memory, "map_readonly", refused)
    node.exchange.deliver(Deliver(PEER, RUN, (1,)))
    assert [bytes(part) for part in node.line.said[0].body] == [b"small"] and node.events == []

    monkeypatch.setattr(shared_memory.os, "pread", refused)
    node.exchange.deliver(Deliver(PEER, RUN, (1,)))
    assert len(node.line.said) == 1 and "Too many open files" in node.line.closed
    assert [(event.peer, type(event)) for event in node.events] == [(PEER, Lost)]
    node.exchange.close()
