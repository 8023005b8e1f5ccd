"""Sessions over breaking connections, as the shells keep them: numbered, acknowledged, resumed; around the real `wire.session`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from handoff.greetings import DRAINED, STOPS
from handoff.ids import COORDINATOR, NOBODY, PeerId
from handoff.machine import Dropped, Ended, Joined, Lost, Received, Resumed
from handoff.messages import Bye, Hello, Message, Refused, Welcome
from sim.network import End
from sim.numbering import Frame, Numbering
from sim.process import Process


class Kept:
    """The coordinator's side of one session."""

    def __init__(self, hello: Hello, numbering: Numbering) -> None:
        self.hello, self.numbering = hello, numbering
        self.end: End | None = None


class SessionServer:
    """The coordinator's shell: who is in, resuming, and the probe when a node's connection breaks."""

    def __init__(self, process: Process, heard: Callable[[Any], None], boot: bytes, first: int) -> None:
        self.process, self.heard, self.boot = process, heard, boot
        self.network, self.letters = process.stage.network, process.stage.letters
        self.kept: dict[PeerId, Kept] = {}
        self._next = first

    def send(self, peer: PeerId, message: Message) -> None:
        """Say it, now or after a reconnect."""
        kept = self.kept.get(peer)
        if kept is not None:
            self.process.oracles.says("coordinator", kept.hello.role, message)
            frame = kept.numbering.wrap(self.letters.write(message))
            if kept.end is not None:
                kept.end.send(frame)

    def close(self, peer: PeerId, reason: str) -> None:
        """Forget it."""
        kept = self.kept.pop(peer, None)
        if kept is not None and kept.end is not None:
            kept.end.send(self.letters.write(Bye(reason)))
            kept.end.close()

    def close_all(self, reason: str) -> None:
        """Say goodbye to all."""
        for peer in list(self.kept):
            self.close(peer, reason)

    # ── what connections say ────────────────────────────────────────────────

    def received(self, end: End, frame: Any) -> None:
        """A frame on any connection; the first is a Hello."""
        if end.facts is None:
            end.slowness = self.process.options.news_seconds
            self._greeted(end, self.letters.read(frame))
            return
        peer = end.facts
        kept = self.kept.get(peer)
        if kept is None or kept.end is not end:
            return
        if not isinstance(frame, Frame):  # a goodbye stands outside the numbering
            bye = self.letters.read(frame)
            del self.kept[peer]
            end.close()
            self.heard(Lost(peer, bye.reason))
        elif kept.numbering.unwrap(frame):
            self.heard(Received(peer, self.letters.read(frame.letter)))

    def broke(self, end: End, reason: str) -> None:
        """A connection is gone; its session is not, unless it is a node whose process is dead."""
        if end.facts is None:
            return
        peer = end.facts
        kept = self.kept.get(peer)
        if kept is not None and kept.end is end:
            kept.end = None
            self.heard(Dropped(peer))
            if kept.hello.role == "node":
                self._probe(peer, kept)

    def _greeted(self, end: End, hello: Hello) -> None:
        kept = self.kept.get(hello.peer)
        if kept is not None and kept.hello.boot == hello.boot:
            if kept.end is not None:
                kept.end.close()
                self.heard(Dropped(hello.peer))
            kept.end, end.facts = end, hello.peer
            end.send(self.letters.write(Welcome(hello.peer, True, kept.numbering.received)))
            for frame in kept.numbering.resume(hello.received):
                end.send(frame)
            self.heard(Resumed(hello.peer))
            return
        if hello.role == "node" and any(other.hello.name == hello.name for other in self.kept.values()):
            end.facts = NOBODY
            end.send(self.letters.write(Refused("Refused", f"a node named {hello.name!r} is already here")))
            end.close()
            return
        peer = PeerId(self._next)
        self._next += 1
        kept = self.kept[peer] = Kept(hello, Numbering())
        kept.end, end.facts = end, peer
        end.send(self.letters.write(Welcome(peer, coordinator=self.boot)))
        self.heard(Joined(peer, hello))

    def _probe(self, peer: PeerId, kept: Kept) -> None:
        """Is somebody at its address? Refused: then its process is dead."""
        target = self.network.listener(kept.hello.address[0])
        network, host = self.network, kept.hello.address[0]
        there = max(network.passable(self.process.host, host), network.passable(host, self.process.host)) + 2 * network.delay()
        if target is not None and not target.vanished and there < network.clock.now + 5.0:
            network.clock.at(there, self.process.run, self._probed, peer, kept, host)

    def _probed(self, peer: PeerId, kept: Kept, host: str) -> None:
        target = self.network.listener(host)
        if self.kept.get(peer) is kept and kept.end is None and target is not None and not target.alive and not target.vanished:
            del self.kept[peer]
            self.heard(Lost(peer, "its process is gone"))


class SessionClient:
    """A node's or client's shell: dials, dials again with growing pauses, resumes."""

    def __init__(
        self, process: Process, hello: Hello, heard: Callable[[Any], None], welcomed: Callable[[Welcome], None],
        drained: Callable[[], None] | None = None,
    ) -> None:
        self.process, self.hello, self.heard, self.welcomed, self.drained = process, hello, heard, welcomed, drained
        self.network, self.letters, self.lots = process.stage.network, process.stage.letters, process.lots
        self.settings = process.options.settings.wire
        self.me = NOBODY
        self._numbering = Numbering()
        self._end: End | None = None
        self._pause = self.settings.reconnect_seconds
        self._closed = False

    def connect(self) -> None:
        """Dial until somebody answers."""
        if not self._closed:
            self.network.dial(self.process, "coordinator", self, self._opened, self._again)

    def send(self, message: Message) -> None:
        """Say it, now or after a reconnect."""
        self.process.oracles.says(self.hello.role, "coordinator", message)
        frame = self._numbering.wrap(self.letters.write(message))
        if self._end is not None:
            self._end.send(frame)

    def begin_anew(self) -> None:
        """What was said is void."""
        self.me, self._numbering = NOBODY, Numbering()
        for end in [end for end in self.process.ends if end.handler is self]:    # one that is being dialled, too
            if end is self._end:
                end.send(self.letters.write(Bye("begins anew")))
            end.close()
            self.broke(end, "begins anew")

    def close(self) -> None:
        """Leave for good."""
        self._closed = True
        if self._end is not None:
            self._end.send(self.letters.write(Bye("through")))
            self._end.close()
            self._end = None

    def _opened(self, end: End) -> None:
        end.send(self.letters.write(replace(self.hello, peer=self.me, received=self._numbering.received)))

    def _again(self, reason: str) -> None:
        self.network.clock.after(self._pause * self.lots.uniform(0.5, 1.0), self.process.run, self.connect)
        self._pause = min(2 * self._pause, self.settings.reconnect_seconds_max)

    def received(self, end: End, frame: Any) -> None:
        """A frame; the first is a Welcome or a Refused."""
        if end.facts is None:
            self._answered(end, self.letters.read(frame))
        elif end is not self._end:
            return
        elif not isinstance(frame, Frame):  # a goodbye: the coordinator has forgotten us
            end.close()
            reason = self.letters.read(frame).reason
            if reason == DRAINED and self.drained is not None:
                self.drained()
                return
            if reason == STOPS:
                self.heard(Ended(COORDINATOR, reason))
            self.broke(end, "goodbye")
        elif self._numbering.unwrap(frame):
            self.heard(Received(COORDINATOR, self.letters.read(frame.letter)))

    def _answered(self, end: End, answer: Message) -> None:
        end.facts, end.slowness = "answered", self.process.options.news_seconds
        if not isinstance(answer, Welcome):
            end.close()
            self._again("refused")
            return
        self._end, self._pause = end, self.settings.reconnect_seconds
        if answer.resumed:
            for frame in self._numbering.resume(answer.received):
                end.send(frame)
            self.heard(Resumed(COORDINATOR))
        else:
            self._numbering = Numbering()
            self.me = answer.peer
            self.welcomed(answer)

    def broke(self, end: End, reason: str) -> None:
        """The connection is gone."""
        if end is self._end:
            self._end = None
            self.heard(Dropped(COORDINATOR))
            self._again(reason)
        elif end.facts is None:
            self._again(reason)

