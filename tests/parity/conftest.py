"""Each behaviour is shown twice: on the embedded cluster, and on node daemons of several kinds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import handoff


class Place:
    """Where graphs run, and which nodes are there."""

    def __init__(self, client: handoff.Client | None, nodes: list[str], cluster: handoff.LocalCluster | None = None) -> None:
        self.client, self.nodes, self.cluster = client, nodes, cluster

    def execute(self, dag: handoff.DAG, **options: Any) -> handoff.RunResult:
        """As `handoff.execute` or as `Client.execute`."""
        return handoff.execute(dag, **options) if self.client is None else self.client.execute(dag, **options)

    def submit(self, function: Any, *args: Any, **options: Any) -> Any:
        """As `handoff.submit` or as `Client.submit`."""
        return handoff.submit(function, *args, **options) if self.client is None else self.client.submit(function, *args, **options)


@pytest.fixture(scope="session")
def daemons() -> Iterator[Place]:
    """Three nodes: two plain ones, and one with a GPU, a license and more memory."""
    nodes = [{"cpus": 2, "memory": 1000}, {"cpus": 2, "memory": 1000}, {"cpus": 4, "memory": 4000, "gpus": 1, "resources": {"license": 2}}]
    with handoff.LocalCluster(nodes) as cluster, cluster.client() as client:
        for node in cluster.node_names:  # every worker is warm before tests look at when functions run
            list(client.map(time.sleep, [0.1] * 4, node=node))
        yield Place(client, cluster.node_names, cluster)


@pytest.fixture(params=["embedded", "daemons"])
def place(request: pytest.FixtureRequest) -> Place:
    """Both, one after the other."""
    if request.param == "embedded":
        return Place(None, ["node-1"])
    found: Place = request.getfixturevalue("daemons")
    return found
