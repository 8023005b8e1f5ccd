"""Frames and descriptors over a socket pair, whatever the pieces they come in."""

from __future__ import annotations

import array
import asyncio
import errno
import gc
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handoff.errors import ProtocolError
from handoff.loop import this_turn
from handoff.node import pipe
from handoff.node.pipe import ANSWER_BYTES_MAX, FrameReader, NodePipe, frame, send_descriptors
from handoff.node.pipes import Pipes
from handoff.node.shared_memory import write_shared
from handoff.wire.plain import pack, unpack


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends."""
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


@given(
    st.lists(st.lists(st.one_of(st.integers(-(2**63), 2**64 - 1), st.binary(max_size=300), st.text(max_size=20)), max_size=5), max_size=8),
    st.lists(st.integers(1, 400), min_size=1, max_size=20),
)
def test_frames_survive_any_cutting(said: list[Any], cuts: list[int]) -> None:
    """However the bytes are cut, the same frames come out, once and in order."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        reader = FrameReader(ours, ANSWER_BYTES_MAX)
        data, heard, at, turn = b"".join(map(frame, said)), [], 0, 0
        while at < len(data):
            size = cuts[turn % len(cuts)]
            theirs.sendall(data[at : at + size])
            at, turn = at + size, turn + 1
            heard += reader.read()
        assert heard == [(each, []) for each in said]
        with pytest.raises(BlockingIOError):
            reader.read()


def test_a_name_with_a_lone_surrogate_survives() -> None:
    """As functions have that are called after files; a node that could not say it to its worker would end, and so would the next one."""
    assert unpack(pack(["f of \udcff.txt", 1, b"x", "plain"])) == ["f of \udcff.txt", 1, b"x", "plain"]


def test_descriptors_belong_to_their_frames(pair: tuple[socket.socket, socket.socket]) -> None:
    """Each frame gets the descriptors that were sent with it; those that nobody takes are closed."""
    ours, theirs = pair
    values = [write_shared([name], 1) for name in (b"a", b"b", b"c")]
    theirs.sendall(frame(["none"]))
    send_descriptors(theirs, frame(["one"], 1), [values[0].fd])
    send_descriptors(theirs, frame(["two"], 2), [values[1].fd, values[2].fd])
    reader, heard = FrameReader(ours, ANSWER_BYTES_MAX), []
    while len(heard) < 3:
        heard += reader.read()
    assert [said for said, _ in heard] == [["none"], ["one"], ["two"]]
    assert [[os.pread(fd, 9, 0) for fd in fds] for _, fds in heard] == [[], [b"a"], [b"b", b"c"]]
    assert not any(os.get_inheritable(fd) for _, fds in heard for fd in fds)
    for _, fds in heard:
        for fd in fds:
            os.close(fd)
    send_descriptors(theirs, b"\0", [values[0].fd])
    gc.collect()    # what other tests have left in circles would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    reader.read()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<IH", ANSWER_BYTES_MAX + 1, 0), frame(["x"], 1),
        struct.pack("<IH", 1, 0) + b"\xc1", struct.pack("<IH", 3, 0) + b"\xc7\1\5",
    ],
    ids=["too long", "no descriptor", "no message pack", "extension"],
)
def test_what_is_no_frame_is_refused(pair: tuple[socket.socket, socket.socket], data: bytes) -> None:
    """Lengths are checked before anything is kept, and garbage is one kind of error."""
    ours, theirs = pair
    theirs.sendall(data)
    with pytest.raises(ProtocolError):
        FrameReader(ours, ANSWER_BYTES_MAX).read()


def test_too_many_descriptors_at_once_are_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    """Descriptors that the kernel had to drop are noticed."""
    ours, theirs = pair
    theirs.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0] * 200))])
    reader = FrameReader(ours, ANSWER_BYTES_MAX)
    with pytest.raises(ProtocolError, match="descriptors were lost"):
        reader.read()
    reader.close()


def test_plain_data_comes_back() -> None:
    """What is packed is unpacked, with lists for tuples; integer keys are allowed; garbage is a ProtocolError."""
    assert unpack(pack({1: (b"x", "y", None, 1.5, 2**64 - 1)})) == {1: [b"x", "y", None, 1.5, 2**64 - 1]}
    with pytest.raises(ProtocolError):
        unpack(b"\x91" * 2000)


class Node:
    """The node's end of a pipe, and what it heard."""

    def __init__(self, sock: socket.socket) -> None:
        self.heard: list[Any] = []
        self.ended: list[str] = []
        self.news = asyncio.Event()
        self.pipe = NodePipe(sock, asyncio.get_running_loop(), Pipes(asyncio.get_running_loop()), self._heard, self._ended)

    def _heard(self, frames: list[Any]) -> None:
        self.heard += [said for said, _ in frames]
        self.news.set()

    def _ended(self, reason: str) -> None:
        self.ended.append(reason)
        self.news.set()


async def test_what_the_socket_has_no_room_for_is_sent_later(pair: tuple[socket.socket, socket.socket]) -> None:
    """The node never waits: what does not fit goes out in order, descriptors beside their frames, when the worker reads."""
    ours, theirs = pair
    node, value = Node(ours), write_shared([b"v"], 1)
    for n in range(20):
        node.pipe.send(frame([n, bytes(100_000)]))
    node.pipe.send(frame(["value"], 1), [value])
    node.pipe.send(frame(["last"]))
    assert node.pipe.waiting_bytes > 0
    reader, heard = FrameReader(theirs, ANSWER_BYTES_MAX), []
    theirs.setblocking(False)
    async with asyncio.timeout(10):
        while len(heard) < 22:
            try:
                heard += reader.read()
            except BlockingIOError:
                await asyncio.sleep(0)
    assert [said[0] for said, _ in heard] == [*range(20), "value", "last"]
    assert os.pread(heard[20][1][0], 9, 0) == b"v"
    os.close(heard[20][1][0])
    assert node.pipe.waiting_bytes == 0
    node.pipe.close()


class Crowded:
    """A socket of a user of whom too many descriptors are on their way, at first."""

    def __init__(self, sock: socket.socket, times: int) -> None:
        self._sock, self.left = sock, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def sendmsg(self, *what: Any) -> int:
        """As the kernel does it."""
        self.left -= 1
        if self.left >= 0:
            raise OSError(errno.ETOOMANYREFS, "Too many references: cannot splice")
        return self._sock.sendmsg(*what)


async def test_a_node_tries_again_while_too_many_descriptors_are_on_their_way(pair: tuple[socket.socket, socket.socket]) -> None:
    """Those that were sent come to their workers; that is no reason to end the one that had to wait."""
    ours, theirs = pair
    crowded: Any = Crowded(ours, 2)
    node, value = Node(crowded), write_shared([b"v"], 1)
    node.pipe.send(frame(["value"], 1), [value])
    node.pipe.send(frame(["last"]))
    assert not node.ended and node.pipe.waiting_bytes
    reader, heard = FrameReader(theirs, ANSWER_BYTES_MAX), []
    while len(heard) < 2:
        heard += await asyncio.to_thread(reader.read)
    assert [said[0] for said, _ in heard] == ["value", "last"] and crowded.left < 0
    os.close(heard[0][1][0])
    node.pipe.close()


async def test_what_several_workers_say_is_heard_in_one_turn() -> None:
    """As one turn, however many they are, with the one among them that closes its pipe; a node of many cores has time for little else."""
    pipes, turn = Pipes(asyncio.get_running_loop()), this_turn()
    heard: list[Any] = []
    told: list[int] = []    # how much had been heard at the end of each turn
    over = asyncio.Event()

    def hear(what: Any) -> None:
        heard.append(what)
        turn.at_end(lambda: told.append(len(heard)))
        if len(heard) == 20:
            over.set()

    pairs = [socket.socketpair() for _ in range(20)]
    ends = [NodePipe(ours, asyncio.get_running_loop(), pipes, lambda frames: hear(frames[0][0]), hear) for ours, _ in pairs]
    for at, (_, theirs) in enumerate(pairs):
        theirs.sendall(frame([at]))
    pairs[3][1].close()
    await asyncio.wait_for(over.wait(), 10)
    await asyncio.sleep(0)
    assert sorted(each[0] for each in heard if type(each) is list) == list(range(20))
    assert told[:20] == [20] * 20
    for end, (_, theirs) in zip(ends, pairs, strict=True):
        end.close()
        theirs.close()
    pipes.close()


async def test_a_reader_that_is_stuck_ends_the_pipe(pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit to what waits for a worker that does not read."""
    monkeypatch.setattr(pipe, "WAITING_BYTES_MAX", 1_000_000)
    node = Node(pair[0])
    for _ in range(30):
        node.pipe.send(bytes(100_000))
    assert len(node.ended) == 1
    assert "stuck" in node.ended[0]


@pytest.mark.parametrize(("data", "reason"), [(b"", "closed its pipe"), (b"\xff" * 9, "said what no worker says")])
async def test_the_end_is_told_once(pair: tuple[socket.socket, socket.socket], data: bytes, reason: str) -> None:
    """A closed or misused pipe ends, with a reason, after the frames before it; sending into it does nothing."""
    node = Node(pair[0])
    pair[1].sendall(data or frame(["hello"]))
    pair[1].close()
    async with asyncio.timeout(10):
        while not node.ended:
            node.news.clear()
            await node.news.wait()
    assert reason in node.ended[0] and node.pipe.is_garbled == bool(data)
    assert node.heard == ([["hello"]] if not data else [])
    node.pipe.send(b"x")
    assert not node.pipe.read()
    assert len(node.ended) == 1


def test_descriptors_of_frames_before_nonsense_are_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    """Nobody hears of a frame that came in one read with something that is none: its large values would stay for as long as the node."""
    ours, theirs = pair
    value = write_shared([b"large"], 5)
    reader = FrameReader(ours, ANSWER_BYTES_MAX)
    gc.collect()    # what other tests have left in circles would be closed meanwhile
    before = len(os.listdir("/proc/self/fd"))
    send_descriptors(theirs, frame(["taken"], 1) + struct.pack("<IH", 1, 0) + b"\xc1", [value.fd])
    with pytest.raises(ProtocolError):
        reader.read()
    reader.close()
    assert len(os.listdir("/proc/self/fd")) == before
