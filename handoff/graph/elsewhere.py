"""What Dask, Ray and the original Handoff call things: for who tries such a name here, the error says what is written instead.

Of the module and of clients; graphs and references are used so often that a hook for attributes which are not there would be felt.
"""

from __future__ import annotations

from collections.abc import Set
from inspect import Parameter, signature
from typing import Any

_NODES = "client.nodes() tells which nodes are there, what they have, and what of it is free"
_START = 'handoff.connect("host:port") makes a client of a cluster, handoff.LocalCluster() a cluster on this machine'
_VALUES = "future.result() is a value, [future.result() for future in futures] are several, client.map(function, items) gives values"
_WAIT = "concurrent.futures.as_completed(futures) and .wait(futures) take what client.submit returns; run.as_completed() is for graphs"
_ACTOR = ("there are no actors; a worker process keeps what functions leave in its globals, so functools.cache on what loads a model keeps "
          "it, and node=NAME keeps calls on one node")
_RUN = "handoff.execute(dag) runs a graph on this machine, client.execute(dag) on a cluster, and client.start(dag) goes on meanwhile"
_LARGE = "a value that many calls take is the result of a function of the graph, or the same argument of several: nodes hand it on"

INSTEAD = {
    "remote": "client.submit(function, ...) runs a function, @handoff.function(cost={...}) says what it needs",
    "delayed": "dag = handoff.DAG(), then dag.call(function, ...) for each call, then handoff.execute(dag)",
    "get": _VALUES, "gather": _VALUES, "put": _LARGE, "scatter": _LARGE, "wait": _WAIT, "as_completed": _WAIT,
    "compute": _RUN, "persist": _RUN, "execute": _RUN, "run": _RUN, "start": _START, "init": _START,
    "actor": _ACTOR, "get_actor": _ACTOR, "Actor": _ACTOR,
    "shutdown": "client.close() leaves a cluster, cluster.close() ends a LocalCluster; daemons end with SIGTERM",
    "scheduler_info": _NODES, "ncores": _NODES, "cluster_resources": _NODES, "available_resources": _NODES, "discover_nodes": _NODES,
    "upload_file": "functions of a script travel; of a module, install it on the nodes, or cloudpickle.register_pickle_by_value(module)",
    "register_local_node": "handoff-node --resource NAME=AMOUNT, on each machine",
}

_AS_COST = 'cost={"cpu": 2, "gpu": 1, "memory": "2 GiB"} says what it needs'
_OF_RUNS = "that is an option of client.start(dag) and client.execute(dag)"
OPTIONS = {
    "num_cpus": _AS_COST, "num_gpus": _AS_COST, "resources": _AS_COST, "retries": "max_retries=3 says how often it is tried again",
    "workers": 'node="name", or where={"label": "value"}, says where it runs', "num_returns": "it returns one value, perhaps a tuple",
    "detach": _OF_RUNS, "wait_for_nodes": _OF_RUNS, "max_concurrency": _OF_RUNS,
}


def no_attribute(of: object, called: str, name: str) -> AttributeError:
    """The error for a name that is not there, with what is written instead where that is known."""
    instead = INSTEAD.get(name)
    return AttributeError(f"{called} has no attribute {name!r}{f'; {instead}' if instead else ''}", name=name, obj=of)


def instead_of(names: Any) -> str:
    """The end of a sentence about options that are not known: what is written instead of the first that others have."""
    return next((f"; {OPTIONS[name]}" for name in sorted(names) if name in OPTIONS), "")


def refused(function: Any, keywords: Set[str]) -> str:
    """What is wrong with these keywords, one of which is an option elsewhere; empty where the function takes them all."""
    try:
        parameters = signature(function, follow_wrapped=False).parameters.values()   # what is wrapped may be called with fewer
    except (TypeError, ValueError):   # written in C, without a signature
        return ""
    if any(each.kind is Parameter.VAR_KEYWORD for each in parameters):
        return ""
    unknown = keywords - {each.name for each in parameters}
    return f"it does not take {', '.join(sorted(unknown))}{instead_of(unknown)}" if instead_of(unknown) else ""
