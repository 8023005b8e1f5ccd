"""Where memory ran out on a node, or may have, the error says how much it has, what of that results hold, and what helps."""

from __future__ import annotations

import os
import signal

import pytest
from witness import cluster_with

import handoff
from handoff import errors


def killed() -> None:
    """As the kernel does it."""
    os.kill(os.getpid(), signal.SIGKILL)


def short() -> None:
    """As Python says it."""
    raise MemoryError("no room for this")


def test_an_error_names_the_memory_of_its_node() -> None:
    """Of a function that was killed, and of one that asked for more than it got; three results lie there meanwhile."""
    with cluster_with(1, cpus=1, memory=900) as cluster, cluster.client() as client:
        dag = handoff.DAG()
        for number in range(3):
            dag.call(bytes, 20_000_000, id=number)
        held = client.execute(dag)
        for code, words in ((killed, "'killed'.*killed its worker on node 'node-1'.*SIGKILL"), (short, "'short'.*no room for this")):
            with pytest.raises(errors.FunctionFailed, match=words) as caught:
                client.submit(code, max_retries=0).result()
            said = str(caught.value)
            assert "this node offers 900 MB of memory, and 3 results hold 60 MB of it" in said and "add nodes" in said
        assert len(held.results) == 3
