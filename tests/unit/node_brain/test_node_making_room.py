"""A machine that lets a node have no more processes: those that are idle make room for what only another one can do."""

from __future__ import annotations

from typing import Any

from handoff.node.events import Execute, Kill, Spawn
from handoff.program import Flag

NO_MORE = "could not be started: [Errno 24] Too many open files"


def crowded(hand: Any) -> Any:
    """A node of one core with four idle workers, that was just asked for a coroutine."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(4)), node.kind("wide", {"cpu": 0.25}))
    node.wait(1.0)
    while len(node.workers) < 4:
        node.warm_up()
        node.wait(1.0)
    node.finish_all(1.0)
    node.plan({9: []}, node.kind("co", {"cpu": 0.25}, flags=int(Flag.ASYNC)))
    assert len(node.last_of(Spawn)) == 1
    return node


def test_idle_workers_make_room_for_coroutines(hand: Any) -> None:
    """One at a time, until the process that runs them could be started; each is gone before the next try."""
    node, ended = crowded(hand), 0
    for _ in range(2):
        node.die(node.last_of(Spawn)[0].worker, reason=NO_MORE)
        [kill] = node.last_of(Kill)
        assert not node.last_of(Spawn)
        node.die(kill.worker, reason="killed")
        ended += 1
        assert len(node.last_of(Spawn)) == 1
    node.warm_up()
    assert [effect.tasks for effect in node.last_of(Execute)] == [(9,)]
    assert ended == 2


def test_the_workers_that_are_always_there_stay(hand: Any) -> None:
    """One for each core: a worker that made room for coroutines would be started again in their place."""
    node = crowded(hand)
    while node.last_of(Spawn):
        node.die(node.last_of(Spawn)[0].worker, reason=NO_MORE)
        for kill in node.last_of(Kill):
            node.die(kill.worker, reason="killed")
        if len(node.all) > 200:
            break
    assert len([effect for effect in node.all if isinstance(effect, Kill)]) == 3


def test_what_needs_a_process_without_gpus_gets_one_when_there_may_be_more(hand: Any) -> None:
    """All idle ones are bound to GPUs, and for a while none could be started: nothing else runs here that would end the pause."""
    node = hand({"cpu": 2, "gpu": 2})
    node.plan(node.independent(range(2)), node.kind("on_gpu", {"cpu": 1, "gpu": 1}))
    node.finish_all(1.0)
    node.plan({9: []}, node.kind("plain"))
    while spawned := node.last_of(Spawn):
        node.die(spawned[0].worker, reason=NO_MORE)
    assert [effect for effect in node.wait(60.0) if isinstance(effect, Spawn)]
    node.warm_up()
    assert [effect.tasks for effect in node.last_of(Execute)] == [(9,)]


def test_who_waits_for_what_is_given_to_nobody_does_not_wait_for_ever(hand: Any) -> None:
    """A call that waits for another one beside it: for a while no worker could be started for that, and nothing ends before it."""
    node = hand({"cpu": 1})
    node.plan(node.independent(range(2)), node.kind("wide", {"cpu": 0.5}))
    tries = 0
    while spawned := [effect for effect in node.wait(1.0) if isinstance(effect, Spawn)]:
        tries += 1
        node.die(spawned[0].worker, reason=NO_MORE)
    assert tries >= 5
    assert [effect for effect in node.wait(60.0) if isinstance(effect, Spawn)]
    node.warm_up()
    assert len(node.executed) == 2
