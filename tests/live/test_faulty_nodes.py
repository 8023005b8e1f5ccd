"""A node whose Python ends each worker as it starts: the cluster says so instead of waiting, and goes on when it is mended."""

from __future__ import annotations

from pathlib import Path

import pytest
from witness import until

import handoff

SITE = """
import os, sys
if "handoff.node.child" in sys.orig_argv and os.path.exists({flag!r}):
    os.write(2, b"first line\\nno licence for this Python\\n")
    os._exit(3)
"""


def test_a_node_whose_workers_end_as_they_start_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is shown as faulty and gets nothing; a run says what it waits for, with the workers' last words; once mended, the node does it."""
    flag = tmp_path / "broken"
    flag.touch()
    (tmp_path / "sitecustomize.py").write_text(SITE.format(flag=str(flag)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with handoff.LocalCluster(nodes=1, cpus=1) as cluster, cluster.client() as client:
        future = client.submit(len, "abc")
        until(lambda: client.nodes()[0].state == "faulty")
        why = "node 'node-1': its workers end as they start: exited with status 3, after they wrote 'no licence for this Python'"
        until(lambda: why in client.runs()[0].waits_for, lambda: client.runs()[0].waits_for)

        flag.unlink()
        assert future.result() == 3
        assert client.nodes()[0].state == "ready"
        log = cluster._children["node-1"].tail()
        assert log.count("worker.stillborn") == log.count("workers.fail") == log.count("first line") == 1
