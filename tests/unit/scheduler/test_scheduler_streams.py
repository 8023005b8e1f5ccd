"""Tasks that each take all of the same many results: where these are is looked at once in a pass, and is right for each of them."""

from __future__ import annotations

import gc

import pytest
from scheduler_story import Cluster, Forget, kind, program

from handoff.program import Program
from handoff.scheduler import streams
from handoff.scheduler.inputs import INPUTS_MAX, Inputs, inputs_of
from handoff.scheduler.ledger import Ledger
from handoff.scheduler.runs import Run
from handoff.scheduler.streams import Stream

MANY = INPUTS_MAX + 4
LONG = 1.0


def all_to_all(sources: int, takers: int) -> Program:
    """Some results, all of which each of the others takes."""
    return program([(kind("made", flags=0), ()) for _ in range(sources)] + [(kind("take"), tuple(range(sources)))] * takers)


def facts(inputs: Inputs) -> tuple[float, float, float, dict[int, float], list[object]]:
    """All that is known of them."""
    return inputs.there, inputs.begin, inputs.total, inputs.bytes_on, list(inputs.parts)


class Looks:
    """Which tasks were looked at, and how often where their inputs are; each time it is compared with what is found anew."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.anew = 0
        self.placed: list[int] = []
        asked = Stream.inputs

        def looked(*about: object) -> Inputs:
            self.anew += 1
            return inputs_of(*about)    # type: ignore[arg-type]

        def compared(stream: Stream, ledger: Ledger, task: int, now: float) -> Inputs | None:
            found = asked(stream, ledger, task, now)
            if found is not None:
                self.placed.append(task)
                assert facts(found) == facts(inputs_of(ledger, stream.run, task, now))
            return found

        patch.setattr(streams, "inputs_of", looked)
        patch.setattr(Stream, "inputs", compared)


def mixed(sources: int) -> Program:
    """The same, of two functions in turn: the more depends on one, the more urgent it is. One takes all but the first."""
    every, made, tail = tuple(range(sources)), [(kind("made", flags=0), ())] * sources, kind("tail")
    first, second, third = [(kind("take"), every)] * 2, [(kind("other"), every)] * 2, [(kind("take"), every), (kind("take"), every[1:])]
    tails = [(tail, (sources + each,)) for each in range(4)]
    return program(made + first + second + third + tails + [(tail, (sources + 6 + each,)) for each in range(2)])


def worked_off(graph: Program, sources: int, nbytes: int) -> None:
    """All tasks of such a graph on four nodes with two cores; the sources end one by one."""
    cluster = Cluster().client()
    for number in range(4):
        cluster.join(f"n{number}", cpu=2)
    run = cluster.submit(graph)
    for task in range(sources):
        cluster.done(task, run=run, seconds=LONG, nbytes=nbytes + task)
    cluster.finish(run, seconds=LONG)


@pytest.mark.parametrize("nbytes", [10, 3_000_000])
def test_where_many_inputs_are_is_looked_at_once_for_all_that_take_them(monkeypatch: pytest.MonkeyPatch, nbytes: int) -> None:
    """What is kept of the last task is what would be found for the next one, though others were placed meanwhile."""
    looks = Looks(monkeypatch)

    worked_off(all_to_all(MANY, 24), MANY, nbytes)

    assert len(set(looks.placed)) == 24
    assert looks.anew < len(looks.placed) / 2


def test_what_is_kept_is_that_of_the_same_inputs_while_nothing_else_was_placed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others of the same function may take other results; and those of another function take these along, too."""
    looks = Looks(monkeypatch)

    worked_off(mixed(MANY), MANY, 3_000_000)

    assert looks.placed[:6] == [MANY + each for each in (0, 2, 1, 3, 4, 5)]


def test_few_inputs_are_looked_at_for_each_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """To compare them with those of the last one would cost as much."""
    looks = Looks(monkeypatch)

    worked_off(all_to_all(3, 24), 3, 3_000_000)

    assert looks.anew == len(looks.placed)


def test_a_run_that_is_forgotten_is_not_kept_for_what_its_tasks_had_in_common() -> None:
    """The next pass may come much later, and the tables of a run are large."""
    def runs() -> int:
        gc.collect()
        return sum(isinstance(each, Run) for each in gc.get_objects())

    before = runs()
    cluster = Cluster().client().join("n1", cpu=2)
    run = cluster.submit(all_to_all(2, 4))
    cluster.finish(run, seconds=LONG)
    assert runs() == before + 1

    cluster.hear("client", Forget(run))

    assert runs() == before
