"""Plans become tables: what is planned here, what each task waits for, and what is taken back."""

from __future__ import annotations

from itertools import repeat

from handoff.columns import ints
from handoff.ids import COORDINATOR, NOBODY, PeerId, RunId
from handoff.machine import Send
from handoff.messages import Failed, Plan, Recall, Recalled
from handoff.node.reports import Reports
from handoff.node.state import State
from handoff.node.tables import ATTEMPT, HANDLING, INPUTS, SOURCES, TARGET, Entry, Handling, Mode, Table
from handoff.node.wants import Wants


class Plans:
    """Takes in what the coordinator plans here."""

    def __init__(self, state: State, wants: Wants, reports: Reports) -> None:
        self._state, self._wants, self._reports = state, wants, reports

    def accept(self, plan: Plan) -> None:
        """Note every task; ask at once for inputs that come from elsewhere."""
        state = self._state
        table = state.planned(plan.run)
        if plan.at_most:
            state.keep_to(table, plan.at_most)
        for index, kind in plan.new_kinds:
            table.handling[index] = state.handling(kind, kind.cost, table.limit)
        run, me = plan.run, state.me
        handlings, plans, size, waiters, missing, asked = table.handling, table.plans, table.size, table.waiters, table.missing, table.asked
        targets = dict(zip(plan.targets[::2], plan.targets[1::2], strict=True)) if plan.targets else {}
        all_inputs: list[int] = plan.inputs.tolist()
        all_sources: list[PeerId] = plan.sources.tolist()  # type: ignore[assignment]
        choices = dict(zip(plan.choices[::2], plan.choices[1::2], strict=True)) if plan.choices else {}
        relays = dict(zip(plan.relays[::2], plan.relays[1::2], strict=True)) if plan.relays else {}
        unbegun = dict(zip(plan.unbegun[::2], plan.unbegun[1::2], strict=True)) if plan.unbegun else {}
        waited, redirected, objects, tailored = table.recalled, table.redirected, Mode.OBJECT, table.tailored
        at = 0
        inputs: tuple[int, ...] = ()
        sources: tuple[PeerId, ...] = ()
        count_of = plan.fan_in if all_inputs else repeat(0)
        literals = plan.literals if plan.literals.data else repeat(b"")
        for task, attempt, index, literal, urgency, count in zip(
            plan.tasks, plan.attempts, plan.kind, literals, plan.urgencies, count_of, strict=False  # what is repeated has no end
        ):
            handling = handlings.get(index)
            if handling is not None and task in choices:
                handling = self._chosen(table, index, handling, choices[task])
            if handling is None:  # the coordinator forgot it: better told than waited for
                text = f"kind {index} of run {run}, or the cost that was chosen for it, was never described to this node"
                self._refuse(run, task, attempt, f"{text}; this is a bug in Handoff")
                at += count
                continue
            if count:
                inputs, sources = tuple(all_inputs[at : at + count]), tuple(all_sources[at : at + count])
                at += count
            else:
                inputs = sources = ()
            entry: Entry = (attempt, handling.kind, literal, inputs, sources if handling.is_tree else (),
                            PeerId(targets[task]) if task in targets else NOBODY, urgency, handling, sources,
                            attempt - unbegun[task] if task in unbegun else attempt)
            if targets and handling.is_tree:
                for each in inputs:
                    if each in targets:
                        table.senders.setdefault(each, NOBODY)
            if entry[TARGET] != NOBODY:
                state.void(table, task)
                asked.pop(task, None)
            if task in plans:
                self._replace(table, task, entry, relays)
                continue
            if handling.beyond:
                self._refuse(run, task, attempt, f"{handling.kind.name} asks for {handling.beyond}; plan it elsewhere, or let it cost less")
                continue
            if task in waited:
                del waited[task]
                table.forget_waiting(task, inputs)     # it must not be counted down twice for one input
            plans[task] = entry
            if not count and handling.mode is not objects:
                state.make_ready(table, task, entry)
                continue
            lacking = 0
            for each, source in zip(inputs, sources, strict=True):
                if each in size and (each not in tailored or state.fits(table, each, me)):
                    continue
                others = waiters.get(each)
                if others is None:
                    waiters[each] = [task]
                elif others[-1] == task:
                    continue  # it takes the same result twice
                else:
                    others.append(task)
                lacking += 1
                if each in redirected:
                    redirected[each] = source
                if each in relays:
                    source = PeerId(relays[each])
                if (source != me or each in asked) and asked.get(each) != source:  # who was asked before may be gone by now
                    self._wants.ask(table, each, source)
            if lacking:
                missing[task] = lacking
            elif handling.mode is objects:
                self._expect(table, task)
            else:
                state.make_ready(table, task, entry)

    def _chosen(self, table: Table, index: int, handling: Handling, alternative: int) -> Handling | None:
        """How tasks of this kind are handled that are to claim one of its alternatives; None when there is no such one."""
        known = table.alternatives.get((index, alternative))
        if known is None and alternative < len(handling.kind.alternatives):
            known = self._state.handling(handling.kind, handling.kind.alternatives[alternative], table.limit)
            table.alternatives[index, alternative] = known
        return known

    def _replace(self, table: Table, task: int, entry: Entry, relays: dict[int, int]) -> None:
        """A later attempt takes the place of an earlier one; one that runs goes on, and what comes of it is not this attempt's."""
        if table.plans[task][ATTEMPT] >= entry[ATTEMPT]:
            return
        old = table.plans[task][HANDLING].lane
        table.plans[task] = entry
        if entry[HANDLING].lane is not old and table.ready.pop(task, None) is not None:
            old.count -= 1
            self._state.make_ready(table, task, entry)  # it waits among those of its new cost
        for each, home in zip(entry[INPUTS], entry[SOURCES], strict=True):
            source = PeerId(relays.get(each, home))
            if each not in table.size and table.asked.get(each) != source:
                self._wants.ask(table, each, source)

    def _expect(self, table: Table, task: int) -> None:
        """The value of an object comes from the client, and may have come before its plan."""
        if task in table.size:
            self._reports.complete(table, task, table.size[task])
        else:
            table.objects[task] = None

    def _refuse(self, run: RunId, task: int, attempt: int, text: str) -> None:
        self._state.effects.append(Send(COORDINATOR, Failed(run, task, attempt, "unloadable", "", text)))

    def recall(self, message: Recall) -> None:
        """Give back those that no worker has; what waits for them here stays, and waits for a Redirect."""
        table = self._state.runs.get(message.run)
        if table is None:
            return
        tasks, attempts = [], []
        for task, attempt in zip(message.tasks, message.attempts, strict=True):
            entry = table.plans.get(task)
            if entry is not None and entry[ATTEMPT] == attempt and task not in table.given:
                self._state.withdraw(table, task)
                tasks.append(task)
                attempts.append(attempt)
        if tasks:
            self._state.effects.append(Send(COORDINATOR, Recalled(message.run, ints(tasks), ints(attempts))))
