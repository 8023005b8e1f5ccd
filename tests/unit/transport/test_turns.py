"""Links are opened in turn, by clients and by nodes: a thousand handshakes at once would all be late."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from handoff.client import links
from handoff.columns import ints
from handoff.errors import ConnectionLost
from handoff.ids import PeerId, RunId
from handoff.machine import Lost
from handoff.messages import PROTOCOL, Collect, Hello, Peers
from handoff.node import exchange
from handoff.node.store import ResultStore
from handoff.settings import WireSettings
from handoff.transport import dial
from handoff.transport.dial import TURNS_MAX, Turns
from handoff.trust import secret
from handoff.trust.certificates import Identity

MANY = 3 * TURNS_MAX
RUN = RunId(1)


class Doors:
    """Takes the place of `dial`: nobody answers before `open` is set, and then that there is nobody."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.begun = self.now = self.most = 0

    async def dial(self, *_: Any, **__: Any) -> Any:
        """One that is dialled."""
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        await self.open.wait()
        self.now -= 1
        raise ConnectionLost("there is nobody")


@pytest.mark.parametrize("who", ["client", "node"])
async def test_many_peers_are_dialled_in_turn(who: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And each hears of it in the end."""
    doors, said = Doors(), list[Any]()
    for room in (links, exchange):
        monkeypatch.setattr(room, "dial", doors.dial)
    monkeypatch.setattr(dial, "TURN_SECONDS", 1000.0)
    hello = Hello(protocol=PROTOCOL, version="0", python="3", role=who, name="me", boot=b"")
    identity = Identity(secret.create_file(tmp_path / "secret"), who, "me")
    peers = {PeerId(number): (f"n{number}", ("127.0.0.1", 1)) for number in range(1, MANY + 1)}
    dialler: Any
    if who == "client":
        dialler = links.NodeLinks(identity, WireSettings(), lambda: hello, peers, said.append, "127.0.0.1")
    else:
        dialler = exchange.Exchange(identity, WireSettings(), lambda: hello, ResultStore(), said.append)
        names, addresses = zip(*peers.values(), strict=True)
        dialler.learn(Peers(ints(peers), names, addresses))
    for peer in peers:
        dialler.send(peer, Collect(RUN))
    while doors.begun < TURNS_MAX:
        await asyncio.sleep(0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert doors.begun == TURNS_MAX
    doors.open.set()
    while len(said) < MANY:
        await asyncio.sleep(0)
    assert doors.most == TURNS_MAX
    assert {each.peer for each in said if type(each) is Lost} == set(peers)
    if who == "client":
        await dialler.close()
    else:
        dialler.close()


async def test_a_client_that_leaves_dials_nobody_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those on their way come to their end by themselves; who waits for a turn then is not dialled."""
    doors, said = Doors(), list[Any]()
    monkeypatch.setattr(links, "dial", doors.dial)
    monkeypatch.setattr(dial, "TURN_SECONDS", 1000.0)
    hello = Hello(protocol=PROTOCOL, version="0", python="3", role="client", name="me", boot=b"")
    peers = {PeerId(number): (f"n{number}", ("127.0.0.1", 1)) for number in range(1, MANY + 1)}
    identity = Identity(secret.create_file(tmp_path / "secret"), "client", "me")
    dialler = links.NodeLinks(identity, WireSettings(), lambda: hello, peers, said.append, "127.0.0.1")
    for peer in peers:
        dialler.send(peer, Collect(RUN))
    while doors.begun < TURNS_MAX:
        await asyncio.sleep(0)
    leaving = asyncio.create_task(dialler.close())
    await asyncio.sleep(0)
    doors.open.set()
    await leaving
    assert doors.begun == TURNS_MAX


async def test_who_does_not_answer_gives_the_turn_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a firewall that swallows everything, a thousand nodes would else be waited for one after the other."""
    monkeypatch.setattr(dial, "TURN_SECONDS", 0.001)
    turns, inside, over = Turns(), 0, asyncio.Event()

    async def wait() -> None:
        nonlocal inside
        async with turns.one():
            inside += 1
            await over.wait()

    async with asyncio.timeout(20):
        waiting = [asyncio.create_task(wait()) for _ in range(MANY)]
        while inside < MANY:
            await asyncio.sleep(0.001)
        over.set()
        await asyncio.gather(*waiting)

    monkeypatch.setattr(dial, "TURN_SECONDS", 1000.0)     # each gave back one turn, not two
    inside, over = 0, asyncio.Event()
    waiting = [asyncio.create_task(wait()) for _ in range(MANY)]
    for _ in range(100):
        await asyncio.sleep(0)
    assert inside == TURNS_MAX
    for each in waiting:
        each.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
