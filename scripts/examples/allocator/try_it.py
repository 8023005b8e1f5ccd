"""Runs a small graph with the allocator of `fewest_bytes.py` on node processes here, then compares it on paper with those that ship."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# The coordinator, a process of its own, is to find it, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))

from fewest_bytes import FewestBytes

from handoff import DAG, Function, LocalCluster
from handoff.scheduler.first_fit import FirstFit
from handoff.scheduler.greedy import Greedy
from handoff.scheduler.simulate.bounds import lower_bound
from handoff.scheduler.simulate.cluster import ClusterSpec, node
from handoff.scheduler.simulate.simulator import Simulator
from handoff.scheduler.simulate.workload import workflow

LANES, STEPS = 3, 4


def load(megabytes: int) -> bytes:
    """A large value."""
    return bytes(megabytes * 1_000_000)


def refine(value: bytes) -> bytes:
    """As large as its input."""
    return value


def really() -> tuple[int, int]:
    """Nodes that each lane of the graph used at most, and bytes moved."""
    dag = DAG()
    for lane in range(LANES):
        dag.add(Function((lane, 0), code=load, extra_args=[5]))
        for step in range(1, STEPS):
            dag.add(Function((lane, step), [(lane, step - 1)], code=refine))
        dag.add(Function((lane, "size"), [(lane, STEPS - 1)], code=len))
    with LocalCluster(nodes=3, cpus=1, allocator="fewest_bytes:FewestBytes") as cluster, cluster.client() as client:
        result = client.execute(dag, returns=[(lane, "size") for lane in range(LANES)])
    used = [len({str(where) for (of, _), where in result.allocations.items() if of == lane}) for lane in range(LANES)]
    return max(used), result.bytes_moved


def on_paper() -> dict[str, float]:
    """Makespan over lower bound of each allocator, on a slow network."""
    tasks = []
    for lane in range(12):
        for step in range(6):
            tasks.append({"id": len(tasks), "fn": f"step {step}", "runtime_s": 1.0 + 0.3 * (lane % 3), "cpus": 1, "memory_mb": 100,
                          "inputs": [len(tasks) - 1] if step else [], "output_bytes": 50_000_000})
    work = workflow(tasks)
    cluster = ClusterSpec(tuple(node(f"node-{number}", {"cpu": 2, "memory": 8000}) for number in range(4)), bandwidth=50e6)
    bound = lower_bound(work, cluster)
    allocators = (FewestBytes(), FirstFit(), Greedy())
    return {type(each).__name__: Simulator(cluster, each).run(work).runs[0].makespan / bound for each in allocators}


if __name__ == "__main__":
    nodes, moved = really()
    print(f"really: no lane used more than {nodes} node{'s' if nodes > 1 else ''}; {moved} bytes moved between nodes")
    for name, ratio in on_paper().items():
        print(f"on paper: {name:12} {ratio:.2f} x lower bound")
