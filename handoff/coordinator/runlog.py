"""What the log says of runs: how they begin, end and fail. Of single calls, of which there may be thousands a second, only failures."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from handoff.ids import PeerId
from handoff.log import log
from handoff.messages import Accepted, Refused, RunDone, RunFailed, Submit


class RunLog:
    """Told what clients submit and what they are told; the rest of it is for `--log-level debug`."""

    TOLD = frozenset((Accepted, Refused, RunDone, RunFailed))     # of no other message `said` has to hear

    def __init__(self) -> None:
        self._asked: dict[tuple[PeerId, int], tuple[str, int, str, bool]] = {}   # name, tasks, client, and whether it is a single call
        self._calls: dict[int, PeerId] = {}                                      # single calls that are not over, and whose they are

    def asked(self, peer: PeerId, submit: Submit, client: str) -> None:
        """A client submits a run."""
        self._asked[peer, submit.token] = (submit.name, len(submit.program.kind), client, submit.values_only)

    def said(self, peer: PeerId, message: Any) -> None:
        """A client is told something of its runs."""
        match message:
            case Accepted(token, run) if (asked := self._asked.pop((peer, token), None)) is not None:   # else its client left just now
                name, tasks, client, is_call = asked
                if is_call:
                    self._calls[run] = peer
                (log.debug if is_call else log.info)("run.accepted", run=run, name=name, tasks=tasks, client=client)
            case Refused(code, text, token) if (asked := self._asked.pop((peer, token), None)) is not None:
                name, tasks, client, _ = asked
                log.warning("run.refused", name=name, tasks=tasks, client=client, error=code, text=text)
            case RunDone(run):
                if message.token:
                    self.said(peer, Accepted(message.token, run))
                is_call = self._calls.pop(run, None) is not None
                (log.debug if is_call else log.info)("run.done", run=run, tasks=len(message.nodes), bytes_moved=message.bytes_moved)
            case RunFailed(run, code):
                is_call = self._calls.pop(run, None) is not None
                say = log.debug if is_call and code == "RunCancelled" else log.warning
                say("run.failed", run=run, error=code, text=message.text, node=message.node, attempt=message.attempt)

    def forgotten(self, runs: Iterable[int]) -> None:
        """Their client wants nothing more of them, and is told nothing more: they may not be over."""
        for run in runs:
            self._calls.pop(run, None)

    def left(self, peer: PeerId) -> None:
        """A client is gone: it is told nothing more."""
        for asked in [asked for asked in self._asked if asked[0] == peer]:
            del self._asked[asked]
        for run in [run for run, whose in self._calls.items() if whose == peer]:
            del self._calls[run]
