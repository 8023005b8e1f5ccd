"""Answers that no message can hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from daemons import House

import handoff
from handoff import DAG, Function, errors

HEADER_BYTES_MAX = 70_000    # of the coordinator; clients and nodes have the usual


def test_who_asks_too_much_is_refused_and_nothing_ends(tmp_path: Path) -> None:
    """The timeline of very many tasks is too large to be sent: an error for who asked; the coordinator and its nodes go on."""
    house = House(tmp_path, "", "1")
    try:
        house.start("small", ["handoff.coordinator", "--port", "0", "--set", f"wire.header_bytes_max={HEADER_BYTES_MAX}"])
        address = "127.0.0.1:" + house.said("small", r"coordinator.listening .*port=(\d+)")[1]
        house.start("node", ["handoff.node", "--coordinator", address, "--name", "n", "--cpus", "1", "--memory", "9", "--gpus", "0"])
        house.said("node", "node.joined")
        dag = DAG()
        for number in range(2_000):
            dag.add(Function(id=number, code=list))
        with handoff.connect(address, secret=house.secret) as client:
            run = client.start(dag, returns=[7])
            assert run.result(timeout=40).results[7] == []
            with pytest.raises(errors.ProtocolError, match="the answer is too large to be sent: Answer has"):
                run.timeline()
            assert client.submit(abs, -3).result(20) == 3
            assert [node.name for node in client.nodes()] == ["n"]
        assert "coordinator.failed" not in (tmp_path / "small.log").read_text()
    finally:
        house.stop()
