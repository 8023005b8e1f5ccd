"""Nothing that a node or a client can say ends the coordinator, or makes its tables contradict each other."""

from __future__ import annotations

import random

import pytest
from nonsense import heard, met, of_run, said
from scheduler_story import Cluster, Plan
from test_scheduler_random import random_program

from handoff.ids import PeerId
from handoff.machine import Close, Joined, Note, Received, Send, Tick
from handoff.messages import Accepted, Ask, Report, Submit
from handoff.wire import codec


@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_said_the_coordinator_goes_on(seed: int) -> None:
    """Graphs run; in between come messages with absurd fields, of runs and tasks that are there and of others. All answers can be said."""
    draw = random.Random(seed)
    cluster = Cluster(None, {"license": 2}, node_timeout_seconds=1.0, drain_seconds=3.0)
    for name in ("n1", "n2", "n3"):
        cluster.join(name, labels={"zone": "x"}, cpu=2, gpu=1)
    cluster.client().client("other")
    scheduler, runs, plans, here = cluster.scheduler, [1], [], dict(cluster.peers)

    def do(event: object) -> None:
        for effect in scheduler.handle(cluster.now, event):
            assert isinstance(effect, (Send, Close, Note))
            if isinstance(effect, Close):
                here.pop(cluster.names[effect.peer], None)
            if isinstance(effect, Send):
                codec.decode(*(part if isinstance(part, bytes) else b"".join(map(bytes, part)) for part in codec.encode(effect.message)))
                runs.extend([effect.message.run] if isinstance(effect.message, Accepted) else ())
                plans.extend([(effect.peer, effect.message)] if isinstance(effect.message, Plan) else ())
        scheduler.check()

    for _ in range(60):
        name = draw.choice(list(here))
        role = "node" if name.startswith("n") else "client"
        what = draw.random()
        if what < 0.15 and role == "client":
            graph = random_program(draw, ["n1", "n2", "n3"])
            code = b"".join(each for each, _ in graph.codes)
            do(Received(here[name], Submit(1, "nonsense", graph, detach=draw.random() < 0.3, body=code)))
        elif what < 0.4 and plans:
            peer, plan = draw.choice(plans[-8:])
            if cluster.names[peer] in here:
                count = len(plan.tasks)
                done = Report(plan.run, plan.tasks, plan.attempts, codec.array("Q", [100] * count), codec.array("d", [0.001] * count),
                              codec.array("d", [0.0] * count))
                do(Received(peer, done))
        elif what < 0.5:
            cluster.now += draw.choice((0.001, 0.05, 0.5))
            do(Tick())
        else:
            came = heard(of_run(draw, said(draw, role, "coordinator"), draw.choice(runs), 30), role, "coordinator")
            if came is not None:
                do(Received(here[name], came))
        if len(here) < 3:
            return


def test_whoever_is_let_in_the_coordinator_goes_on() -> None:
    """Nodes that are none of ours offer less than nothing, something twice, or more GPUs than memory has room for: they are not let in.

    What the others say of themselves may be odd, and graphs are placed, and questions answered, all the same.
    """
    draw, let_in = random.Random(1), 0
    for _ in range(60):
        cluster = Cluster(None, {"license": 2}, node_timeout_seconds=1.0)
        cluster.join("n1", cpu=2, gpu=1).client()
        scheduler, client = cluster.scheduler, cluster.peers["client"]
        for peer in range(50, 56):
            joins, graph = met(draw, f"x{peer}"), random_program(draw, ["n1", f"x{peer}"])
            submit = Submit(1, "odd", graph, wait_for_nodes=True, body=b"".join(each for each, _ in graph.codes))
            ask = Ask(9, draw.choice(("nodes", "outlook")))
            cluster.now += 0.1
            for event in ([Joined(PeerId(peer), joins)] if joins else []) + [Received(client, submit), Received(client, ask), Tick()]:
                for effect in scheduler.handle(cluster.now, event):
                    if isinstance(effect, Send):
                        codec.encode(effect.message)
                scheduler.check()
            let_in += joins is not None
    assert 60 < let_in < 300
