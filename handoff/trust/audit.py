"""Coordinator and node daemon carry pickles and never open them: a hook of the interpreter makes that a fact instead of a habit."""

from __future__ import annotations

import sys


class UnpicklingForbidden(RuntimeError):
    """Something in a daemon tried to unpickle what a peer sent."""


def forbid_unpickling() -> None:
    """From now on, in this process and for good, no pickle can name a class or function: loading one that does raises.

    Pickles of plain containers and numbers name nothing and stay harmless. The hook can't be removed; daemons install it first of all.
    """
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    if event == "pickle.find_class":
        raise UnpicklingForbidden(f"this process may not unpickle, and something tried to load {arguments[0]}.{arguments[1]}")
