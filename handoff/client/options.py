"""What is said of a whole run: refused here when it makes no sense, before anything is sent."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from math import isnan
from numbers import Integral, Real
from typing import Any

from handoff.errors import ConfigError
from handoff.ids import RunId
from handoff.messages import WEIGHT_MAX, WEIGHT_MIN
from handoff.program import Flag, Kind
from handoff.quoting import quoted

RUNS_MAX = 2**63            # no coordinator ever counts so far
CONCURRENCY_MAX = 2**31     # more functions at once than any cluster runs


def check_concurrency(said: Any) -> None:
    """Raise ConfigError for what is no number of functions."""
    if said is not None and not (isinstance(said, Integral) and not isinstance(said, bool) and 1 <= int(said) <= CONCURRENCY_MAX):
        raise ConfigError(f"max_concurrency={quoted(said)}: how many functions may run at once, 1 or more, or None for as many as fit")


def check_run(max_concurrency: Any, timeout: Any, weight: Any, **switches: Any) -> None:
    """Raise ConfigError for the first that makes no sense; `switches` are True or False."""
    check_concurrency(max_concurrency)
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        raise ConfigError(f"timeout={quoted(timeout)}: the seconds that the run may take, more than 0, or None for no limit")
    if not (_is_number(weight) and weight > 0):
        raise ConfigError(f"weight={quoted(weight)}: the run's share of the cluster beside other runs, a number above 0; 1 is usual")
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise ConfigError(f"weight={quoted(weight)} is absurd; a run's share beside others is from {WEIGHT_MIN:g} to "
                          f"{WEIGHT_MAX:g}, 1 is usual")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name}={quoted(value)} is neither True nor False")


def warn_of_speculation(kinds: Sequence[Kind]) -> None:
    """A run may have only so many functions at once: say of those that may run twice that none does.

    A second attempt would be one more, and so would the one that lost until its end is heard; and nobody tells of that.
    """
    found = next((kind.name for kind in kinds if kind.flags & Flag.IDEMPOTENT and kind.max_retries), None)
    if found is not None:
        level, frame = 1, sys._getframe()
        while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("handoff."):   # the user's own line is shown
            level, frame = level + 1, frame.f_back
        warnings.warn(f"{found} says speculate=True, but in a run with max_concurrency nothing gets a second attempt", stacklevel=level)


def check_output(said: Any) -> None:
    """Raise ConfigError for what can't take what functions print."""
    if said is not None and not isinstance(said, bool) and not callable(said):
        raise ConfigError(f"output={quoted(said)}: a callable (function id, node, stream, text) that takes what is printed, False "
                          "for nobody, "
                          "or None to show it here")


def patience(said: Any) -> float | None:
    """The seconds to wait, as locks take them; ConfigError for what is none."""
    if said is None:
        return None
    if not _is_number(said) or isnan(said):
        raise ConfigError(f"timeout={quoted(said)}: the seconds to wait, or None to wait until it is over")
    return float(said)


def patience_above_zero(said: Any) -> float:
    """Likewise with the coordinator, for which nobody waits for ever."""
    if not (_is_number(said) and said > 0):
        raise ConfigError(f"timeout={quoted(said)}: the seconds to wait for a coordinator, more than 0")
    return float(said)


def run_number(said: Any) -> RunId:
    """The number of a run; ConfigError for what is none, which the coordinator would take for a broken connection."""
    if isinstance(said, bool) or not isinstance(said, int) or not 0 < said < RUNS_MAX:
        raise ConfigError(f"run {quoted(said)} is not the number of a run, such as run.id of a Run or of client.runs()")
    return RunId(said)


def check_drain(node: Any, seconds: Any) -> None:
    """Raise ConfigError for what is no node's name, or no time to drain within."""
    if not isinstance(node, str) or not node:
        raise ConfigError(f"node={quoted(node)} is not the name of a node; client.nodes() tells them")
    if seconds is not None and not (_is_number(seconds) and seconds > 0):
        raise ConfigError(f"seconds={quoted(seconds)}: the seconds within which the node leaves, above 0, or None for the default")


def _is_number(said: Any) -> bool:
    """Whether it is one that has a float, also of numpy; of NaN no comparison holds."""
    if isinstance(said, bool) or not isinstance(said, Real):
        return False
    try:
        float(said)
    except OverflowError:
        return False
    return True
