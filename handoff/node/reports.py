"""What the coordinator is told of finished tasks: columns, gathered over a turn, one Report for each run."""

from __future__ import annotations

from handoff.columns import floats, ints, longs
from handoff.ids import COORDINATOR
from handoff.machine import Send
from handoff.messages import Report
from handoff.node.answers import Answers
from handoff.node.state import State
from handoff.node.tables import ATTEMPT, HANDLING, Table


class Reports:
    """Gathers and sends them."""

    def __init__(self, state: State, answers: Answers) -> None:
        self._state, self._answers = state, answers

    def complete(self, table: Table, task: int, nbytes: int) -> None:
        """A planned object is here: its task is done, in no time."""
        entry = self._state.withdraw(table, task)
        if entry[HANDLING].is_output:
            self._answers.made(table, [task])
        table.done.append(task)
        table.attempts.append(entry[ATTEMPT])
        table.nbytes.append(nbytes)
        table.seconds.append(0.0)
        table.ended.append(float("inf"))
        table.workers.append(0)
        table.waited.append(0.0)
        self._state.reporting[table.run] = table

    def flush(self, now: float) -> None:
        """Send what was gathered."""
        state = self._state
        if not state.reporting:
            return
        for run, table in state.reporting.items():
            ages = floats([now - ended if ended < now else 0.0 for ended in table.ended])
            state.effects.append(Send(COORDINATOR, Report(
                run, ints(table.done), ints(table.attempts), longs(table.nbytes), floats(table.seconds), ages, table.fetched,
                ints(table.workers), floats(table.waited))))
            table.done, table.attempts, table.nbytes, table.seconds, table.ended = [], [], [], [], []
            table.workers, table.waited, table.fetched = [], [], 0
        state.reporting = {}
