"""What both daemons do around their work: common options, logs, secret, signals, orphans, and the end when their parent is gone."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn, Protocol

from handoff.config import load_settings
from handoff.errors import ConfigError, HandoffError
from handoff.files import working_directory
from handoff.log import FORMATS, LEVELS, configure, log
from handoff.loop import run
from handoff.settings import Settings
from handoff.trust import secret as secrets
from handoff.trust.audit import forbid_unpickling
from handoff.trust.secret import Secret
from handoff.version import VERSION

OK, USAGE, UNREACHABLE, INTERRUPTED = 0, 2, 3, 130   # exit statuses, the same for all of Handoff's commands; 1: a run failed
YOUNG_MAX = 20_000                    # new objects between two looks for garbage in circles; Python's 700 are one turn of a daemon
TIDY_SECONDS = 2.0                    # so often it is looked whether there is memory to give back: after so much processor time, ...
WORTH_SECONDS = 0.1
QUIET = 0.02                          # ... and when no more than this part of a core is used any more
STOP_SECONDS_MAX = 5.0                # a daemon whose parent is gone, or that was told to stop, ends at the latest after this long
PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)   # to who goes on in the place of process 1


class Service(Protocol):
    """A daemon, as seen from here."""

    async def start(self) -> None:
        """Ready when this returns."""

    async def wait(self) -> None:
        """Until it is stopped."""

    def drain(self) -> bool:
        """Begin to leave in order, which ends `wait`; False: there is no reason not to stop at once."""

    def stop(self) -> None:
        """End `wait`."""


class Parser(argparse.ArgumentParser):
    """One line for a mistake, and the exit status of all Handoff's commands for it."""

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def named_in_module(text: str) -> Any:
    """What "MODULE:NAME" means, with modules found as the user's own programs find them. Raises whatever that import raises."""
    module, _, name = text.partition(":")
    before = list(sys.path)
    sys.path[:0] = [*working_directory(), *filter(None, os.environ.get("HANDOFF_SYS_PATH", "").split(os.pathsep))]
    try:
        return getattr(importlib.import_module(module), name)
    finally:
        sys.path[:] = before


def parser(prog: str, description: str, example: str) -> Parser:
    """A parser with the options that both daemons have."""
    made = Parser(
        prog=prog, description=description, epilog=example, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    made.add_argument("--version", action="version", version=f"handoff {VERSION}")
    made.add_argument("--secret-file", metavar="PATH", help="the cluster's secret (default: ~/.config/handoff/secret)")
    made.add_argument("--log-format", choices=FORMATS, default="text", help="text for people, json for machines (default: text)")
    made.add_argument("--log-level", choices=LEVELS, default="info", help="the least important events to show (default: info)")
    made.add_argument(
        "--set", dest="settings", metavar="SECTION.NAME=VALUE", type=setting, action="append", default=[],
        help="change one setting, such as node.batch_max=128; handoff.toml and the environment can, too",
    )
    made.add_argument("--secret-fd", type=int, help=argparse.SUPPRESS)     # a throwaway secret, from an inherited pipe
    made.add_argument("--lifeline-fd", type=int, help=argparse.SUPPRESS)   # a pipe whose end means that the parent is gone
    return made


def setting(text: str) -> tuple[str, str]:
    """NAME=VALUE, as two."""
    name, separator, value = text.partition("=")
    if not separator or not name.strip():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name.strip(), value.strip()


def step_aside() -> None:
    """In process 1 of a container: return in a child, and stay behind as its init, until it ends. Elsewhere it does nothing.

    Process 1 inherits what functions leave behind or detach: unless it waits for them, their remains pile up until no more processes can be
    started. And no signal ends it by default, such as a second SIGTERM. Said first of all: threads would not be in the child.
    """
    if os.getpid() != 1:
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (*PASSED_ON, signal.SIGCHLD))   # those that come while blocked wait for us
    child = os.fork()
    if child == 0:
        os.setsid()   # else Ctrl-C in a terminal would come twice: to both of us, and from us
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while (status := _reaped(child)) is None:   # first of all those that ended before anybody told us
        number = signal.sigwait((*PASSED_ON, signal.SIGCHLD))
        if number != signal.SIGCHLD:
            os.kill(child, number)   # it has not been waited for, so the number is its own
    os._exit(status if status >= 0 else 128 - status)


def _reaped(child: int) -> int | None:
    """Wait for all that has ended; the exit status of the child, as of `subprocess`, if it is among them."""
    found = None
    with contextlib.suppress(ChildProcessError):   # none is left
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == child:
                found = os.waitstatus_to_exitcode(ended[1])
    return found


def serve(options: argparse.Namespace, make: Callable[[Settings, Secret], Service], *, create_secret: bool = False) -> int:
    """Run a daemon until it is told to stop; the exit status. What goes wrong is one line on stderr."""
    forbid_unpickling()
    try:
        configure(options.log_format, options.log_level)
        settings = load_settings(dict(options.settings))
        if options.secret_fd is not None:
            secret = secrets.read_fd(options.secret_fd)
        else:
            secret = secrets.find(options.secret_file, create=create_secret)
        return run(_serve(lambda: make(settings, secret), options.lifeline_fd))
    except ConfigError as error:
        return _failed(error, USAGE)
    except HandoffError as error:
        return _failed(error, UNREACHABLE)
    except KeyboardInterrupt:   # before the handlers were there
        return INTERRUPTED


async def _serve(make: Callable[[], Service], lifeline: int | None) -> int:
    """Start, wait, stop: SIGTERM once to leave in order, once more to stop; SIGINT to stop; then either to end now."""
    loop, status = asyncio.get_running_loop(), OK
    service = make()
    starting: asyncio.Task[Any] = loop.create_task(service.start())

    def stop(reason: str, then: int) -> None:
        nonlocal status
        status = then
        log.info("service.stopping", reason=reason)
        loop.call_later(STOP_SECONDS_MAX, os._exit, then)
        if starting.done():   # perhaps only just now, before `wait` was reached: `stop` holds for it, too
            service.stop()
        else:
            starting.cancel()

    def terminated() -> None:
        if starting.done() and lifeline is None and service.drain():   # an embedded cluster's daemons have nobody to leave to
            log.info("service.draining", reason="SIGTERM", note="once more to stop at once")
            loop.add_signal_handler(signal.SIGTERM, interrupted, signal.SIGTERM, OK)
        else:
            interrupted(signal.SIGTERM, OK)

    def interrupted(number: signal.Signals, then: int) -> None:
        loop.remove_signal_handler(number)   # the next one has its ordinary effect: it ends the process
        signal.signal(number, signal.SIG_DFL)
        stop(number.name, then)

    def parent_is_gone(fd: int) -> None:
        if not os.read(fd, 4096):
            loop.remove_reader(fd)
            stop("the process that started this one is gone", OK)

    loop.add_signal_handler(signal.SIGTERM, terminated)
    if lifeline is None:
        loop.add_signal_handler(signal.SIGINT, interrupted, signal.SIGINT, INTERRUPTED)
    else:
        # Ctrl-C in a terminal reaches a whole process group. What becomes of an embedded cluster is its parent's to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.set_blocking(lifeline, False)
        loop.add_reader(lifeline, parent_is_gone, lifeline)
    try:
        await starting   # its first step is taken here, after the handlers are there
    except asyncio.CancelledError:
        return status
    gc.freeze()   # what is loaded now stays: no collection need look at it
    gc.set_threshold(YOUNG_MAX)
    tidying = loop.create_task(_tidy())
    await service.wait()
    tidying.cancel()
    return status


async def _tidy() -> None:
    """When there was much to do, and now there is little: what was freed goes back to the system. The C library would keep most of it."""
    spent = tidied = time.process_time()
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        before, spent = spent, time.process_time()
        if spent - before <= QUIET * TIDY_SECONDS and before - tidied >= WORTH_SECONDS:
            gc.collect()
            with ThreadPoolExecutor(1, "handoff-tidy") as one:   # a thread that is gone afterwards, with its memory
                await asyncio.get_running_loop().run_in_executor(one, give_back_memory)
            tidied = spent = time.process_time()


def give_back_memory() -> None:
    """Return the free pages of the heap to the system, where the C library can. A daemon without much to do never loads ctypes."""
    import ctypes

    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _failed(error: HandoffError, status: int) -> int:
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return status
