"""Answers that no message can hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from daemons import House

import handoff
from handoff import DAG, Client, Function, errors
from handoff.settings import WireSettings

HEADER_BYTES_MAX = 70_000    # of the coordinator; clients and nodes have the usual


@contextlib.contextmanager
def cluster(tmp_path: Path, *more: str) -> Iterator[Client]:
    """A client of a coordinator whose messages hold little, and of a node."""
    house = House(tmp_path, "", "1")
    try:
        house.start("small", ["handoff.coordinator", "--port", "0", "--set", f"wire.header_bytes_max={HEADER_BYTES_MAX}", *more])
        address = "127.0.0.1:" + house.said("small", r"coordinator.listening .*port=(\d+)")[1]
        house.start("node", ["handoff.node", "--coordinator", address, "--name", "n", "--cpus", "1", "--memory", "9", "--gpus", "0"])
        house.said("node", "node.joined")
        with handoff.connect(address, secret=house.secret) as client:
            yield client
            assert client.submit(abs, -3).result(20) == 3
            assert [node.name for node in client.nodes()] == ["n"]
        assert "coordinator.failed" not in (tmp_path / "small.log").read_text()
    finally:
        house.stop()


def test_who_asks_too_much_is_refused_and_nothing_ends(tmp_path: Path) -> None:
    """The timeline of very many tasks is too large to be sent: an error for who asked; the coordinator and its nodes go on."""
    dag = DAG()
    for number in range(2_000):
        dag.add(Function(id=number, code=list))
    with cluster(tmp_path) as client:
        run = client.start(dag, returns=[7])
        assert run.result(timeout=40).results[7] == []
        with pytest.raises(errors.ProtocolError, match="the answer is too large to be sent: Answer has"):
            run.timeline()


def test_very_long_names_are_cut_and_nothing_ends(tmp_path: Path) -> None:
    """Of the class of an exception, and of a function of which nobody has what it needs."""
    def fails() -> None:
        raise type("E" * 24_000, (Exception,), {})

    with cluster(tmp_path) as client:
        with pytest.raises(errors.RunTimeout) as caught:
            client.execute(DAG().add(Function("x", code=list, where={"zone": "\x01" * 18_000})), timeout=0.5, wait_for_nodes=True)
        assert "list needs cpu=1 on a node where zone=\x01" in str(caught.value) and len(str(caught.value)) < 1_000
        with pytest.raises(errors.FunctionFailed, match=r"fails failed on node 'n' in its only attempt: .*EEE"):
            client.submit(fails, max_retries=0).result(20)


def test_a_plan_that_no_message_holds_is_the_end_of_its_run_alone(tmp_path: Path) -> None:
    """What an allocator gives to a node at once is more than the client said: its run fails, with a sentence."""
    dag = DAG()
    for number in range(3_000):    # a plan has five columns more
        dag.add(Function(id=number, code=list, cost={}))
    why = r"the run is too large to be told of: Plan has \d+ \+ \d+ bytes .*; split the graph"
    with cluster(tmp_path, "--allocator", "heft") as client, pytest.raises(errors.ProtocolError, match=why):
        client.execute(dag, timeout=20)


def test_a_question_that_no_message_holds_is_not_asked(tmp_path: Path) -> None:
    """Such as about more functions than a message may name, or a name of megabytes: an error for who asked, whose client goes on."""
    with cluster(tmp_path) as client:
        run = client.start(DAG().add(Function("x", code=list)))
        with pytest.raises(errors.ProtocolError, match="the question is too large to be asked: Drain has"):
            client.drain("n" * WireSettings().header_bytes_max)
        assert run.result(20)["x"] == []
