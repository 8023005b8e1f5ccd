"""What the commands say without a cluster: help, versions, secrets, graphs that can't be found, progress, exit statuses."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from handoff import errors
from handoff.cli import exits, options
from handoff.cli.main import command
from handoff.cli.plain import names_of
from handoff.cli.progress import Bar, Plain, display
from handoff.cli.run import chosen, followed
from handoff.cli.target import load_dag
from handoff.client.failures import with_lines
from handoff.client.nodes import NodeInfo, RunInfo
from handoff.client.result import RunStatus
from handoff.graph.dag import DAG
from handoff.graph.function import Function
from handoff.trust import secret
from handoff.version import VERSION


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home and working directory, and the modules as they were."""
    for name in ("HANDOFF_SECRET", "HANDOFF_SECRET_FILE", "CREDENTIALS_DIRECTORY", "HANDOFF_COORDINATOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(secret._inherited, "text", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command: (exit status, stdout, stderr)."""
    def run(*arguments: str) -> tuple[int, str, str]:
        status = command(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err
    return run


# ── the front door ──────────────────────────────────────────────────────────


def test_help_teaches(said: Any) -> None:
    """Every command's help has an example that starts with its name."""
    status, out, _ = said("--help")
    assert status == 0
    commands = re.search(r"Commands:\n(.*)", out, re.DOTALL)
    assert commands is not None
    listed = re.findall(r"^  (\w+)", commands[1], re.MULTILINE)
    assert listed == ["coordinator", "run", "plan", "nodes", "status", "cancel", "secret", "node"]
    for words in ("run", "plan", "nodes", "status", "cancel", "secret new", "secret show", "secret check", "node detect"):
        assert f"  handoff {words}" in said(*words.split(), "--help")[1], words


def test_the_version_is_shown(said: Any) -> None:
    """And nothing else happens."""
    assert said("--version") == (0, f"handoff {VERSION}\n", "")


@pytest.mark.parametrize(("arguments", "text"), [
    ("nodes --bad", "handoff: No such option: --bad"),
    ("frobnicate", "handoff: No such command 'frobnicate'"),
    ("status x", "handoff: Invalid value for '[RUN]'"),
    ("cancel", "handoff: Missing argument 'RUN'"),
    ("run g:x --max-retries -1", "handoff: Invalid value for '--max-retries'"),
    ("run g:x --max-retries 2147483648", "handoff: Invalid value for '--max-retries'"),
    ("plan g:x --mermaid --json", "ConfigError: --mermaid and --json: the plan is written as one or the other"),
    ("nodes --coordinator http://a", "ConfigError: address 'http://a' is not an address"),
    ("nodes", "ConfigError: no cluster secret: "),
    ("nodes --secret-file /nope", "ConfigError: secret file /nope is not there"),
])
def test_wrong_usage_is_one_line(said: Any, arguments: str, text: str) -> None:
    """On stderr, with status 2 and no traceback."""
    status, out, error = said(*arguments.split())

    assert (status, out) == (2, "")
    assert error.startswith(text) and error.count("\n") == 1


@pytest.mark.parametrize("command", ["", "node", "secret"])
def test_a_command_that_does_nothing_alone_shows_its_help(said: Any, command: str) -> None:
    """As it is, on stderr, with the status of wrong usage."""
    status, out, error = said(*command.split())

    assert (status, out) == (2, "")
    assert error.startswith(f"Usage: handoff {command}".strip()) and "(see handoff --help)" not in error and "Commands:" in error


def test_what_a_machine_offers_is_shown(said: Any) -> None:
    """With the reasons."""
    status, out, _ = said("node", "detect")

    assert status == 0
    assert re.match(r"offers: cpu=[\d.]+, .*memory=\d+\n\ncpu: this machine has \d+ cores?\.\n", out)


# ── secrets ─────────────────────────────────────────────────────────────────


def test_a_secret_is_made_shown_and_checked(said: Any, here: Path) -> None:
    """Made once, never overwritten, shown only when asked to."""
    path = here / "config" / "handoff" / "secret"
    status, out, _ = said("secret", "new")
    made = secret.read(path)
    assert status == 0
    assert out == f"{path}: the secret of cluster {made.cluster_id}; copy this file to each machine of the cluster\n"
    assert path.stat().st_mode & 0o777 == 0o600

    assert said("secret", "new")[::2] == (2, f"ConfigError: secret file {path} exists already; move it away first, or name another file\n")
    assert said("secret", "show") == (0, f"source:  secret file {path}\ncluster: {made.cluster_id}\n", "")
    assert said("secret", "show", "--reveal") == (0, made.text, "")
    assert said("secret", "check") == (0, f"secret file {path} is good: cluster {made.cluster_id}\n", "")
    path.chmod(0o644)
    assert said("secret", "check")[::2] == (
        2, f"ConfigError: secret file {path} can be read or changed by others (mode 0644); run: chmod 600 {path}\n"
    )


def test_a_secret_can_be_made_elsewhere(said: Any, here: Path) -> None:
    """At the path that is named; two of them are explained."""
    status, _, _ = said("secret", "new", str(here / "elsewhere"))
    both = here / "both"
    both.write_text((here / "elsewhere").read_text() + secret.generate().text)
    both.chmod(0o600)

    assert status == 0 and secret.read(here / "elsewhere")
    assert "two secrets: the first makes certificates, both are trusted" in said("secret", "show", "--secret-file", str(both))[1]


# ── finding graphs ──────────────────────────────────────────────────────────

GRAPHS = """
from dataclasses import dataclass
from handoff import DAG, Function

@dataclass
class Point:
    x: int

def double(x):
    return 2 * x

dag = DAG("doubles")
dag.add(Function("a", code=double, extra_args=[1]))
number = 3

def build():
    return DAG("built")

def broken():
    return 1 / 0
"""


def test_a_graph_is_found_in_a_module_and_in_a_file(here: Path) -> None:
    """As an attribute, or as what a function returns."""
    (here / "graphs.py").write_text(GRAPHS)

    assert load_dag("graphs:dag").id == "doubles"
    assert load_dag("graphs:build").id == "built"
    del sys.modules["graphs"]
    assert load_dag("graphs.py:dag").id == "doubles"
    assert load_dag(f"{here}/graphs.py:build").id == "built"


def test_errors_of_functions_of_a_file_show_their_lines(here: Path) -> None:
    """Nodes do not have that file, and here its module is not among those that are loaded."""
    (here / "graphs.py").write_text(GRAPHS)
    load_dag("graphs.py:dag")
    told = f'  File "{here.resolve()}/graphs.py", line {GRAPHS[: GRAPHS.index("1 / 0")].count(chr(10)) + 1}, in fails\n'

    assert with_lines(told) == f"{told}    return 1 / 0\n"


def test_functions_of_a_file_travel_as_code(here: Path) -> None:
    """A file's module is nowhere else, so it does not stay among the modules, where its functions would travel as names."""
    (here / "graphs.py").write_text(GRAPHS)

    load_dag("graphs.py:dag")

    assert "graphs" not in sys.modules


@pytest.mark.parametrize(("target", "text"), [
    ("graphs", "'graphs' does not name a graph; write \"MODULE:DAG\""),
    ("graphs:", "'graphs:' does not name a graph"),
    ("nowhere:dag", "there is no module 'nowhere' here; the working directory and PYTHONPATH were searched"),
    ("nowhere.py:dag", "there is no file nowhere.py"),
    ("graphs:dog", "graphs has no 'dog'; graphs in it: dag"),
    ("graphs:number", "graphs:number is a int, not a DAG nor a function that returns one"),
    ("graphs:Point", "graphs:Point() raised TypeError"),
    ("graphs:double.real", "graphs has no 'double.real'; graphs in it: dag"),
])
def test_what_is_no_graph_is_named(said: Any, here: Path, target: str, text: str) -> None:
    """With what would be right, in one line, status 2."""
    (here / "graphs.py").write_text(GRAPHS)

    status, out, error = said("run", target)

    assert (status, out) == (2, "")
    assert error.startswith(f"ConfigError: {text}")


def test_errors_of_the_users_module_come_with_their_place(said: Any, here: Path) -> None:
    """The user's frames and none of ours."""
    (here / "graphs.py").write_text(GRAPHS)
    (here / "wrong.py").write_text("x = 1\nimport missing_library\n")

    _, _, error = said("run", "graphs:broken")
    assert error.startswith("ConfigError: graphs:broken() raised ZeroDivisionError: division by zero\n")
    assert f'File "{here}/graphs.py", line 20, in broken' in error and "handoff/cli" not in error
    _, _, error = said("run", "wrong:dag")
    assert "raised ModuleNotFoundError: No module named 'missing_library'" in error and f'File "{here}/wrong.py", line 2' in error
    _, _, error = said("run", "wrong.py:dag")
    assert "file wrong.py raised ModuleNotFoundError" in error


def test_returns_name_functions_whatever_their_ids_are() -> None:
    """Ids that are numbers or tuples are found by their text; unknown ones are named with those there are."""
    dag = DAG("d").add(Function("a", code=int)).add(Function(7, code=int)).add(Function(("x", 1), code=int))

    assert chosen(dag, None) is None
    assert chosen(dag, ["7", "('x', 1)", "a"]) == [7, ("x", 1), "a"]
    with pytest.raises(errors.ConfigError, match="--returns b: there is no such function; the graph has a, 7"):
        chosen(dag, ["b"])


def test_ids_that_look_alike_have_names_of_their_own() -> None:
    """Strings keep theirs; what looks like one has its type before it, and a number behind it where that is taken, too."""
    dag = DAG("d")
    for each in (7, "7", "int 7", ("x",), "('x',)"):
        dag.add(Function(each, code=int))

    assert names_of(dag.functions) == {7: "int 7 (2)", "7": "7", "int 7": "int 7", ("x",): "tuple ('x',)", "('x',)": "('x',)"}
    assert chosen(dag, ["7", "int 7 (2)"]) == ["7", 7]


def test_what_stdout_has_no_sign_for_is_written_all_the_same() -> None:
    """As a number, where the encoding of the terminal does not have it."""
    program = "import sys; from handoff.cli import main; main.command = lambda: print('caf\\xe9 \\ud800'); main.main()"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False)

    assert (ran.returncode, ran.stdout) == (0, "caf\\xe9 \\ud800\n"), ran.stderr


# ── progress ────────────────────────────────────────────────────────────────


def test_plain_progress_says_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line when something changed, not more often than once a second, and every printed line at once."""
    now, stream = 100.0, io.StringIO()
    monkeypatch.setattr("time.monotonic", lambda: now)
    with Plain(stream) as shown:
        shown.update(RunStatus("running", 1, 4, 2))
        shown.update(RunStatus("running", 2, 4, 2))
        shown.printed("resize", "n1", "stdout", "hello")
        now += 1
        shown.update(RunStatus("running", 2, 4, 0, "no node has gpu=1"))
        now += 1
        shown.update(RunStatus("running", 2, 4, 0, "no node has gpu=1"))

    assert stream.getvalue().splitlines() == [
        "1 of 4 functions done, 2 on nodes", "[resize @ n1] hello", "2 of 4 functions done, 0 on nodes; waits: no node has gpu=1",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With counts and reasons; printed lines stand above it, and nothing in them is taken for markup."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with display(stream) as shown:
        assert isinstance(shown, Bar)
        shown.update(RunStatus("running", 3, 4, 1))
        shown.printed("f", "n1", "stderr", "[red]not markup[/red]")
        shown.note("a note")
        shown.update(RunStatus("running", 3, 4, 0, "a reason"))

    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "3/4" in text and "a reason" in text and "[f @ n1] [red]not markup[/red]" in text and "a note" in text
    assert isinstance(display(io.StringIO()), Plain)


class Followed:
    """A run that is looked at, and then interrupted."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes, self.cancelled = list(outcomes), 0

    def result(self, timeout: float) -> Any:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def status(self) -> RunStatus:
        return RunStatus("running", 1, 2, 1)

    def cancel(self) -> None:
        self.cancelled += 1


def test_a_run_is_followed_to_its_end() -> None:
    """Progress is shown while waiting takes long."""
    stream = io.StringIO()

    assert followed(Followed(errors.ResultTimeout("later"), "result"), Plain(stream)) == "result"  # type: ignore[arg-type]
    assert stream.getvalue() == "1 of 2 functions done, 1 on nodes\n"


def test_ctrl_c_cancels_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is cancelled once, its end is waited for, and the interrupt goes on; from then on Ctrl-C leaves at once."""
    handlers: dict[int, Any] = {}
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    left: list[int] = []
    monkeypatch.setattr("os._exit", left.append)
    run, stream = Followed(KeyboardInterrupt(), errors.RunCancelled("run 3 was cancelled")), io.StringIO()

    with pytest.raises(KeyboardInterrupt):
        followed(run, Plain(stream))  # type: ignore[arg-type]

    assert run.cancelled == 1 and not run.outcomes
    assert stream.getvalue() == "cancelling the run; once more to leave now\nRunCancelled: run 3 was cancelled\n"
    handlers[2](2, None)
    assert left == [130]


# ── the end ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("error", "status"), [
    (errors.FunctionFailed("x"), 1), (errors.RunTimeout("x"), 1), (errors.AllocationError("x"), 1), (errors.NodeLost("x"), 1),
    (errors.ConfigError("x"), 2), (errors.CyclicDependency("x"), 2), (errors.NotSerializable("x"), 2),
    (errors.ConnectionLost("x"), 3), (errors.Refused("x"), 3), (errors.ProtocolError("x"), 3),
])
def test_each_error_has_its_status(error: errors.HandoffError, status: int) -> None:
    """1 the run, 2 the user, 3 the cluster."""
    assert exits.status_of(error) == status


def failed() -> errors.FunctionFailed:
    """As a client raises it."""
    error = errors.FunctionFailed("function 'f' failed on node 'n1' in attempt 4: ValueError: no", function="f", node="n1", attempt=4,
                                  type="ValueError")
    error.__cause__ = ValueError("no")
    error.__cause__.__cause__ = errors.RemoteTraceback('Traceback:\n  File "theirs.py", line 3, in f\nValueError: no')
    return error


def test_a_function_that_failed_shows_its_own_traceback() -> None:
    """That of the user's code where it ran, and then one line."""
    assert exits.explained(failed()).splitlines() == [
        "Traceback:", '  File "theirs.py", line 3, in f', "ValueError: no", "",
        "FunctionFailed: function 'f' failed on node 'n1' in attempt 4: ValueError: no",
    ]
    assert exits.as_data(failed(), {"f": "str f"})["function"] == "str f" and exits.as_data(failed(), {})["exception"] == "ValueError"
    assert exits.as_data(errors.RunTimeout("late"), {}) == {"type": "RunTimeout", "text": "late"}
    assert exits.explained(errors.RunTimeout("late")) == "RunTimeout: late"


class FakeClient:
    """A cluster with two nodes and two runs."""

    cancelled: ClassVar[list[int]] = []
    drained: ClassVar[list[tuple[str, float | None]]] = []

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def nodes(self) -> list[NodeInfo]:
        return [
            NodeInfo("n1", "10.0.0.1:7", 11, {"cpu": 8.0, "memory": 16000.0}, {"cpu": 7.5}, {"zone": "north"}, "ready", 1, 2),
            NodeInfo("n2", "10.0.0.2:7", 12, {"cpu": 2.0, "memory": 12345678.0}, {}, {}, "suspect"),
        ]

    def runs(self) -> list[RunInfo]:
        return [RunInfo(3, "images", "running", 5, 9, "me@here", 1.25), RunInfo(4, "other", "done", 1, 1)]

    def cancel(self, run: int) -> None:
        self.cancelled.append(run)

    def drain(self, node: str, seconds: float | None) -> None:
        if node != "n1":
            raise errors.ConfigError(f"there is no node named {node!r} to drain; nodes that are here: 'n1', 'n2'")
        self.drained.append((node, seconds))


@pytest.fixture
def fake_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Commands reach the fake."""
    monkeypatch.setattr("handoff.cli.cluster.connected", lambda *_: FakeClient())
    FakeClient.cancelled.clear()
    yield


@pytest.mark.usefixtures("fake_cluster")
def test_nobodys_name_speaks_to_the_terminal(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of others, and labels of nodes, may be called anything: no sign in a table moves a cursor, or sets a window's title."""
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil"
    monkeypatch.setattr(FakeClient, "runs", lambda self: [RunInfo(3, hostile, "running", 5, 9, hostile, 1.25, hostile)])
    monkeypatch.setattr(FakeClient, "nodes", lambda self: [NodeInfo(hostile, "a:7", 11, {}, {}, {hostile: hostile}, "ready", 1, 2)])
    for listing in ("status", "nodes"):
        status, out, _ = said(listing)
        assert status == exits.OK and out.count("evil") >= 3
        assert not [each for each in out if not each.isprintable() and each != "\n"]


@pytest.mark.usefixtures("fake_cluster")
def test_nodes_are_listed(said: Any) -> None:
    """One line each, and everything as JSON."""
    _, out, _ = said("nodes")
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["node", "address", "state", "capacity", "free", "running", "queued", "labels"]
    assert lines[1] == ["n1", "10.0.0.1:7", "ready", "cpu=8", "memory=16000", "cpu=7.5", "1", "2", "zone=north"]
    assert "memory=12345678" in lines[2]
    assert json.loads(said("nodes", "--json")[1])[0]["labels"] == {"zone": "north"}


@pytest.mark.usefixtures("fake_cluster")
def test_runs_are_listed(said: Any) -> None:
    """All, or one; one that is not there is named with those that are."""
    assert [line.split()[:5] for line in said("status")[1].splitlines()] == [
        ["run", "name", "state", "done", "total"], ["3", "images", "running", "5", "9"], ["4", "other", "done", "1", "1"],
    ]
    assert [each["run"] for each in json.loads(said("status", "4", "--json")[1])] == [4]
    assert said("status", "5") == (2, "", "ConfigError: there is no run 5; runs that are here: 3, 4\n")


@pytest.mark.usefixtures("fake_cluster")
def test_single_calls_of_a_client_are_one_line(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For each state, where the first of them is; as JSON, and asked for by number, each is told by itself."""
    calls = [RunInfo(number, "f", "done" if number < 900 else "running", number < 900, 1, "me", number / 100, is_call=True)
             for number in range(10, 1000)]
    others = [RunInfo(5, "graph", "done", 2, 2, "me"), RunInfo(1001, "g", "waiting", 0, 1, "you", waits_for="a node", is_call=True)]
    monkeypatch.setattr(FakeClient, "runs", lambda client: [others[0], *calls, others[1]])
    assert [line.split() for line in said("status")[1].splitlines()[1:]] == [
        ["5", "graph", "done", "2", "2", "0.0", "me"],
        ["10-899", "890", "calls", "of", "f", "done", "890", "890", "9.0", "me"],
        ["900-999", "100", "calls", "of", "f", "running", "0", "100", "10.0", "me"],
        ["1001", "g", "waiting", "0", "1", "0.0", "you", "a", "node"],
    ]
    assert len(json.loads(said("status", "--json")[1])) == 992
    assert said("status", "950")[1].splitlines()[1].split()[:2] == ["950", "f"]


@pytest.mark.usefixtures("fake_cluster")
def test_a_run_is_cancelled(said: Any) -> None:
    """By its number; one that is not there is named, and of one that is over its state."""
    assert said("cancel", "3") == (0, "run 3 is cancelled\n", "")
    assert said("cancel", "9") == (2, "", "ConfigError: there is no run 9; runs that are here: 3, 4\n")
    assert said("cancel", "4") == (2, "", "ConfigError: run 4 can't be cancelled: it is over, its state is 'done'\n")
    assert FakeClient.cancelled == [3]


@pytest.mark.usefixtures("fake_cluster")
def test_a_node_is_drained(said: Any) -> None:
    """By its name, within the time that is said; one that is not there is named with those that are."""
    FakeClient.drained.clear()
    drains = "node 'n1' drains; it leaves when no run needs it or its results any more, or after 5 s\n"
    assert said("node", "drain", "n1", "--seconds", "5") == (0, drains, "")
    assert said("node", "drain", "n3")[::2] == (2, "ConfigError: there is no node named 'n3' to drain; nodes that are here: 'n1', 'n2'\n")
    assert FakeClient.drained == [("n1", 5.0)]


def test_ctrl_c_is_130(said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a word, and no traceback."""
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("handoff.cli.cluster.connected", interrupted)

    assert said("nodes") == (130, "", "interrupted\n")


def test_json_shows_what_it_has_no_word_for(capsys: pytest.CaptureFixture[str]) -> None:
    """As Python writes it."""
    options.write_json({"x": SimpleNamespace(a=1), "y": [1, None], ("z", 2): {3: math.nan, "3": (-math.inf, 0.5)}})

    assert json.loads(capsys.readouterr().out) == {
        "x": "namespace(a=1)", "y": [1, None], "('z', 2)": {"int 3": "nan", "3": ["-inf", 0.5]},
    }


def test_json_is_whole_whatever_it_holds(capsys: pytest.CaptureFixture[str]) -> None:
    """What holds itself, is very deep or very long, or can't be shown, becomes a text; nothing is written by halves."""
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no words")

    own: list[Any] = [1]
    own.append(own)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    options.write_json([own, deep, 10**5000, Mute(), {Mute: "\udc00"}])

    circle, found, large, mute, keyed = json.loads(capsys.readouterr().out)
    assert circle == [1, "[1, [...]]"]
    while isinstance(found, list):
        (found,) = found
    assert found.startswith("<list that can't be shown: RecursionError")
    assert large.startswith("<int that can't be shown: ValueError")
    assert mute == "<Mute that can't be shown: RuntimeError: no words>"
    assert list(keyed.values()) == ["\udc00"]


def test_output_that_has_no_place_is_one_line() -> None:
    """A full disk, say: nobody takes half of it for all."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "handoff.cli.main", "secret", "check", "--help"], stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=60, check=False)
    assert (done.returncode, done.stderr) == (2, "handoff: the output can't be written: No space left on device\n")
