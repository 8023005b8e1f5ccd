"""A function known to be short that hangs holds up nobody: what its worker has not begun goes to others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from handoff.ids import COORDINATOR, RunId
from handoff.messages import EndRun, Failed, Recalled
from handoff.node.events import HandBack, HandedBack, WorkerDeaf, WorkerReady


def handed_back(node: Any, worker: int, *tasks: int) -> list[Any]:
    """The worker says that it has not begun these."""
    for task in tasks:
        assert node.holds.pop((1, task))[0] == worker
    said: list[Any] = node.happen(HandedBack(worker, RunId(1), tasks))
    return said


def asked(node: Any) -> list[int]:
    """The workers that were asked to hand back what they have not begun, in the last turn."""
    return [effect.worker for effect in node.last_of(HandBack)]


def test_what_waits_behind_a_function_that_hangs_goes_to_others(hand: Callable[..., Any]) -> None:
    """Its worker is asked once, after a while without a word; the other worker gets the rest, and the one that hangs gets nothing."""
    node = hand({"cpu": 2})
    node.learn()
    node.plan(node.independent(range(8)))
    mine = sorted(task for (_, task), (worker, _) in node.holds.items() if worker == node.worker_of(0))
    others = sorted(task for _, task in node.holds if task not in mine)
    assert mine and others and len(mine) > 1
    hung = node.worker_of(0)
    node.wait(0.03)
    node.finish(*others)
    assert asked(node) == []
    node.wait(0.03)
    assert asked(node) == [hung]

    handed_back(node, hung, *mine[1:])
    assert {node.worker_of(task) for task in mine[1:]} == {worker for worker in node.workers if worker != hung}
    node.plan(node.independent(range(100, 110)))
    assert [task for _, task in node.holds if node.worker_of(task) == hung] == [0]
    node.finish(*[task for _, task in node.holds if task])
    node.wait(1.0)
    assert asked(node) == []
    node.finish(0)
    assert node.free() == {"cpu": 2}


def test_a_worker_that_goes_on_is_given_more_again(hand: Callable[..., Any]) -> None:
    """When the function that hung ends after all, its worker is as any other; and if another hangs, it is asked again."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(4)))
    worker = node.worker_of(0)
    node.wait(0.06)
    assert asked(node) == [worker]
    handed_back(node, worker, 1, 2, 3)
    assert set(node.holds) == {(1, 0)}
    node.finish(0)
    assert set(node.holds) == {(1, 1), (1, 2), (1, 3)}
    node.wait(0.06)
    assert asked(node) == [worker]


def test_who_says_something_now_and_then_is_left_alone(hand: Callable[..., Any]) -> None:
    """Each task takes longer than was thought, but none of them for long."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(6)))
    for task in range(5):
        node.wait(0.04)
        assert asked(node) == []
        node.finish(task)


def test_who_was_given_much_is_left_alone_for_longer(hand: Callable[..., Any]) -> None:
    """Where batches are long, a worker may say nothing for as long as four times what it has takes."""
    node = hand({"cpu": 1}, batch_seconds=1.0)
    node.learn(seconds=0.2)
    node.plan(node.independent(range(4)))
    node.wait(3.1)
    assert [effect for effect in node.all if isinstance(effect, HandBack)] == []
    node.wait(0.2)
    assert asked(node) == [node.worker_of(0)]


def test_a_worker_that_stood_still_and_is_killed_gets_nothing_more(hand: Callable[..., Any]) -> None:
    """Its last words may come after we ended it: what it had of another run is done elsewhere, and so is all that comes."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(2)))
    node.plan(node.independent(range(2)), run=RunId(2))
    hung = node.worker_of(0)
    assert node.worker_of(1, RunId(2)) == hung
    node.wait(0.06)
    assert asked(node) == [hung]
    words = node.finished_event(0, run=RunId(2))
    node.say(COORDINATOR, EndRun(RunId(1)))
    assert [worker for worker, _ in node.killed] == [hung]
    node.happen(words)
    node.plan(node.independent(range(10, 14)), run=RunId(2))
    assert node.given() == []
    node.holds.clear()
    node.die(hung)
    node.warm_up()
    assert sorted(task for _, task in node.holds) == [0, 1, 10, 11, 12, 13]


def test_a_worker_with_one_task_is_asked_once(hand: Callable[..., Any]) -> None:
    """After two seconds, in case it has not begun it: all that is long is given so."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(3)))
    assert len(node.holds) == 1
    node.wait(1.9)
    assert asked(node) == []
    node.wait(0.2)
    assert asked(node) == [node.worker_of(0)]
    node.wait(50.0)
    assert asked(node) == []
    node.finish(0)
    assert node.given()


def deafen(node: Any, worker: int) -> None:
    """The worker begins nothing of what it was given."""
    held = [task for (_, task), (holder, _) in node.holds.items() if holder == worker]
    for task in held:
        del node.holds[1, task]
    node.happen(WorkerDeaf(worker), HandedBack(worker, RunId(1), tuple(held)))


def test_what_a_deaf_worker_was_given_begins_in_another(hand: Callable[..., Any]) -> None:
    """As the same attempt, also what may begin but once; another worker is started in its place."""
    for retries in (3, 0):
        node = hand({"cpu": 1})
        node.plan(node.independent(range(1)), node.kind(max_retries=retries))
        deaf = node.worker_of(0)
        deafen(node, deaf)
        assert node.given() == [] and node.said(Failed) == []
        node.warm_up()
        assert node.worker_of(0) != deaf and node.holds[1, 0][1] == 1


def test_a_deaf_worker_that_hears_again_is_as_any_other(hand: Callable[..., Any]) -> None:
    """What was left there and blocked it has ended."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(1)))
    deaf = node.worker_of(0)
    deafen(node, deaf)
    node.wait(5.0)
    node.happen(WorkerReady(deaf))
    assert node.worker_of(0) == deaf
    node.finish(0)
    node.warm_up()
    node.wait(20.0)
    assert node.killed == [] and node.free() == {"cpu": 1}
    node.happen(WorkerReady(deaf))   # said of each batch that it was found not to have begun
    assert node.free() == {"cpu": 1}


def test_a_worker_that_hears_again_is_not_idle_while_it_has_something(hand: Callable[..., Any]) -> None:
    """It had one short task, and got a second while it was looked whether it begins the first: that one is handed back later."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(1)))
    deaf = node.worker_of(0)
    node.wait(2.1)
    assert asked(node) == [deaf]
    node.plan(node.independent(range(1, 2)))
    assert node.worker_of(1) == deaf
    del node.holds[1, 0]
    node.happen(WorkerDeaf(deaf), HandedBack(deaf, RunId(1), (0,)))
    node.happen(WorkerReady(deaf))
    handed_back(node, deaf, 1)
    assert {node.worker_of(0), node.worker_of(1)} == {deaf}
    node.finish(0, 1)
    assert node.free() == {"cpu": 1}


def test_a_worker_that_stays_deaf_is_ended(hand: Callable[..., Any]) -> None:
    """It has nothing, but it takes room, and would never be of use."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(1)))
    deaf = node.worker_of(0)
    deafen(node, deaf)
    node.warm_up()
    node.finish(0)
    node.wait(11.0)
    assert [worker for worker, _ in node.killed] == [deaf]
    node.die(deaf, reason="killed: it was deaf")
    node.plan(node.independent(range(10, 12)))
    assert deaf not in {node.worker_of(task) for _, task in node.holds}


def test_links_of_a_chain_that_are_handed_back_wait_for_their_input(hand: Callable[..., Any]) -> None:
    """The first of a chain hangs: the rest starts when it has ended, anywhere."""
    node = hand({"cpu": 2})
    node.learn()
    node.plan({0: [], 1: [0], 2: [1]})
    hung = node.worker_of(0)
    assert set(node.holds) == {(1, 0), (1, 1), (1, 2)}
    node.wait(0.06)
    handed_back(node, hung, 1, 2)
    assert set(node.holds) == {(1, 0)}
    node.finish(0)
    assert set(node.holds) == {(1, 1), (1, 2)}


def test_what_was_handed_back_can_be_recalled(hand: Callable[..., Any]) -> None:
    """On a node with one core nobody else could have it: another node may."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(3)))
    node.recall([1, 2])
    assert node.said(Recalled) == []
    node.wait(0.06)
    handed_back(node, node.worker_of(0), 1, 2)
    node.recall([1, 2])
    assert [list(said.tasks) for said in node.said(Recalled)] == [[1, 2]]


def test_late_word_of_what_was_handed_back_changes_nothing(hand: Callable[..., Any]) -> None:
    """The worker died meanwhile, and its tasks are with another; or the run is over."""
    node = hand({"cpu": 1})
    node.learn()
    node.plan(node.independent(range(3)))
    old = node.worker_of(0)
    node.wait(0.06)
    node.die(old)
    node.warm_up()
    assert node.worker_of(2) != old
    before = dict(node.holds)
    node.happen(HandedBack(old, RunId(1), (1, 2)), HandedBack(old, RunId(77), (1,)))
    assert node.holds == before
