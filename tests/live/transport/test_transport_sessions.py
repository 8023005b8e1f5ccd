"""Sessions over real connections that break: nothing is lost, nothing comes twice, and whoever is gone is noticed."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from handoff.columns import floats, ints, longs
from handoff.errors import ConnectionLost, Refused
from handoff.greetings import STOPS
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Dropped, Ended, Joined, Lost, Received, Resumed
from handoff.messages import Alive, EndRun, Forget, Hello, Progress, Report, Unreachable, Welcome
from handoff.messages import Refused as RefusedMessage
from handoff.settings import MIB, WireSettings
from handoff.transport import session_client
from handoff.transport.session_client import SessionClient
from handoff.transport.sessions import SessionServer
from handoff.trust.certificates import Identity
from handoff.trust.secret import Secret

SECRET = Secret((bytes(range(32)),))
SETTINGS = WireSettings(reconnect_seconds=0.01, reconnect_seconds_max=0.05)
MINE = Hello(1, "0.1.0", "3.11", "coordinator", "c", b"c" * 16)


class Noted:
    """Events, and a way to wait for them."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Any) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, what: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not what():
                self._changed.clear()
                await self._changed.wait()


class Member:
    """A node or client with its session."""

    def __init__(self, port: int, role: str = "node", name: str = "n1", settings: WireSettings = SETTINGS, **changes: Any) -> None:
        self.noted = Noted()
        self.hello = replace(Hello(1, "0.1.0", "3.11", role, name, os.urandom(16)), **changes)
        identity = Identity(SECRET, role, name)
        self.session = SessionClient(("127.0.0.1", port), identity, settings, lambda: self.hello, self.noted, self.noted)

    def break_off(self) -> None:
        """The network breaks."""
        assert self.session.link is not None
        self.session.link.abort()


class Cluster:
    """A coordinator's sessions, and its members."""

    def __init__(self) -> None:
        self.noted = Noted()
        self.refusal: RefusedMessage | None = None
        self.members: list[Member] = []
        self.server: SessionServer | None = None

    async def open(self, port: int = 0, settings: WireSettings = SETTINGS) -> SessionServer:
        identity = Identity(SECRET, "coordinator", "c")
        self.server = SessionServer(identity, settings, self.noted, lambda hello: self.refusal, MINE)
        await self.server.listen("127.0.0.1", port)
        return self.server

    async def join(self, **options: Any) -> Member:
        if self.server is None:
            await self.open()
        assert self.server is not None
        member = Member(self.server.port, **options)
        self.members.append(member)
        await member.session.connect()
        await self.noted.until(lambda: any(event.hello.boot == member.hello.boot for event in self.noted.of(Joined)))
        return member

    async def close(self) -> None:
        for member in self.members:
            await member.session.close()
        if self.server is not None:
            await self.server.close_all()


@pytest.fixture
async def cluster() -> Any:
    """A coordinator with members, closed at the end."""
    made = Cluster()
    yield made
    await made.close()


def report(number: int) -> Report:
    """Something a node says."""
    return Report(RunId(number), ints([number]), ints([1]), longs([1]), floats([0.5]), floats([0.0]))


def runs(noted: Noted) -> list[int]:
    """The numbers of what was received."""
    return [event.message.run for event in noted.of(Received) if not isinstance(event.message, Alive)]


async def test_members_get_ids_that_count_up(cluster: Cluster) -> None:
    """Each new session is joined once under a fresh id, and both sides can talk."""
    node, client = await cluster.join(), await cluster.join(role="client", name="me")
    assert [event.peer for event in cluster.noted.of(Joined)] == [1, 2]
    assert [event.hello.role for event in cluster.noted.of(Joined)] == ["node", "client"]
    assert node.noted.events == [Welcome(PeerId(1), name="c", coordinator=MINE.boot)]
    node.session.send(report(5))
    cluster.server.send(PeerId(2), Progress(RunId(6), 1, 2, 3))  # type: ignore[union-attr]
    cluster.server.send(PeerId(77), Progress(RunId(6), 1, 2, 3))  # type: ignore[union-attr]
    await cluster.noted.until(lambda: cluster.noted.of(Received))
    await client.noted.until(lambda: client.noted.of(Received))
    assert cluster.noted.of(Received) == [Received(PeerId(1), report(5))]
    assert client.noted.of(Received) == [Received(COORDINATOR, Progress(RunId(6), 1, 2, 3))]
    assert cluster.server.host(PeerId(1)) == "127.0.0.1"  # type: ignore[union-attr]


async def test_nothing_is_lost_or_doubled_when_connections_break(cluster: Cluster) -> None:
    """Both sides talk all the time while the connection is cut again and again, at either end."""
    node = await cluster.join()
    server = cluster.server
    assert server is not None
    for number in range(1, 401):
        node.session.send(report(number))
        server.send(PeerId(1), EndRun(RunId(number)))
        if number % 50 == 20 and node.session.link is not None:
            node.break_off()
        if number % 50 == 45 and server._peers[PeerId(1)].link is not None:
            server._peers[PeerId(1)].link.abort()
        if number % 7 == 0:
            await asyncio.sleep(0.002)
    await cluster.noted.until(lambda: len(runs(cluster.noted)) >= 400)
    await node.noted.until(lambda: len(runs(node.noted)) >= 400)
    assert runs(cluster.noted) == runs(node.noted) == list(range(1, 401))
    assert len(cluster.noted.of(Joined)) == 1
    assert cluster.noted.of(Dropped) and len(cluster.noted.of(Dropped)) == len(cluster.noted.of(Resumed))
    await node.noted.until(lambda: len(node.noted.of(Dropped)) == len(node.noted.of(Resumed)))
    assert not cluster.noted.of(Lost) and not node.noted.of(Lost)


async def test_a_newer_connection_of_a_session_replaces_the_older(cluster: Cluster) -> None:
    """A node that comes back before the coordinator noticed the break goes on where it was."""
    node = await cluster.join()
    old = node.session.link
    assert old is not None
    node.session.lost(old, "the node noticed first")
    await cluster.noted.until(lambda: cluster.noted.of(Resumed))
    assert [type(event) for event in cluster.noted.events] == [Joined, Dropped, Resumed]
    node.session.send(report(1))
    await cluster.noted.until(lambda: runs(cluster.noted) == [1])


async def test_a_goodbye_ends_the_session_at_once(cluster: Cluster) -> None:
    """Who leaves is lost with the reason it gave, after all it said before."""
    node = await cluster.join()
    node.session.send(report(1))
    await node.session.close("scaled down")
    await cluster.noted.until(lambda: cluster.noted.of(Lost))
    assert cluster.noted.events[1:] == [Received(PeerId(1), report(1)), Lost(PeerId(1), "scaled down")]


async def test_a_dead_node_is_noticed_at_once(cluster: Cluster) -> None:
    """When a node's connection breaks and its own port refuses, it is lost without waiting for the window."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound, not listening: refuses
        node = await cluster.join(address=("", free.getsockname()[1]))
        link = node.session.link
        assert link is not None
        node.session._is_over = True  # as if its process were gone
        link.abort()
        await cluster.noted.until(lambda: cluster.noted.of(Lost))
    assert cluster.noted.events[1:] == [Dropped(PeerId(1)), Lost(PeerId(1), "its process is gone")]


async def test_a_node_that_still_listens_is_waited_for(cluster: Cluster) -> None:
    """A broken connection to a living process is not a lost node."""
    looks = asyncio.Semaphore(0)
    port_of_node = await asyncio.start_server(lambda reader, writer: (looks.release(), writer.close()), "127.0.0.1", 0)
    node = await cluster.join(address=("127.0.0.1", port_of_node.sockets[0].getsockname()[1]))
    link = node.session.link
    assert link is not None
    node.session._is_over = True
    link.abort()
    for _ in range(3):
        await asyncio.wait_for(looks.acquire(), 5)
    assert cluster.noted.events[1:] == [Dropped(PeerId(1))]
    port_of_node.close()
    await cluster.noted.until(lambda: cluster.noted.of(Lost))


async def test_a_restarted_node_replaces_its_former_life(cluster: Cluster) -> None:
    """A new process under the name of a dropped node means that the old one is gone."""
    node = await cluster.join()
    link = node.session.link
    assert link is not None
    node.session._is_over = True
    link.abort()
    await cluster.noted.until(lambda: cluster.noted.of(Dropped))
    await cluster.join()
    assert cluster.noted.of(Lost) == [Lost(PeerId(1), "its process was restarted")]
    assert [event.peer for event in cluster.noted.of(Joined)] == [1, 2]


async def test_nobody_goes_on_with_the_session_of_another(cluster: Cluster) -> None:
    """Nodes know each other's numbers and boots, since they call each other: who says those of another node gets a session of its own."""
    first = await cluster.join(name="n1")
    other = Member(cluster.server.port, name="n2", boot=first.hello.boot)  # type: ignore[union-attr]
    cluster.members.append(other)
    other.session._me = PeerId(1)
    await other.session.connect()
    first.session.send(report(1))
    await cluster.noted.until(lambda: cluster.noted.of(Received))
    assert [event.peer for event in cluster.noted.of(Joined)] == [1, 2]
    assert cluster.noted.of(Received) == [Received(PeerId(1), report(1))]
    assert not cluster.noted.of(Dropped) and not other.noted.of(Resumed)


async def test_nobody_ends_the_session_of_another_by_its_name(cluster: Cluster) -> None:
    """A node that is cut off for a while is not lost because another one says that it is that node: its certificate says who it is."""
    node = await cluster.join(name="n1")
    link = node.session.link
    assert link is not None
    node.session._is_over = True
    link.abort()
    await cluster.noted.until(lambda: cluster.noted.of(Dropped))
    other = Member(cluster.server.port, name="n2")  # type: ignore[union-attr]
    other.hello = replace(other.hello, name="n1")
    with pytest.raises(Refused, match=r"says that it is node n1, and its certificate is for node n2$"):
        await other.session.connect()
    assert not cluster.noted.of(Lost)


async def test_a_forgotten_node_joins_anew(cluster: Cluster) -> None:
    """A node that the coordinator closes hears that all is void, and is a new node."""
    node = await cluster.join()
    cluster.server.close(PeerId(1), "silent for 10 s")  # type: ignore[union-attr]
    cluster.server.send(PeerId(1), EndRun(RunId(1)))  # type: ignore[union-attr]
    await node.noted.until(lambda: len(node.noted.of(Welcome)) == 2)
    assert [event.peer for event in cluster.noted.of(Joined)] == [1, 2]
    assert not cluster.noted.of(Lost)
    first, second = (Welcome(PeerId(number), name="c", coordinator=MINE.boot) for number in (1, 2))
    assert node.noted.events == [first, Dropped(COORDINATOR), second]


async def test_a_closed_client_is_told_why(cluster: Cluster) -> None:
    """A client does not come back by itself after a goodbye."""
    client = await cluster.join(role="client", name="me")
    await cluster.server.close_all("its cluster ends")  # type: ignore[union-attr]
    await client.noted.until(lambda: client.noted.of(Lost))
    assert client.noted.of(Lost) == [Lost(COORDINATOR, "its cluster ends")]
    client.session.send(report(1))


@pytest.mark.parametrize("role", ["client", "node"])
async def test_a_coordinator_that_is_stopped_is_dialled_until_it_is_started_again(cluster: Cluster, role: str) -> None:
    """It may be a planned restart: what was said is void, and the next process is joined anew."""
    member = await cluster.join(role=role, name="me")
    server = cluster.server
    assert server is not None
    port = server.port
    await server.close_all()
    await member.noted.until(lambda: member.noted.of(Dropped))
    assert member.noted.events[1:] == [Ended(COORDINATOR, STOPS), Dropped(COORDINATOR)]
    await cluster.open(port)
    await member.noted.until(lambda: len(member.noted.of(Welcome)) == 2)
    assert not member.noted.of(Lost)


@pytest.mark.parametrize("is_connected", [True, False])
async def test_a_client_that_begins_anew_leaves_its_former_session(cluster: Cluster, is_connected: bool) -> None:
    """What it said is void, whether the connection stands or not; the coordinator gets to know a new client."""
    client = await cluster.join(role="client", name="me")
    if not is_connected:
        client.break_off()
        await client.noted.until(lambda: client.noted.of(Dropped))
        client.session.send(Forget(RunId(1)))
    client.session.begin_anew("given up")
    await client.noted.until(lambda: len(client.noted.of(Welcome)) == 2)
    client.session.send(Forget(RunId(2)))
    await cluster.noted.until(lambda: runs(cluster.noted))
    assert runs(cluster.noted) == [2] and not client.noted.of(Resumed)
    assert [event.peer for event in cluster.noted.of(Joined)] == [1, 2]
    assert cluster.noted.of(Lost) == ([Lost(PeerId(1), "given up")] if is_connected else [])


@pytest.mark.parametrize("heard", [0, 3])
async def test_a_coordinator_that_forgot_all_is_joined_anew(cluster: Cluster, heard: int) -> None:
    """A coordinator that crashed and came back on the same port has a fresh session, and both are told.

    Its numbers begin anew, so the member gets the one that it had, and it goes on with nothing all the same.
    """
    node = await cluster.join()
    server = cluster.server
    assert server is not None
    for number in range(heard):
        server.send(PeerId(1), EndRun(RunId(number)))
    await node.noted.until(lambda: len(node.noted.of(Received)) == heard)
    port = server.port
    for entry in server._peers.values():
        assert entry.link is not None
        entry.link.abort()
    server._peers.clear()
    await server.close_all()
    await node.noted.until(lambda: node.noted.of(Dropped))
    node.session.send(report(1))
    cluster.server = await cluster.open(port)
    await node.noted.until(lambda: len(node.noted.of(Welcome)) == 2)
    node.session.send(report(2))
    await cluster.noted.until(lambda: runs(cluster.noted))
    assert runs(cluster.noted) == [2]
    assert not node.noted.of(Resumed) and not cluster.noted.of(Resumed)
    assert [(joined.peer, joined.hello.peer) for joined in cluster.noted.of(Joined)] == [(1, NOBODY), (1, 1)]
    cluster.server.send(PeerId(1), EndRun(RunId(9)))
    await node.noted.until(lambda: node.noted.events[-1] == Received(COORDINATOR, EndRun(RunId(9))))


async def test_what_is_said_while_disconnected_is_kept(cluster: Cluster) -> None:
    """Both sides go on talking while there is no connection."""
    node = await cluster.join()
    server = cluster.server
    assert server is not None
    node.break_off()
    await node.noted.until(lambda: node.noted.of(Dropped))
    assert not node.session.is_connected
    node.session.send(report(1))
    node.session.send(report(2))
    server.send(PeerId(1), EndRun(RunId(3)))
    await node.noted.until(lambda: node.noted.of(Resumed))
    await cluster.noted.until(lambda: runs(cluster.noted) == [1, 2])
    await node.noted.until(lambda: runs(node.noted) == [3])


async def test_acknowledgements_let_go_what_is_kept(cluster: Cluster) -> None:
    """A side that only listens still tells how far it is, so that the other does not keep everything."""
    node = await cluster.join()
    for number in range(400):
        node.session.send(Unreachable(RunId(number), PeerId(9), ints(range(1000))))
        await asyncio.sleep(0)
    kept = node.session._session
    await cluster.noted.until(lambda: len(runs(cluster.noted)) == 400)
    async with asyncio.timeout(5):
        while kept.kept_bytes:
            await asyncio.sleep(0.01)
    assert kept.acknowledged == kept.sent == 400
    assert not node.noted.of(Received)


async def test_too_much_unacknowledged_ends_the_session(cluster: Cluster) -> None:
    """A member that is away for too many bytes is lost, on either side."""
    small = replace(SETTINGS, unacknowledged_bytes_max=1 * MIB, reconnect_seconds=5.0)
    await cluster.open(settings=small)
    node = await cluster.join(settings=small)
    node.break_off()
    await cluster.noted.until(lambda: cluster.noted.of(Dropped))
    for _ in range(300):
        cluster.server.send(PeerId(1), Progress(RunId(1), 0, 0, 0, "x" * 4096))  # type: ignore[union-attr]
        node.session.send(Unreachable(RunId(1), PeerId(9), ints(range(1000))))
    assert len(cluster.noted.of(Lost)) == 1
    assert "bytes are unacknowledged" in cluster.noted.of(Lost)[0].reason
    assert len(node.noted.of(Lost)) == 1


async def test_what_may_not_be_said_ends_the_session(cluster: Cluster) -> None:
    """A client that reports like a node is lost for good: it would only say it again."""
    client = await cluster.join(role="client", name="me")
    client.session.send(report(1))
    await client.noted.until(lambda: client.noted.of(Lost))
    await cluster.noted.until(lambda: cluster.noted.of(Lost))
    assert cluster.noted.of(Lost) == [Lost(PeerId(1), "protocol violation: a client may not say Report to a coordinator")]
    assert runs(cluster.noted) == []


async def test_refusals_are_raised_first_and_told_later(cluster: Cluster) -> None:
    """Refused at the first connect: an error. Refused when coming back: Lost, with the text."""
    node = await cluster.join()
    cluster.refusal = RefusedMessage("Refused", "the cluster is full")
    with pytest.raises(Refused, match=r"^the cluster is full$"):
        await cluster.join(name="n2")
    cluster.server.close(PeerId(1), "go away")  # type: ignore[union-attr]
    await node.noted.until(lambda: node.noted.of(Lost))
    assert node.noted.events[1:] == [Dropped(COORDINATOR), Lost(COORDINATOR, "the cluster is full")]


async def test_versions_have_to_fit(cluster: Cluster) -> None:
    """Another Python is refused with both versions named."""
    with pytest.raises(Refused, match=r"coordinator c has Python 3\.11, node n1 has 3\.12"):
        await cluster.join(python="3.12")


async def test_no_coordinator_is_an_error_at_the_first_connect() -> None:
    """The first connect does not wait for somebody to appear."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionLost, match="nothing listens there"):
            await Member(free.getsockname()[1]).session.connect()


async def test_a_coordinator_that_stands_still_is_noticed_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stays, and calls wait: at least the log says why. When it goes on, nothing was lost."""
    monkeypatch.setattr(session_client, "ACKNOWLEDGE_SECONDS", 0.001)
    server = await cluster.open()
    node = await cluster.join()
    assert server._acknowledging is not None
    server._acknowledging.cancel()      # it says nothing any more, as when its process is stopped
    node.session.send(report(1))
    async with asyncio.timeout(10):
        while "coordinator.silent" not in caplog.text:
            await asyncio.sleep(0.001)
    await cluster.noted.until(lambda: cluster.noted.of(Received))
    server.send(PeerId(1), EndRun(RunId(1)))
    await node.noted.until(lambda: node.noted.of(Received))
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert caplog.text.count("coordinator.silent") == 1
