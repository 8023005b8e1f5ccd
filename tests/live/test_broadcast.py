"""A large value that all nodes take does not come from its maker to all of them."""

from __future__ import annotations

from typing import Any

from witness import PATIENCE_SECONDS, until

import handoff
from handoff import DAG, Function
from handoff.client.client import Client

MIB = 1 << 20
NBYTES = 48 * MIB


def flows(client: Client) -> dict[str, set[str]]:
    """Per node, from where large values came to it, as the nodes measured it and told with their heartbeats."""
    links: dict[str, Any] = client._core.ask("outlook").result(PATIENCE_SECONDS)["links"]
    found: dict[str, set[str]] = {}
    for source, target, _ in links["pairs"]:
        found.setdefault(target, set()).add(source)
    return found


def test_a_value_spreads_from_node_to_node() -> None:
    """Of four nodes that look at what the first one made, two get it from there, and the others from one of these two."""
    dag = DAG()
    dag.add(Function("made", code=bytes, extra_args=[NBYTES], node="a"))
    for name in "bcde":
        dag.add(Function(name, code=len, args=["made"], node=name))
    nodes = [{"name": name, "cpus": 1, "memory": 1000} for name in "abcde"]
    with handoff.LocalCluster(nodes) as cluster, cluster.client() as client:
        assert dict(client.execute(dag, returns=list("bcde"), timeout=60).results) == dict.fromkeys("bcde", NBYTES)
        until(lambda: len(flows(client)) == 4, lambda: str(flows(client)))
        found = flows(client)

    assert all(len(sources) == 1 for sources in found.values())
    from_maker = {target for target, sources in found.items() if sources == {"a"}}
    assert len(from_maker) == 2 and set().union(*(found[target] for target in "bcde" if target not in from_maker)) <= from_maker
