"""What a user reads when nodes, functions or results are not as they should be: two daemons, asked from Python and the command line."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daemons import House, environment

import handoff
from handoff import errors
from handoff.cli.main import command
from handoff.cli.target import load_dag
from handoff.trust import secret
from handoff.trust.certificates import Authority
from handoff.trust.certificates import context as certificate_context

GRAPHS = """
import sys, threading, types
from handoff import DAG, Function

def work(*args):
    return args

def alone(code=work, **fields):
    return DAG("bad").add(Function("x", code=code, max_retries=0, **fields))

many_cores = alone(cost={"cpu": 3})
many_gpus = alone(cost={"cpu": 1, "gpu": 8})
licences = alone(cost={"license": 1})
pinned = alone(cost={"cpu": 2}, node="beta")
elsewhere = alone(node="gamma")

class Box:
    def __init__(self, content):
        self.content = content

def locked():
    return [Box({"guard": threading.Lock()})]

unpicklable = alone(locked)

class NoDump(Exception):
    def __reduce__(self):
        raise TypeError("never")

class NoLoad(Exception):
    def __init__(self, what, where):
        super().__init__(f"{what} at {where}")

    def __reduce__(self):
        return NoLoad, self.args

def dumps():
    raise NoDump("the disk is full")

def loads():
    raise NoLoad("no light", "the end")

no_dump, no_load = alone(dumps), alone(loads)

absent = types.ModuleType("absent_library")
exec("def compute(): return 1", absent.__dict__)
sys.modules["absent_library"] = absent
needs_module = alone(absent.compute)
"""

NODE_TIMEOUT = "0.4"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One for the whole file."""
    made = House(tmp_path_factory.mktemp("house"), GRAPHS, NODE_TIMEOUT)
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of the person who runs the tests, and import paths as they were."""
    for name in ("HANDOFF_COORDINATOR", "HANDOFF_SECRET_FILE", "HANDOFF_SECRET", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])


Told = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def told(house: House, capsys: pytest.CaptureFixture[str]) -> Told:
    """Does a command of `handoff` for this cluster: its status, and the lines on stderr."""
    def run(*arguments: str, of: Path | None = None, at: str = "") -> tuple[int, list[str]]:
        capsys.readouterr()
        status = command([*arguments, "--coordinator", at or house.address, "--secret-file", str(of or house.secret_file)])
        return status, [line for line in capsys.readouterr().err.splitlines() if not line.startswith("0 of 1 function done")]
    return run


def raised(house: House, graph: str) -> errors.HandoffError:
    """What running one of the graphs raises."""
    with handoff.connect(house.address, secret=house.secret) as client, pytest.raises(errors.HandoffError) as caught:
        client.execute(load_dag(f"{house.graphs}:{graph}"))
    return caught.value


# ── costs and places ────────────────────────────────────────────────────────

OFFERS = {
    "many_cores": "function 'x': work needs cpu=3, which no node can ever offer; nearest: 'alpha' (cpu=2), 'beta' (cpu=1). "
                  "Ask for less, start a node that has it, or run it in a graph with wait_for_nodes=True",
    "many_gpus": "function 'x': work needs cpu=1, gpu=8, which no node can ever offer; nearest: 'beta' (gpu=2), 'alpha' (gpu=0). "
                 "Ask for less, start a node that has it, or run it in a graph with wait_for_nodes=True",
    "licences": "function 'x': work needs license=1, which no node can ever offer; nearest: 'alpha' (license=0), 'beta' (license=0); "
                "no node has any license (there is cpu, gpu, memory). Ask for less, start a node that has it, or run it in a "
                "graph with wait_for_nodes=True",
    "pinned": "function 'x': work needs cpu=2 on node 'beta', which it is pinned to; that node offers cpu=1. "
              "Ask for less, or pin it to another node",
}


@pytest.mark.parametrize(("graph", "text"), OFFERS.items())
def test_a_cost_that_no_node_can_meet(house: House, told: Told, graph: str, text: str) -> None:
    """Function, resource, amount and the largest offer, at once; status 1."""
    error = raised(house, graph)

    assert isinstance(error, errors.AllocationError) and error.function == "x"
    assert (str(error), error.__cause__) == (text, None)
    assert told("run", f"{house.graphs}:{graph}") == (1, [f"AllocationError: {text}"])


def test_a_node_that_is_not_there(house: House, told: Told) -> None:
    """After the patience that the settings give, the name, and who is there."""
    text = f"function 'x': work waits for node 'gamma', which is not there; present: 'alpha', 'beta'; waited {NODE_TIMEOUT} s"
    error = raised(house, "elsewhere")

    assert (type(error), str(error), error.__cause__) == (errors.NodeTimeout, text, None)
    status, lines = told("run", f"{house.graphs}:elsewhere")
    assert (status, lines[-1]) == (1, f"NodeTimeout: {text}") and "Traceback" not in "".join(lines)


# ── functions and results ───────────────────────────────────────────────────

WHERE = r"on node '(alpha|beta)' in its only attempt: "


def test_a_result_that_can_not_be_pickled(house: House, told: Told) -> None:
    """The way to the part that can't, and no traceback: nothing of the user's code failed."""
    pattern = (rf"function 'x': locked gave a result that can't be sent {WHERE}TypeError: the result can't be pickled: "
               r"result\[0\]\.content\['guard'\]: cannot pickle '_thread.lock' object")
    error = raised(house, "unpicklable")

    assert isinstance(error, errors.FunctionFailed) and re.fullmatch(pattern, str(error)), error
    assert error.__cause__ is None
    status, lines = told("run", f"{house.graphs}:unpicklable")
    assert status == 1 and len(lines) == 1 and re.fullmatch(f"FunctionFailed: {pattern}", lines[0]), lines


def test_a_module_that_the_node_lacks(house: House, told: Told) -> None:
    """Which module, which node, and the two ways out."""
    pattern = (rf"function 'x': compute could not be loaded {WHERE}ModuleNotFoundError: the code of compute needs the module "
               r"'absent_library', which node (alpha|beta) does not have: install it there, or send its functions by value with "
               r"cloudpickle\.register_pickle_by_value\(absent_library\) in the client")
    try:
        error = raised(house, "needs_module")
        assert isinstance(error, errors.FunctionFailed) and re.fullmatch(pattern, str(error)), error
        assert error.__cause__ is None
        status, lines = told("run", f"{house.graphs}:needs_module")
    finally:
        sys.modules.pop("absent_library", None)
    assert status == 1 and len(lines) == 1 and re.fullmatch(f"FunctionFailed: {pattern}", lines[0]), lines


@pytest.mark.parametrize(("graph", "code", "kind", "text"), [
    ("no_dump", "dumps", "graphs.NoDump", "the disk is full"), ("no_load", "loads", "graphs.NoLoad", "no light at the end"),
])
def test_an_exception_that_can_not_travel(house: House, told: Told, graph: str, code: str, kind: str, text: str) -> None:
    """Its type, its text and its traceback do, and a line says why that is all."""
    pattern = rf"function 'x': {code} failed {WHERE}{kind}: {text}"
    note = f"(only this text of the {kind} could be sent: pickling it, or building it again, fails)"
    error = raised(house, graph)

    assert isinstance(error, errors.FunctionFailed) and re.fullmatch(pattern, str(error)), error
    assert error.type == kind and isinstance(error.__cause__, errors.RemoteTraceback)
    assert f"in {code}" in str(error.__cause__) and str(error.__cause__).rstrip().endswith(f"{text}\n{note}")
    status, lines = told("run", f"{house.graphs}:{graph}")
    assert status == 1 and re.fullmatch(f"FunctionFailed: {pattern}", lines[-1]), lines
    assert note in lines and not any("handoff/" in line or "cloudpickle" in line for line in lines)


# ── finding the cluster ─────────────────────────────────────────────────────


def test_a_wrong_port(house: House, told: Told) -> None:
    """The address, what was found there, and what to look at; status 3."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        free_port = free.getsockname()[1]
    text = f"can't connect to 127.0.0.1:{free_port}: nothing listens there (Connection refused); is it running, and is the address right?"

    with pytest.raises(errors.ConnectionLost) as caught:
        handoff.connect(f"127.0.0.1:{free_port}", secret=house.secret)
    assert (str(caught.value), caught.value.__cause__) == (text, None)
    assert told("nodes", at=f"127.0.0.1:{free_port}") == (3, [f"ConnectionLost: {text}"])


def test_a_host_that_does_not_exist(house: House) -> None:
    """The name is in the one sentence."""
    text = r"^nowhere\.invalid:7070: there is no host 'nowhere\.invalid' \(.*\); check the address$"
    with pytest.raises(errors.ConnectionLost, match=text):
        handoff.connect("nowhere.invalid:7070", secret=house.secret)


def test_the_address_of_a_node(house: House) -> None:
    """Who answers there is named."""
    port = house.node_ports["alpha"]
    with pytest.raises(errors.Refused, match=rf"^127\.0\.0\.1:{port} is a node \(alpha\), not a coordinator; check the address$"):
        handoff.connect(f"127.0.0.1:{port}", secret=house.secret)


def test_a_wrong_secret(house: House, told: Told, tmp_path: Path) -> None:
    """What may be wrong and how to compare, in one line; status 3; and the coordinator's log says so, too."""
    pattern = (rf"{re.escape(house.address)} rejected: wrong secret, expired certificate, or not a Handoff coordinator \(.*\); "
               r"compare `handoff secret show` on both machines, and their clocks")
    with pytest.raises(errors.Refused, match=f"^{pattern}$"):
        handoff.connect(house.address, secret=secret.generate())

    secret.create_file(tmp_path / "other", secret.generate())
    status, lines = told("nodes", of=tmp_path / "other")
    assert status == 3 and len(lines) == 1 and re.fullmatch(f"Refused: {pattern}", lines[0]), lines
    house.said("coordinator", r'link.refused address=127\.0\.0\.1:\d+ reason="?[^"\n]*(secret|certificate)')


def tls(own: bytes | None, key: bytes, address: tuple[str, int]) -> None:
    """Do a TLS handshake as nobody in Handoff would: with this certificate or none, and without a look at the other side's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if own is not None:
        context = certificate_context(Authority(key).pem, own, is_server=False)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(address, 5) as plain, contextlib.suppress(OSError), context.wrap_socket(plain) as secured:
        assert secured.recv(100) == b""


def stranger(kind: str, house: House, address: tuple[str, int]) -> None:
    """Someone comes who may not come in, and hears nothing."""
    key = house.secret.keys[0]
    match kind:
        case "another secret":
            other = secret.generate().keys[0]
            tls(Authority(other).mint("client", "mallory"), other, address)
        case "expired":
            then = datetime.now(UTC) - timedelta(days=30)
            tls(Authority(key).mint("client", "mallory", now=then, lifetime=timedelta(days=7)), key, address)
        case "no certificate":
            tls(None, key, address)
        case _:
            with socket.create_connection(address, 5) as plain, contextlib.suppress(ConnectionError):
                plain.sendall(b"GET / HTTP/1.1\r\n\r\n" if kind == "plain TCP" else b"\x16\x03\x01\x02\x00" + bytes(range(256)) * 2)
                assert len(plain.recv(100)) <= 7   # a TLS alert at most


@pytest.mark.parametrize("who", ["coordinator", "alpha"])
@pytest.mark.parametrize(("kind", "reason"), [
    ("another secret", "wrong secret or expired certificate: (unable to get local issuer certificate|.*signature.*|self.signed.*)"),
    ("expired", "wrong secret or expired certificate: certificate has expired"),
    ("no certificate", "no certificate: not a member of the cluster"),
    ("plain TCP", r"TLS handshake failed: not a Handoff peer \(HTTP_REQUEST\)"),
    ("garbage", r"TLS handshake failed: not a Handoff peer \([A-Z_0-9]+\)"),
])
def test_the_log_says_why_a_stranger_was_refused(house: House, told: Told, kind: str, reason: str, who: str) -> None:
    """One warning with the address and the reason, of the coordinator as of a node, and both go on."""
    port = int(house.address.rpartition(":")[2]) if who == "coordinator" else house.node_ports[who]

    stranger(kind, house, ("127.0.0.1", port))

    house.said(who, rf'warning link\.refused address=127\.0\.0\.1:\d+ reason="{reason}"')
    assert "Traceback" not in (house.home / f"{who}.log").read_text()
    assert told("nodes")[0] == 0


def test_a_secret_file_that_others_can_read(house: House, told: Told, tmp_path: Path) -> None:
    """The file, its mode, and the command that mends it; status 2."""
    path = tmp_path / "open"
    secret.create_file(path, house.secret)
    path.chmod(0o640)
    text = f"secret file {path} can be read or changed by others (mode 0640); run: chmod 600 {path}"

    with pytest.raises(errors.ConfigError) as caught:
        handoff.connect(house.address, secret=path)
    assert str(caught.value) == text
    assert told("nodes", of=path) == (2, [f"ConfigError: {text}"])


@pytest.mark.parametrize(("what", "theirs", "advice", "changed"), [
    ("Python", "3.99", "functions travel as bytecode: use the same Python on both",
     "platform.python_version_tuple = lambda: ('3', '99', '1')"),
    ("Handoff", "9.9.9", "install the same version of Handoff on both", "handoff.version.VERSION = '9.9.9'"),
])
def test_versions_that_do_not_fit(house: House, what: str, theirs: str, advice: str, changed: str) -> None:
    """Both are shown to who is refused, a client or a node, in one line with status 3; and the log of the coordinator has them."""
    here = handoff.__version__ if what == "Handoff" else "{}.{}".format(*sys.version_info)
    start = f"import platform, handoff.version; {changed}; from handoff.cli.{{}} import main; main()"
    for module, role, arguments in (
        ("main", "client", ["nodes"]), ("node", "node", ["--name", "odd", "--cpus", "1", "--memory", "9", "--gpus", "0"]),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", start.format(module), *arguments, "--coordinator", house.address, "--secret-file", house.secret_file],
            env=environment(house.home), cwd=house.home, capture_output=True, text=True, timeout=60, check=False,
        )
        pattern = rf"Refused: the coordinator has {what} {re.escape(here)}, {role} \S+ has {re.escape(theirs)}; {advice}"
        complaints = [line for line in ran.stderr.splitlines() if not re.match(r"\d{4}-|\d\d:", line)]
        assert (ran.returncode, ran.stdout) == (3, ""), ran.stderr
        assert len(complaints) == 1 and re.fullmatch(pattern, complaints[0]), ran.stderr
        house.said("coordinator", rf"link.refused .*{what} .*{re.escape(theirs)}")


def test_a_port_in_use(house: House) -> None:
    """Of a coordinator and of a node: the port, and the option that chooses another; status 2."""
    port = house.address.rpartition(":")[2]
    for arguments, address in (
        (["handoff.coordinator", "--port", port], "127.0.0.1"),
        (["handoff.node", "--coordinator", house.address, "--name", "late", "--port", port, "--host", "127.0.0.1"], "127.0.0.1"),
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *arguments, "--secret-file", str(house.secret_file)], env=environment(house.home), cwd=house.home,
            capture_output=True, text=True, timeout=60, check=False,
        )
        text = f"port {port} on {address} is in use: another process listens there; choose another with --port"
        assert (ran.returncode, ran.stderr.splitlines()[-1]) == (2, f"ConfigError: {text}"), ran.stderr
        assert "Traceback" not in ran.stderr


def test_a_coordinator_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of a run: its address and for how long it was looked for, to whoever waits and to who asks later."""
    monkeypatch.setenv("HANDOFF_CLIENT__COORDINATOR_LOST_SECONDS", "0.5")
    with handoff.LocalCluster(nodes=1, cpus=1, memory=100) as cluster, cluster.client() as client:
        run = client.start(handoff.DAG("d").add(handoff.Function("x", code=lambda: __import__("time").sleep(60))))
        os.kill(cluster.processes["coordinator"], 9)
        text = f"the coordinator is gone: no connection to {cluster.address} for 0.5 s; is it still running there?"
        for ask in (run.result, client.nodes):
            with pytest.raises(errors.ConnectionLost) as caught:
                ask()
            assert (str(caught.value), caught.value.__cause__) == (text, None)


def test_settings_of_a_local_cluster_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by who makes it, rather than by a process that ends as it starts."""
    monkeypatch.setenv("HANDOFF_WIRE__HALF_OPEN_MAX", "0")
    with pytest.raises(errors.ConfigError, match=r"^environment variable HANDOFF_WIRE__HALF_OPEN_MAX: wire.half_open_max = '0' must be m"):
        handoff.LocalCluster(nodes=1)

