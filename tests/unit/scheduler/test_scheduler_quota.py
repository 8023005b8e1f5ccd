"""Of a run only so many execute at once: nodes have shares of that, keep to them by themselves, and have more planned than that."""

from __future__ import annotations

import random

from scheduler_story import Cluster, kind, many

from handoff.messages import Forget, Plan, Recall
from handoff.scheduler.quota import Quota


def taught(nodes: int = 2, cpu: int = 1) -> Cluster:
    """A cluster that knows its function to be short."""
    cluster = Cluster().client()
    for number in range(nodes):
        cluster.join(f"n{number + 1}", cpu=cpu)
    run = cluster.submit(many(100))
    cluster.finish(run, seconds=1e-4)
    cluster.hear("client", Forget(run))
    return cluster


def here(cluster: Cluster, run: int, name: str) -> list[int]:
    """The tasks of the run that are planned there."""
    table, peer = cluster.scheduler.ledger.runs[run], cluster.peers[name]
    return [task for task in range(table.total) if table.is_planned(task) and table.node[task] == peer]


def test_short_tasks_are_planned_ahead_of_their_turn() -> None:
    """Of two at once: one on each node, and many behind them, so that a few plans do where each end would take one of its own."""
    def plans_of(limit: int) -> list[Plan]:
        cluster = taught()
        run = cluster.submit(many(1000), max_concurrency=limit)
        table, plans = cluster.scheduler.ledger.runs[run], [*cluster.last_plans()]
        while not table.is_over:
            for name in ("n1", "n2"):
                cluster.done(*here(cluster, run, name)[:8], run=run, seconds=1e-4)
                plans += cluster.last_plans()
        return plans
    limited, free = plans_of(2), plans_of(0)

    assert ({plan.at_most for plan in limited}, {plan.at_most for plan in free}) == ({1}, {0})
    assert sum(len(plan.tasks) for plan in limited) == 1000
    assert len(limited) < 1.5 * len(free) < 200      # as many; 1000 where only what may execute was planned


def test_a_node_does_not_run_dry_before_it_gets_more() -> None:
    """Though as many may execute as do: it is given more while much still waits there."""
    cluster = taught()
    run = cluster.submit(many(1000), max_concurrency=2)
    table, least = cluster.scheduler.ledger.runs[run], 1000
    while table.done < 700:
        for name in ("n1", "n2"):
            cluster.done(*here(cluster, run, name)[:8], run=run, seconds=1e-4)
            least = min(least, len(here(cluster, run, name)))

    assert least >= 8


def test_no_more_than_the_limit_in_all_shares() -> None:
    """Three at once on two nodes of four cores: two here, one there."""
    cluster = taught(cpu=4)
    cluster.submit(many(500), max_concurrency=3)

    assert sorted(plan.at_most for plan in cluster.last_plans()) == [1, 2]


def test_one_at_once_is_for_one_node() -> None:
    """The other gets nothing of it, and nothing is asked back for its sake."""
    cluster = taught()
    run = cluster.submit(many(300), max_concurrency=1)
    [plan] = cluster.last_plans()
    [name] = {cluster.where(task, run) for task in plan.tasks}
    recalls = [message for _, message in cluster.wait(0.2) if isinstance(message, Recall)]
    cluster.done(*here(cluster, run, name)[:5], run=run, seconds=1e-4)

    assert (plan.at_most, recalls) == (1, [])
    assert not here(cluster, run, "n2" if name == "n1" else "n1")


def test_the_share_of_a_lost_node_goes_to_others() -> None:
    """The one that is left may run two at once, as soon as it gets more."""
    cluster = taught(cpu=2)
    run = cluster.submit(many(400), max_concurrency=2)
    assert [plan.at_most for plan in cluster.last_plans()] == [1, 1]
    cluster.lose("n2")
    while not (plans := cluster.last_plans()):
        cluster.done(*here(cluster, run, "n1")[:8], run=run, seconds=1e-4)

    assert [plan.at_most for plan in plans] == [2]


def test_a_share_that_is_not_used_goes_to_others() -> None:
    """A run of two at once has all it still needs on one node: another node may have one of them."""
    cluster = taught()
    run = cluster.submit(many(60), max_concurrency=2)
    cluster.done(*here(cluster, run, "n2"), run=run, seconds=1e-4)
    table = cluster.scheduler.ledger.runs[run]
    while here(cluster, run, "n2"):
        cluster.done(*here(cluster, run, "n2"), run=run, seconds=1e-4)

    assert table.quota is not None and table.quota.used == 1 and table.room() == 1


def test_what_is_long_is_not_planned_behind_others() -> None:
    """A task of a second waits for its turn here, where any node can have it."""
    cluster = Cluster().client().join("n1", cpu=4)
    known = cluster.submit(many(40, kind("long")))
    cluster.finish(known, seconds=1.0)
    cluster.hear("client", Forget(known))
    cluster.submit(many(40, kind("long")), max_concurrency=3)

    assert len(cluster.plans()) == 3


class Nodes:
    """Nodes that run as much as they may, and say what ends, which is heard later."""

    def __init__(self, draw: random.Random, count: int) -> None:
        self.draw = draw
        self.told: list[list[tuple[int, int]]] = [[] for _ in range(count)]   # plans on their way: tasks, and the share
        self.tasks, self.share, self.running = [0] * count, [0] * count, [0] * count
        self.heard = [0] * count                                              # ends on their way

    def step(self) -> int:
        """Something happens somewhere; answers how many run now."""
        peer = self.draw.randrange(len(self.told))
        if self.told[peer] and self.draw.random() < 0.5:
            count, self.share[peer] = self.told[peer].pop(0)
            self.tasks[peer] += count
        elif self.running[peer] and self.draw.random() < 0.7:
            self.running[peer] -= 1
            self.tasks[peer] -= 1
            self.heard[peer] += 1
        self.running[peer] = max(self.running[peer], min(self.tasks[peer], self.share[peer]))
        return sum(self.running)


def test_no_history_has_more_at_once() -> None:
    """Whatever is planned, and however late plans and ends are heard."""
    for seed in range(60):
        draw = random.Random(seed)
        count, most = draw.randint(1, 4), draw.randint(1, 6)
        quota, nodes, peak = Quota(most), Nodes(draw, count), 0
        peers = list(range(count))
        for _ in range(300):
            peer = draw.randrange(count)
            match draw.randrange(4):
                case 0:
                    more = quota.deal(peers, [draw.randint(1, 4) for _ in peers], [draw.random() for _ in peers])[peer]
                    if quota.running(peer) + more:
                        tasks = draw.randint(1, 5)
                        quota.add(peer, tasks, more)
                        nodes.told[peer].append((tasks, quota.share[peer]))
                case 1 if quota.room() > 0:
                    quota.add(peer, 1, 1)
                    nodes.told[peer].append((1, quota.share[peer]))
                case 2 if nodes.heard[peer]:
                    quota.remove(peer, nodes.heard[peer])
                    nodes.heard[peer] = 0
                case _:
                    peak = max(peak, nodes.step())
            assert quota.used == sum(map(quota.running, peers)) <= most
        assert peak <= most


def test_a_plan_of_a_run_without_limit_says_none() -> None:
    """As many as fit."""
    cluster = taught()
    cluster.submit(many(20))
    assert {message.at_most for _, message in cluster.last if isinstance(message, Plan)} == {0}
