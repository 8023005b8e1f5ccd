"""What functions print is said as long as the other end takes it in: it is never why a session grows beyond what may be kept for it."""

from __future__ import annotations

from dataclasses import replace

from handoff.ids import RunId
from handoff.messages import Output

SHARE = 4     # lines are left out where more than this part of what a session may keep is unacknowledged


class Lines:
    """On their way over one session, which may keep so many bytes."""

    def __init__(self, kept_bytes_max: int) -> None:
        self._room = kept_bytes_max // SHARE
        self._left_out: dict[RunId, Output] = {}    # per run of which that is to be told: the last, without its lines,
        self._count: dict[RunId, int] = {}          # and how many lines in all

    def admit(self, output: Output, kept_bytes: int) -> list[Output]:
        """What is to be said now, where so many bytes are unacknowledged: nothing; or this, and before it how much was left out."""
        run = output.run
        if kept_bytes > self._room:
            if output.texts:
                self._left_out[run] = replace(output, tasks=output.tasks[-1:], streams=("stderr",), texts=("",))
                self._count[run] = self._count.get(run, 0) + len(output.texts)
            return []
        if not self._left_out:
            return [output]
        told = [replace(last, texts=(_left_out(self._count[each]),)) for each, last in self._left_out.items()]
        self._left_out, self._count = {}, {}
        return [*told, output]


def _left_out(count: int) -> str:
    return f"[{count:,} line{'s' * (count != 1)} left out: they could not be sent as fast as they came]"
