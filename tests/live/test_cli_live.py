"""The command line against real processes: a coordinator and a node as a user starts them, then every command, then every refusal."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

import handoff
from handoff import errors
from handoff.trust import secret

GRAPHS = """
import os, sys, time
from handoff import DAG, Function

def double(x):
    print("doubling", x)
    return 2 * x

def slow(mark):
    open(mark, "w").close()
    time.sleep(60)

def broken(x):
    raise ValueError(f"no {x}")

dag = DAG("doubles").add(Function("a", code=double, extra_args=[4])).add(Function("b", args=["a"], code=double))
dag.add(Function(7, code=double, extra_args=[1]))

def sleepy():
    return DAG("sleepy").add(Function("s", code=slow, extra_args=[os.environ["MARK"]]))

failing = DAG("failing").add(Function("f", code=broken, extra_args=[1], max_retries=1))
greedy = DAG("greedy").add(Function("g", code=double, extra_args=[1], cost={"gpu": 99}))
"""

HANDOFF = [sys.executable, "-c", "from handoff.cli.main import main; main()"]
NODE = [sys.executable, "-c", "from handoff.cli.node import main; main()"]


def environment(home: Path) -> dict[str, str]:
    """Nothing of the person who runs the tests, but where Python finds what."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HANDOFF_", "XDG_"))}
    return {**kept, "HOME": str(home), "MARK": str(home / "mark")}


def line_with(process: subprocess.Popen[str], stream: IO[str] | None, pattern: str) -> re.Match[str]:
    """The first line that matches; the process must say it before it ends."""
    assert stream is not None
    said = []
    for line in stream:
        said.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError(f"{process.args} ended with {process.wait()} and without {pattern!r}:\n{''.join(said)}")


class Cluster:
    """A home with a secret, a coordinator, and a node."""

    def __init__(self, home: Path) -> None:
        self.home, self.environment = home, environment(home)
        (home / "graphs.py").write_text(GRAPHS)
        self.coordinator = self.start([*HANDOFF, "coordinator", "--port", "0"])
        listening = line_with(self.coordinator, self.coordinator.stderr, r"coordinator.listening .*port=(\d+)")
        self.address = f"127.0.0.1:{listening[1]}"
        self.node = self.start([
            *NODE, "--coordinator", self.address, "--name", "alpha", "--cpus", "1.5", "--memory", "2 GB", "--gpus", "0",
            "--resource", "license=2", "--label", "zone=north",
        ])
        line_with(self.node, self.node.stderr, r"node.joined .*name=alpha")

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        """A process of this home."""
        return subprocess.Popen(
            command, env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )

    def handoff(self, *arguments: str, **changed: str) -> tuple[int, str, str]:
        """What `handoff ...` does: status, stdout, stderr."""
        ran = subprocess.run(
            [*HANDOFF, *arguments], env={**self.environment, "HANDOFF_COORDINATOR": self.address, **changed}, cwd=self.home,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )
        return ran.returncode, ran.stdout, ran.stderr

    def stop(self) -> list[int]:
        """End both as a service manager would; their statuses."""
        for process in (self.node, self.coordinator):
            process.terminate()
        for process in (self.node, self.coordinator):
            process.communicate(timeout=20)
        return [self.node.returncode, self.coordinator.returncode]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests of this file."""
    made = Cluster(tmp_path_factory.mktemp("home"))
    yield made
    assert made.stop() == [0, 0]


def test_the_first_coordinator_makes_the_secret(cluster: Cluster) -> None:
    """Where the node and the client found it, without being told."""
    assert (cluster.home / ".config" / "handoff" / "secret").stat().st_mode & 0o777 == 0o600


def test_nodes_shows_what_was_said(cluster: Cluster) -> None:
    """Cores, memory and resources as the node's options had them."""
    status, out, _ = cluster.handoff("nodes", "--json")

    (alpha,) = json.loads(out)
    assert status == 0
    assert (alpha["name"], alpha["pid"], alpha["labels"]) == ("alpha", cluster.node.pid, {"zone": "north"})
    assert alpha["capacity"] == {"cpu": 1.5, "memory": 2000, "license": 2}
    assert "alpha" in cluster.handoff("nodes")[1]


def test_run_shows_results_and_what_was_printed(cluster: Cluster) -> None:
    """A table on stdout; lines of functions on stderr, marked with function and node."""
    status, out, error = cluster.handoff("run", "graphs.py:dag")

    assert status == 0
    assert [line.split() for line in out.splitlines()] == [
        ["function", "node", "result"], ["a", "alpha", "8"], ["b", "alpha", "16"], ["7", "alpha", "2"],
    ]
    assert "[a @ alpha] doubling 4\n" in error and "[7 @ alpha] doubling 1\n" in error


def test_run_as_json_is_for_machines(cluster: Cluster) -> None:
    """Only what was asked for, and nothing on stdout but JSON."""
    status, out, error = cluster.handoff("run", "graphs.py:dag", "--json", "--returns", "b", "--returns", "7", "--no-output")

    data = json.loads(out)
    assert status == 0
    assert data["results"] == {"b": 16, "7": 2} and data["dag_id"] == "doubles" and data["allocations"]["b"] == "alpha"
    assert "doubling" not in error


def test_run_writes_what_it_was_like(cluster: Cluster) -> None:
    """A trace and a page beside the results; a folder that is not there is noticed before anything runs."""
    status, out, _ = cluster.handoff("run", "graphs.py:dag", "--trace", "trace.json", "--save", "run.html", "--no-output")

    assert status == 0 and "16" in out
    events = json.loads((cluster.home / "trace.json").read_text())["traceEvents"]
    assert sorted(event["name"] for event in events if event["ph"] == "X") == ["7", "a", "b"]
    assert "Run " in (cluster.home / "run.html").read_text()
    status, out, error = cluster.handoff("run", "graphs.py:dag", "--save", "nowhere/run.html")
    assert (status, out) == (2, "") and "--save nowhere/run.html: there is no folder nowhere" in error


def test_run_follows_a_plan(cluster: Cluster) -> None:
    """One that was saved; what is no plan, and no weight, is noticed before anything runs."""
    assert cluster.handoff("plan", "graphs.py:dag", "--save", "plan.json")[0] == 0
    status, out, _ = cluster.handoff("run", "graphs.py:dag", "--plan", "plan.json", "--weight", "2", "--wait-for-nodes", "--no-output")

    assert status == 0 and "16" in out
    for options, text in ((("--plan", "graphs.py"), "graphs.py is no plan"), (("--weight", "0"), "weight=0.0: the run's share")):
        status, out, error = cluster.handoff("run", "graphs.py:dag", *options)
        assert (status, out) == (2, "") and text in error


def test_a_run_that_fails_is_status_1(cluster: Cluster) -> None:
    """The user's traceback, then one line; as JSON on stdout when asked."""
    status, out, error = cluster.handoff("run", "graphs.py:failing", "--json", "--trace", "failed.json", "--save", "failed.html")

    last = error.splitlines()[-1]
    assert status == 1
    assert last.startswith("FunctionFailed: function 'f'") and "'alpha'" in last and last.endswith("ValueError: no 1")
    assert "in broken" in error and "handoff/cli" not in error
    assert json.loads(out)["error"]["exception"].endswith("ValueError")
    assert json.loads((cluster.home / "failed.json").read_text())["otherData"]["ended"] == "failed"     # what it was like is written, too
    assert "ValueError: no 1" in (cluster.home / "failed.html").read_text()


def test_a_cost_that_nobody_meets_is_explained(cluster: Cluster) -> None:
    """At once, with the function and the resource."""
    status, _, error = cluster.handoff("run", "graphs.py:greedy")

    assert status == 1
    assert error.splitlines()[-1].startswith("AllocationError: ") and "'g'" in error and "gpu" in error


def test_ctrl_c_cancels_the_run(cluster: Cluster) -> None:
    """Status 130, and the cluster knows that it is over."""
    process = cluster.start([*HANDOFF, "run", "graphs.py:sleepy", "--coordinator", cluster.address])
    line_with(process, process.stderr, "1 on nodes")

    process.send_signal(signal.SIGINT)

    _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelling the run" in error and "RunCancelled" in error and "Traceback" not in error


def test_status_and_cancel(cluster: Cluster) -> None:
    """A run is seen and ended from another terminal; whoever waits for it learns why."""
    process = cluster.start([*HANDOFF, "run", "graphs.py:sleepy", "--coordinator", cluster.address])
    line_with(process, process.stderr, "1 on nodes")
    status, out, _ = cluster.handoff("status", "--json")
    number = str(next(each["run"] for each in json.loads(out) if each["name"] == "sleepy" and each["state"] == "running"))
    assert status == 0
    assert cluster.handoff("status", number)[1].splitlines()[1].split()[:3] == [number, "sleepy", "running"]

    assert cluster.handoff("cancel", number)[:2] == (0, f"run {number} is cancelled\n")

    _, error = process.communicate(timeout=30)
    assert process.returncode == 1
    assert error.splitlines()[-1].startswith("RunCancelled: ")
    assert cluster.handoff("cancel", "999")[0] == 2


# ── refusals ────────────────────────────────────────────────────────────────


def test_a_wrong_address_is_status_3(cluster: Cluster) -> None:
    """Where nobody listens: the address is in the one line."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, _, error = cluster.handoff("nodes", "--coordinator", f"127.0.0.1:{port}")

    assert status == 3
    assert error.startswith("ConnectionLost: ") and f"127.0.0.1:{port}" in error and error.count("\n") == 1


def test_a_wrong_secret_is_status_3(cluster: Cluster, tmp_path: Path) -> None:
    """The line says that the secret may be another one."""
    secret.create_file(tmp_path / "other", secret.generate())
    status, _, error = cluster.handoff("nodes", "--secret-file", str(tmp_path / "other"))

    assert status == 3
    assert error.startswith("Refused: ") and "secret" in error and error.count("\n") == 1


def test_a_port_in_use_is_status_2(cluster: Cluster) -> None:
    """The port is named."""
    port = cluster.address.rpartition(":")[2]
    status, _, error = cluster.handoff("coordinator", "--port", port)

    assert status == 2
    assert error.startswith("ConfigError: ") and port in error and "in use" in error and error.count("\n") == 1


def test_a_second_node_of_the_same_name_is_refused(cluster: Cluster) -> None:
    """The daemon ends with status 3 and says which name."""
    ran = subprocess.run(
        [*NODE, "--coordinator", cluster.address, "--name", "alpha", "--cpus", "1", "--memory", "100", "--gpus", "0"],
        env=cluster.environment, cwd=cluster.home, capture_output=True, text=True, timeout=60, check=False,
    )

    assert ran.returncode == 3
    assert re.search(r"Refused: .*'alpha' is already here \(process \d+ at 127\.0\.0\.1:\d+\)", ran.stderr)
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(("arguments", "said"), [
    (["--coordinator", "a b"], "handoff-node: --coordinator 'a b' is not an address"),
    (["--cpus", "-1"], "handoff-node: --cpus -1: cpu=-1.0 is negative; an amount is zero or more"),
    (["--memory", "lots"], "handoff-node: --memory lots: memory='lots' is not an amount; write a number or a size such as \"2 GiB\""),
    (["--resource", "x"], "handoff-node: argument --resource: 'x' is not NAME=VALUE"),
    (["--cpus", "1", "--resource", "cpu=2"], "handoff-node: --resource cpu=2: the amount of cpu is said twice"),
    (["--name", ""], "handoff-node: --name '': a name has 1 to 64 printable characters"),
    (["--port", "70000"], "handoff-node: --port 70000 is not between 0 and 65535"),
])
def test_a_node_refuses_options_that_make_no_sense(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line and status 2, before anything is started."""
    from handoff.cli import node

    monkeypatch.setattr("sys.argv", ["handoff-node", *arguments])
    with pytest.raises(SystemExit) as ended:
        node.main()

    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith(said) and error.count("\n") == 1


def test_run_without_a_cluster_uses_this_machine(tmp_path: Path) -> None:
    """Nothing is started before and nothing is left after."""
    (tmp_path / "graphs.py").write_text(GRAPHS)
    ran = subprocess.run(
        [*HANDOFF, "run", "graphs:dag", "--json"], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["results"] == {"a": 8, "b": 16, "7": 2}
    assert not (tmp_path / ".config").exists()


EMBEDDED = """
import sys
import handoff
if __name__ == "__main__":
    print(handoff.submit(abs, -7).result(30), file=sys.stderr)
"""


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-"])
def test_a_cluster_needs_no_streams(tmp_path: Path, closed: str) -> None:
    """A program that was started without stdin, by a supervisor, say, has one all the same; and so has the command."""
    for name, text in (("embedded.py", EMBEDDED), ("graphs.py", GRAPHS)):
        (tmp_path / name).write_text(text)
    for command, said in (([sys.executable, "embedded.py"], "7\n"), ([*HANDOFF, "run", "graphs.py:dag"], "[b @ node-1] doubling 8\n")):
        done = subprocess.run(
            ["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=tmp_path, env=environment(tmp_path), capture_output=True,
            text=True, timeout=60, check=False)
        assert done.returncode == 0 and said in done.stderr, done.stderr


def test_a_cluster_needs_no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no directory for temporary files can be written, as in a read-only container, what its processes say is kept in memory."""
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with handoff.LocalCluster(nodes=1, cpus=1, memory=100) as cluster, cluster.client() as client:
        assert client.submit(abs, -7).result(30) == 7
        with pytest.raises(errors.ConnectionLost, match=r"ended with exit status 2 as it started:\n.*is not MODULE:CLASS of a resource"):
            cluster.add_node(tracker="nowhere:Tracker")


def test_the_working_directory_may_be_gone(tmp_path: Path) -> None:
    """Where Python looks for modules in it, as in a notebook; what lies elsewhere is found."""
    (tmp_path / "graphs.py").write_text(GRAPHS)
    (tmp_path / "gone").mkdir()
    program = "import sys, handoff; assert '' in sys.path; print(handoff.submit(abs, -7).result(30))"
    around = {**environment(tmp_path), "PYTHONPATH": os.pathsep.join([str(Path(handoff.__file__).parents[1]), str(tmp_path)])}
    for command, said in (([sys.executable, "-c", program], "7\n"), ([*HANDOFF, "run", "graphs:dag", "--json"], '"a": 8'),
                          ([*HANDOFF, "secret", "new", "here"], "")):
        (tmp_path / "gone").mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *command], cwd=tmp_path / "gone", env=around, capture_output=True, text=True,
            timeout=60, check=False)
        assert (done.returncode, said in done.stdout) == (0 if said else 2, True), done.stderr
    assert done.stderr.startswith("ConfigError: secret file here can't be written: the working directory is not there: No such file")
