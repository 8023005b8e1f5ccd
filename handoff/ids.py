"""Names of things: small integers that are given once and never reused."""

from __future__ import annotations

from typing import NewType

PeerId = NewType("PeerId", int)      # whoever joined: a node or a client; given by the coordinator
RunId = NewType("RunId", int)        # one execution of a DAG; given by the coordinator
WorkerId = NewType("WorkerId", int)  # a worker process; given by its node

# Inside a run a task is its plain position, an int: columns of tasks are arrays of machine integers.

COORDINATOR = PeerId(0)
NO_RUN = RunId(0)                    # runs count from 1
NOBODY = PeerId(0xFFFFFFFF)          # in columns of peers: not known yet

NODE_NAME_MAX = 64                   # characters


def is_node_name(text: str) -> bool:
    """Whether a node can be called so."""
    return 0 < len(text) <= NODE_NAME_MAX and text.isprintable()
