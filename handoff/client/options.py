"""What is said of a whole run: refused here when it makes no sense, before anything is sent."""

from __future__ import annotations

from typing import Any

from handoff.errors import ConfigError
from handoff.messages import WEIGHT_MAX, WEIGHT_MIN

CONCURRENCY_MAX = 2**31     # more functions at once than any cluster runs


def check_concurrency(said: Any) -> None:
    """Raise ConfigError for what is no number of functions."""
    if said is not None and not (isinstance(said, int) and not isinstance(said, bool) and 1 <= said <= CONCURRENCY_MAX):
        raise ConfigError(f"max_concurrency={said!r}: how many functions may run at once, 1 or more, or None for as many as fit")


def check_run(max_concurrency: Any, timeout: Any, weight: Any, **switches: Any) -> None:
    """Raise ConfigError for the first that makes no sense; `switches` are True or False."""
    check_concurrency(max_concurrency)
    if timeout is not None and not (_is_number(timeout) and timeout > 0):
        raise ConfigError(f"timeout={timeout!r}: the seconds that the run may take, more than 0, or None for no limit")
    if not (_is_number(weight) and weight > 0):
        raise ConfigError(f"weight={weight!r}: the run's share of the cluster beside other runs, a number above 0; 1 is usual")
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise ConfigError(f"weight={weight!r} is absurd; a run's share beside others is from {WEIGHT_MIN:g} to {WEIGHT_MAX:g}, 1 is usual")
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ConfigError(f"{name}={value!r} is neither True nor False")


def check_drain(seconds: Any) -> None:
    """Raise ConfigError for what is no time to drain within."""
    if seconds is not None and not (_is_number(seconds) and seconds > 0):
        raise ConfigError(f"seconds={seconds!r}: the seconds within which the node leaves, above 0, or None for the default")


def _is_number(said: Any) -> bool:
    """Whether it is one that has a float; of NaN no comparison holds."""
    if isinstance(said, bool) or not isinstance(said, (int, float)):
        return False
    return isinstance(said, float) or abs(said) <= 2**1023
