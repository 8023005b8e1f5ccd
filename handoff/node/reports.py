"""What the coordinator is told of finished tasks: columns, one Report for each run, gathered over a turn or a little longer.

Who waits for a result has asked its node for it, so the report is needed for planning alone. While more of the run lies here than has
ended, planning can wait for a moment: the coordinator then takes in, and plans, many short tasks at once.
"""

from __future__ import annotations

from math import inf

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
        self._state, self._answers, self._patience = state, answers, state.settings.report_seconds
        self.deadline = inf     # when what waits is to be sent

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

    def flush(self, now: float) -> list[Send]:
        """What was gathered and is not better sent later, to be sent after what others wait for."""
        state, patience = self._state, self._patience
        waiting, reports = {}, []
        self.deadline = inf
        for run, table in state.reporting.items():
            if not (table.teaches or len(table.plans) - len(table.given) <= len(table.done) or max(table.seconds) > patience):
                table.unreported_at = min(table.unreported_at, now)
                if now < table.unreported_at + patience:
                    self.deadline = min(self.deadline, table.unreported_at + patience)
                    waiting[run] = table
                    continue
            ages = floats([now - ended if ended < now else 0.0 for ended in table.ended])
            reports.append(Send(COORDINATOR, Report(
                run, ints(table.done), ints(table.attempts), longs(table.nbytes), floats(table.seconds), ages, table.fetched,
                ints(table.workers), floats(table.waited))))
            table.done, table.attempts, table.nbytes, table.seconds, table.ended = [], [], [], [], []
            table.workers, table.waited, table.fetched = [], [], 0
            table.unreported_at, table.teaches = inf, False
        state.reporting = waiting
        return reports
