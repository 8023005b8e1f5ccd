"""The tracker is a behaviour that a user may replace: one of their own decides what starts, in both directions."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from witness import Diary, await_file, mark, until

import handoff

TRACKER = """
class Own:
    '''Each core is given out twice, and a license is never given to two at once, however many there are.'''

    def __init__(self, capacity):
        self.offered = {name: 2 * amount if name == "cpu" else amount for name, amount in capacity}
        self.used = dict.fromkeys(self.offered, 0)

    def offers(self):
        return self.offered.items()

    def available(self):
        return [(name, amount - self.used[name]) for name, amount in self.offered.items()]

    def fits(self, cost):
        if any(name == "license" and self.used[name] for name, _ in cost):
            return False
        return all(self.used[name] + amount <= self.offered[name] for name, amount in cost)

    def take(self, cost, gpus):
        for name, amount in cost:
            self.used[name] += amount

    def give_back(self, cost, gpus):
        for name, amount in cost:
            self.used[name] -= amount
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[handoff.Client]:
    """Of one node with two cores and five licenses, and that tracker."""
    (tmp_path / "tracker_of_ours.py").write_text(TRACKER)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    options = {"cpus": 2, "memory": 1000, "gpus": 0, "resources": {"license": 5}, "tracker": "tracker_of_ours:Own"}
    with handoff.LocalCluster([options]) as cluster, cluster.client() as made:
        yield made


def meet(folder: str, number: int, count: int) -> int:
    """Wait until so many run at once."""
    Path(folder, str(number)).touch()
    for other in range(count):
        await_file(Path(folder, str(other)))
    return number


def alone(folder: str, diary: str, number: int) -> None:
    """Be here alone."""
    here = Path(folder, "here")
    here.touch(exist_ok=False)
    mark(diary, str(number))
    sum(range(300_000))
    here.unlink()


def test_a_tracker_of_one_s_own_lets_more_start_than_there_is(client: handoff.Client, tmp_path: Path) -> None:
    """Four functions of one core each wait for each other on a node of two cores; and two that use both of its cores."""
    assert client.resources_available("node-1", {"cpu": 4})
    calls = [client.submit(meet, str(tmp_path), number, 4) for number in range(4)]
    assert [call.result(40) for call in calls] == [0, 1, 2, 3]
    (tmp_path / "large").mkdir()
    calls = [client.submit(meet, str(tmp_path / "large"), number, 2, cost={"cpu": 2}) for number in range(2)]
    assert [call.result(40) for call in calls] == [0, 1]
    assert client.submit(abs, -4, cost={"cpu": 4}).result(40) == 4
    until(lambda: client.resources_available("node-1", {"cpu": 4}), lambda: f"{client.nodes()} is free again")


def test_a_tracker_of_one_s_own_holds_back(client: handoff.Client, tmp_path: Path) -> None:
    """There are five licenses and room for more, but it lets one function with a license run at a time."""
    diary = Diary(tmp_path / "diary")
    calls = [
        client.submit(alone, str(tmp_path), diary.path, number, cost={"cpu": 0.1, "license": 1}, max_retries=0) for number in range(6)
    ]
    for call in calls:
        call.result(40)
    assert len(diary.lines()) == 6


def test_what_a_tracker_does_not_offer_is_refused(client: handoff.Client) -> None:
    """Costs are looked at by what it offers: more than that is an error that says so."""
    with pytest.raises(handoff.errors.HandoffError, match="cpu=5"):
        client.submit(abs, -1, cost={"cpu": 5}).result(40)
