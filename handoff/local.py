"""A cluster on this machine: coordinator and node daemons as processes that end with this one.

`LocalCluster` is for tests, notebooks and trying things out.
The client is imported when the processes have been started: it takes as long as they need to come up, and both are waited for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from handoff.errors import ConfigError, ConnectionLost, HandoffError
from handoff.files import NO_FILES, open_streams, working_directory
from handoff.offers import checked, coordinator_arguments, node_arguments, specs_of
from handoff.quoting import quoted
from handoff.trust.secret import Secret, generate

if TYPE_CHECKING:
    from types import TracebackType

    from handoff.client.client import Client
    from handoff.client.core import Core
    from handoff.settings import Settings

START_SECONDS = 30.0                 # for all processes to be there; a busy machine with cold disks needs several
ENDING_SECONDS = 1.0                 # for a process that closed its socket to be gone
STOP_SECONDS = 5.0                   # from SIGTERM to SIGKILL
POLL_SECONDS = 0.01
POLL_SECONDS_MAX = 1.0               # for one answer of a coordinator that may have just died
LOG_BYTES = 4000                     # of a process that failed to start: so much of the end of its log is shown


class LocalCluster:
    """A coordinator and some nodes, each a process here, over TLS on loopback with a secret of their own.

        with LocalCluster(nodes=3, cpus=2) as cluster, cluster.client() as client: ...

    `nodes` is a number, or a list of dicts with the options of `add_node`. What is not said is this machine's own, shared out evenly.
    `state` is a directory for what is learned of functions, for the next cluster; without one, or with "", nothing is kept. `shared` is
    what the whole cluster has together: {"license": 5} for functions that cost {"cluster:license": 1}. `allocator`, `tracker` and
    `unencrypted_values` are as on the command lines.
    """

    def __init__(
        self,
        nodes: int | Iterable[Mapping[str, Any]] = 1,
        *,
        cpus: float | None = None,
        memory: float | str | None = None,
        gpus: float | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        state: str | Path | None = None,
        tracker: str | None = None,
        shared: Mapping[str, float] | None = None,
        allocator: str | None = None,
        unencrypted_values: bool = False,
        log_level: str = "warning",
    ) -> None:
        common = {"cpus": cpus, "memory": memory, "gpus": gpus, "resources": resources, "labels": labels, "tracker": tracker}
        specs = specs_of(nodes, {name: value for name, value in common.items() if value is not None})
        said = coordinator_arguments(shared, allocator, state)
        if log_level != "warning":
            from handoff.log import LEVELS  # here, since the usual one need not be looked up

            if log_level not in LEVELS:
                raise ConfigError(f"log_level={quoted(log_level)} is not known; choose one of {', '.join(LEVELS)}")
        if not isinstance(unencrypted_values, bool):
            raise ConfigError(f"unencrypted_values={quoted(unencrypted_values)} is neither True nor False")
        self._log_level, self._unencrypted_values = log_level, unencrypted_values
        self._owner = os.getpid()
        self._secret = generate()
        open_streams()                           # children inherit descriptors by number, and have streams of their own
        self._children: dict[str, _Child] = {}
        self._number = 0
        self._closed = False
        self._lock = threading.Lock()
        self._watcher: Core | None = None
        self._lifeline, self._held = os.pipe()   # children read an end of which nothing ever comes but its end
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._port: int = listening.getsockname()[1]
        self.address = f"127.0.0.1:{self._port}"
        _clusters.add(self)
        try:
            with listening:
                self._spawn("coordinator", "handoff.coordinator", ["--listen-fd", str(listening.fileno()), *said], [listening.fileno()])
            self._settings = _settings()
            self._start_nodes(specs)
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<LocalCluster at {self.address}: {', '.join(self.node_names) or 'no nodes'}{', closed' if self._closed else ''}>"

    def __enter__(self) -> LocalCluster:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    # ── what is there ────────────────────────────────────────────────────────

    @property
    def secret(self) -> Secret:
        """What its processes know each other by; for `handoff.connect(cluster.address, secret=cluster.secret)`."""
        return self._secret

    @property
    def node_names(self) -> list[str]:
        """The nodes that were started and not killed."""
        return [name for name in self._children if name != "coordinator"]

    @property
    def processes(self) -> dict[str, int]:
        """Process ids by name; the coordinator is called "coordinator"."""
        return {name: child.process.pid for name, child in self._children.items()}

    @property
    def is_whole(self) -> bool:
        """Whether all of its processes live, but for nodes that were killed with `kill_node`."""
        return all(child.process.poll() is None for child in list(self._children.values()))

    def client(self, timeout: float = START_SECONDS) -> Client:
        """A new client of this cluster; closing it is yours."""
        from handoff.client.client import Client
        from handoff.client.options import patience_above_zero

        return Client(self._core(patience_above_zero(timeout)))

    def own_client(self) -> Client:
        """The connection that the cluster itself uses, for who owns the cluster and closes both."""
        from handoff.client.client import Client

        if self._watcher is None:
            self._watcher = self._core(START_SECONDS)
        return Client(self._watcher)

    def _core(self, timeout: float) -> Core:
        self._check_open()
        from handoff.client.core import Core

        return Core(("127.0.0.1", self._port), self._secret, self._settings, timeout=timeout)

    def _check_open(self) -> None:
        if self._closed or self._owner != os.getpid():
            raise ConnectionLost("this LocalCluster is closed, or belongs to the process that forked this one; make a new one")

    # ── nodes come and go ────────────────────────────────────────────────────

    def add_node(
        self,
        name: str | None = None,
        *,
        cpus: float | None = None,
        memory: float | str | None = None,
        gpus: float | None = None,
        resources: Mapping[str, float] | None = None,
        labels: Mapping[str, str] | None = None,
        tracker: str | None = None,
    ) -> str:
        """Start one more node and wait until it is in; its name."""
        self._check_open()
        said = {"name": name, "cpus": cpus, "memory": memory, "gpus": gpus, "resources": resources, "labels": labels, "tracker": tracker}
        return self._start_nodes([checked({option: value for option, value in said.items() if value is not None})])[0]

    def kill_node(self, name: str) -> None:
        """End a node as a power cut would: SIGKILL."""
        self._check_open()
        if name not in self.node_names:
            raise ConfigError(f"there is no node named {quoted(name)} here; there are: {', '.join(self.node_names) or 'none'}")
        child = self._children.pop(name)
        child.process.kill()
        child.process.wait()
        child.log.close()

    def _start_nodes(self, specs: list[dict[str, Any]]) -> list[str]:
        names = []
        for spec in specs:
            name = spec.get("name") or self._new_name()
            before = self._children.get(name)
            if before is not None and before.process.poll() is not None:   # it has left by itself
                before.log.close()
            elif before is not None:
                raise ConfigError(f"two nodes are named {quoted(name)}; every node needs a name of its own")
            names.append(name)
            arguments = ["--coordinator", self.address, f"--name={name}", "--host", "127.0.0.1", *node_arguments(spec)]
            arguments += ["--unencrypted-values"] if self._unencrypted_values else []
            self._spawn(name, "handoff.node", arguments, [])
        self._wait_for(names)
        return names

    def _new_name(self) -> str:
        while True:
            self._number += 1
            if f"node-{self._number}" not in self._children:
                return f"node-{self._number}"

    def _wait_for(self, names: list[str]) -> None:
        deadline = time.monotonic() + START_SECONDS
        self._check_children()
        try:
            watcher = self.own_client()._core
        except HandoffError:   # where the coordinator ends as it starts, what it says is the reason
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._children["coordinator"].process.wait(ENDING_SECONDS)
            self._check_children()
            raise
        missing = names
        while True:
            self._check_children(*names)
            with contextlib.suppress(TimeoutError):
                present = {node["name"] for node in watcher.ask("nodes").result(POLL_SECONDS_MAX)}
                missing = [name for name in names if name not in present]
            if not missing:
                return
            if time.monotonic() > deadline:
                said = "".join(self._children[name].tail() for name in ("coordinator", missing[0]))
                raise ConnectionLost(f"nodes {', '.join(missing)} did not join within {START_SECONDS:g} s{said}")
            time.sleep(POLL_SECONDS)

    # ── processes ────────────────────────────────────────────────────────────

    def _spawn(self, name: str, module: str, arguments: list[str], inherited: list[int]) -> None:
        reading, writing = os.pipe()
        try:
            os.write(writing, self._secret.text.encode())
            os.close(writing)
            log = _log_file()
            process = subprocess.Popen(
                [
                    sys.executable, "-P", "-m", module, *arguments, "--log-level", self._log_level,
                    "--secret-fd", str(reading), "--lifeline-fd", str(self._lifeline),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(),
                pass_fds=[reading, self._lifeline, *inherited], start_new_session=True,
            )
        finally:
            os.close(reading)
        self._children[name] = _Child(name, process, log)

    def _check_children(self, *names: str) -> None:
        """Nodes that ended at another time are no hindrance; those that are starting, and the coordinator, are."""
        for child in (self._children["coordinator"], *(self._children[name] for name in names)):
            status = child.process.poll()
            if status is not None:
                raise ConnectionLost(f"{child.name} of the local cluster ended with {_ending(status)} as it started{child.tail()}")

    def close(self) -> None:
        """End all processes; none is left when this returns."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if self._owner != os.getpid():  # a forked child: the processes belong to its parent
            return
        if self._watcher is not None:
            self._watcher.close()
        children = list(self._children.values())
        for child in children:
            child.process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            child.log.close()
        self._children.clear()
        self._let_go()

    def _let_go(self) -> None:
        for descriptor in (self._held, self._lifeline):
            with contextlib.suppress(OSError):
                os.close(descriptor)
        _clusters.discard(self)

    def __del__(self) -> None:
        if getattr(self, "_held", None) is not None and not self._closed:
            self.close()


class _Child:
    """One process and what it said."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.name, self.process, self.log = name, process, log

    def tail(self) -> str:
        """The end of its log, for an error."""
        self.log.flush()
        size = os.fstat(self.log.fileno()).st_size
        text = os.pread(self.log.fileno(), LOG_BYTES, max(0, size - LOG_BYTES)).decode(errors="replace").strip()
        return f":\n{text}" if text else ""


def _log_file() -> IO[bytes]:
    """For what a process says, as long as it lives: on disk, or in memory where nothing may be written, as in a read-only container."""
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        if error.errno in NO_FILES or not hasattr(os, "memfd_create"):
            raise
        return os.fdopen(os.memfd_create("handoff-log", os.MFD_CLOEXEC), "w+b")


def _settings() -> Settings:
    """Those that the processes read, too, for its clients."""
    from handoff.config import load_settings  # here, as the client is: a process is starting meanwhile

    return load_settings()


def _environment() -> dict[str, str]:
    """This process's, with the paths where its modules are found and without secrets."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HANDOFF_SECRET")}
    ours = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [ours, environment.get("PYTHONPATH", "")]))
    environment["HANDOFF_SYS_PATH"] = os.pathsep.join(each for path in sys.path for each in ([path] if path else working_directory()))
    return environment


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


_clusters: weakref.WeakSet[LocalCluster] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child: let go of the lifelines, or they would outlive the parent."""
    for cluster in list(_clusters):
        cluster._let_go()


os.register_at_fork(after_in_child=_after_fork)
