"""What peers say that no peer should say: a node goes on, and nobody else is worse off."""

from __future__ import annotations

import random
from typing import Any

import pytest
from nonsense import heard, of_run, said

from handoff.columns import ints
from handoff.ids import RunId
from handoff.messages import Absent, Chunk, Collect, DeclineBulk, OfferBulk, Results, StopBulk, Unreachable
from handoff.node import state
from handoff.node.events import Arrived, Deliver
from handoff.program import Flag

OUTPUT = int(Flag.OUTPUT)


def test_a_peer_says_twice_that_a_result_is_absent(hand: Any) -> None:
    """In one message: it is given up once."""
    node = hand()
    node.plan({10: [1]}, sources={1: node.PEER})
    node.say(node.PEER, Absent(node.RUN, ints([1, 1])))

    assert node.said(Unreachable) == [Unreachable(node.RUN, node.PEER, ints([1]), is_absent=True)]


def test_runs_that_do_not_exist_are_asked_for(hand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a peer that is wrong about numbers, again and again: later runs, whose numbers are lower, are not taken for over."""
    monkeypatch.setattr(state, "STRANGERS_MAX", 5)
    monkeypatch.setattr(state, "ENDED_MAX", 10)
    node = hand()
    node.join(node.CLIENT, "client")
    for number in range(40):
        node.say(node.PEER, Collect(RunId(1 << 40 | number)))
    node.say(node.CLIENT, Collect(node.RUN))     # it may come before the first plan
    node.plan({10: []}, node.kind(flags=OUTPUT))
    node.finish(10)

    assert [(effect.peer, effect.tasks) for effect in node.last_of(Deliver)] == [(node.CLIENT, (10,))]


@pytest.mark.parametrize("seed", range(8))
def test_whatever_peers_say_the_node_goes_on(hand: Any, seed: int) -> None:
    """Runs are worked on, and in between peers and clients say anything about them and about others."""
    draw = random.Random(seed)
    node = hand()
    node.join(node.CLIENT, "client")
    for step in range(60):
        run = RunId(draw.choice((1, 2)))
        what = draw.random()
        if what < 0.2:
            node.plan({2 * step: [], 2 * step + 1: [2 * step, draw.randrange(2 * step + 1)]}, node.kind(flags=OUTPUT), run=run,
                      sources={each: draw.choice((node.ME, node.PEER)) for each in range(2 * step + 1)})
        elif what < 0.3:
            node.finish_all()
        elif what < 0.4:
            node.warm_up()
            node.wait(draw.choice((0.001, 0.1, 1.0)))
        else:
            peer, role = draw.choice(((node.PEER, "node"), (node.OTHER, "node"), (node.CLIENT, "client")))
            came = heard(of_run(draw, said(draw, role, "node"), run, 2 * step + 2), role, "node")
            if isinstance(came, Results):
                node.happen(Arrived(peer, came.run, tuple(came.tasks), tuple(came.sizes)))
            elif came is not None and not isinstance(came, (Chunk, OfferBulk, DeclineBulk, StopBulk)):   # these are not the brain's
                node.say(peer, came)
