"""The coordinator's option for another allocator, one of the user's own included."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from daemons import environment
from witness import until

import handoff
from handoff import DAG, Function
from handoff.coordinator.__main__ import options
from handoff.scheduler.first_fit import FirstFit

OWN = """
class Last:
    def allocate(self, now, desk):
        nodes = sorted(desk.nodes, key=lambda node: node.name)
        for offer in desk.offers():
            if desk.fits(offer, nodes[-1]):
                desk.place(offer, nodes[-1])
"""


def test_ours_have_names() -> None:
    """Greedy is what is taken unasked."""
    assert options([]).allocator is options(["--allocator", "greedy"]).allocator is None
    assert type(options(["--allocator", "first-fit"]).allocator) is FirstFit


@pytest.mark.parametrize("named", ["nonsense", "handoff.version:Nothing", "json:JSONDecoder"])
def test_what_is_no_allocator_is_refused(named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, with what was said and what may be said."""
    with pytest.raises(SystemExit) as ended:
        options(["--allocator", named])
    assert ended.value.code == 2
    assert f"{named!r} is none of greedy, first-fit, round-robin, heft, nor MODULE:CLASS" in capsys.readouterr().err


def test_a_user_s_own_allocator_places_everything(tmp_path: Path) -> None:
    """By its rule alone: all goes to the last node by name, though the first is idle."""
    (tmp_path / "own.py").write_text(OWN)
    processes: list[subprocess.Popen[bytes]] = []

    def start(log: str, *command: str) -> None:
        with (tmp_path / log).open("wb") as file:
            processes.append(subprocess.Popen(
                [sys.executable, "-m", *command], cwd=tmp_path, env=environment(tmp_path), stdin=subprocess.DEVNULL,
                stdout=file, stderr=file))

    def said(log: str, word: str) -> bool:
        return word in (tmp_path / log).read_text()

    try:
        start("coordinator.log", "handoff.coordinator", "--port", "0", "--allocator", "own:Last")
        until(lambda: said("coordinator.log", "port="), lambda: (tmp_path / "coordinator.log").read_text())
        address = "127.0.0.1:" + (tmp_path / "coordinator.log").read_text().partition("port=")[2].split()[0]
        for name in ("a", "b"):
            start(f"{name}.log", "handoff.node", "--coordinator", address, "--name", name, "--cpus", "1", "--memory", "100", "--gpus", "0")
            until(lambda name=name: said(f"{name}.log", "node.joined"), lambda name=name: (tmp_path / f"{name}.log").read_text())  # type: ignore[misc]
        dag = DAG()
        for number in range(4):
            dag.add(Function(number, code=abs, extra_args=[-number]))
        with handoff.connect(address, secret=tmp_path / ".config" / "handoff" / "secret") as client:
            result = client.execute(dag)
        assert (dict(result.results), set(result.allocations.values())) == ({0: 0, 1: 1, 2: 2, 3: 3}, {"b"})
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(20)
