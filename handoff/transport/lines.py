"""What functions print is said as long as the other end takes it in: it is never why a session grows beyond what may be kept for it."""

from __future__ import annotations

from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Output

SHARE = 4     # lines are left out where more than this part of what a session may keep is unacknowledged


class Lines:
    """On their way over one session, which may keep so many bytes."""

    def __init__(self, kept_bytes_max: int) -> None:
        self._room = kept_bytes_max // SHARE
        self._left_out: dict[RunId, tuple[Output, int]] = {}    # per run of which that is to be told: the last, and how many lines in all

    def admit(self, output: Output, kept_bytes: int) -> list[Output]:
        """What is to be said now, where so many bytes are unacknowledged: nothing; or this, and before it how much was left out."""
        if kept_bytes > self._room:
            _, count = self._left_out.get(output.run, (output, 0))
            self._left_out[output.run] = output, count + len(output.texts)
            return []
        if not self._left_out:
            return [output]
        left_out, self._left_out = self._left_out, {}
        return [*(_told(last, count) for last, count in left_out.values()), output]


def _told(last: Output, count: int) -> Output:
    text = f"[{count:,} line{'s' * (count != 1)} left out: they could not be sent as fast as they came]"
    return Output(last.run, ints(last.tasks[-1:]), ("stderr",), (text,), last.node)
