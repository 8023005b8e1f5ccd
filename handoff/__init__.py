"""Handoff: graphs of Python functions, run across machines.

    dag = handoff.DAG()
    photo = dag.call(load, path, cost={"memory": 500})
    small = dag.call(resize, photo, 800, 600, id="small")
    handoff.execute(dag).results["small"]

Importing this starts nothing and loads no network code; that comes with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from handoff import errors
from handoff.graph.dag import DAG
from handoff.graph.function import Argument, Function, collocated, near
from handoff.graph.options import function
from handoff.graph.references import Reference
from handoff.version import VERSION as __version__

if TYPE_CHECKING:
    from handoff import aio
    from handoff.client.client import Client
    from handoff.client.connect import connect
    from handoff.client.nodes import NodeInfo
    from handoff.client.planning.plan import Plan
    from handoff.client.result import RunResult, RunStatus, TaskRecord
    from handoff.client.run import Run
    from handoff.client.story.report import RunReport
    from handoff.embedded import execute, plan, submit
    from handoff.local import LocalCluster
    from handoff.local_run import execute_local
    from handoff.node.current import current_task

__all__ = [
    "DAG", "Argument", "Client", "Function", "LocalCluster", "NodeInfo", "Plan", "Reference", "Run", "RunReport", "RunResult", "RunStatus",
    "TaskRecord", "__version__", "aio", "collocated", "connect", "current_task", "errors", "execute", "execute_local", "function", "near",
    "plan", "submit",
]

_LATER = {
    "Client": "handoff.client.client",
    "LocalCluster": "handoff.local",
    "NodeInfo": "handoff.client.nodes",
    "Plan": "handoff.client.planning.plan",
    "Run": "handoff.client.run",
    "RunReport": "handoff.client.story.report",
    "RunResult": "handoff.client.result",
    "RunStatus": "handoff.client.result",
    "TaskRecord": "handoff.client.result",
    "connect": "handoff.client.connect",
    "current_task": "handoff.node.current",
    "execute": "handoff.embedded",
    "execute_local": "handoff.local_run",
    "plan": "handoff.embedded",
    "submit": "handoff.embedded",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "aio":
        return import_module("handoff.aio")
    if name not in _LATER:
        from handoff.graph.elsewhere import no_attribute

        raise no_attribute(import_module("handoff"), "module 'handoff'", name)
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
