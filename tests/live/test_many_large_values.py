"""More large values on a node than it may have open files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from daemons import environment

FILES, VALUES = 256, 700

PROGRAM = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
import handoff
from handoff import DAG, Function

def make(number):
    return bytes([number % 251]) * 70_000

def check(*parts):
    return all(part == bytes([number % 251]) * 70_000 for number, part in enumerate(parts)), len(parts)

dag = DAG()
for number in range({VALUES}):
    dag.add(Function(id=number, code=make, extra_args=[number]))
for node in ("a", "b"):
    dag.add(Function(id=node, code=check, args=list(range({VALUES})), node=node))
with handoff.LocalCluster([{{"name": name, "cpus": 1, "memory": 1000}} for name in ("a", "b")]) as cluster, cluster.client() as client:
    print(dict(client.execute(dag, returns=["a", "b"], max_retries=0, timeout=40).results))
    print(client.execute(dag, max_retries=0, timeout=40).results["a"])
"""


def test_a_node_goes_on_when_values_outnumber_descriptors(tmp_path: Path) -> None:
    """They are made, moved, read and collected whole, without a retry; no worker is lost and no link breaks for good."""
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    ran = subprocess.run(
        [sys.executable, str(script)], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )
    whole = (True, VALUES)
    assert (ran.returncode, ran.stdout.splitlines()) == (0, [repr({"a": whole, "b": whole}), repr(whole)]), ran.stderr
