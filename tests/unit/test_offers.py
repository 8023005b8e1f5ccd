"""What a cluster on this machine is made of: nonsense is refused in one sentence before any process is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from handoff import LocalCluster
from handoff.errors import ConfigError
from handoff.node import probe
from handoff.node.probe import Detected
from handoff.offers import checked, coordinator_arguments, node_arguments, specs_of
from handoff.resources import amounts

MANY = "how many nodes, or a list of dicts with what each offers, such as [{'cpus': 2}]"
NONE_OF_IT = "nothing can run on none of it; say how much there is, or leave it out"
NO_RESOURCE = "can't be the name of a resource: it has no = in it, no space around it, and at most 1,000 characters"
NOT_LABELS = ('is not a dict from labels to their values, both strings, such as {"zone": "a"}; both can be printed, have no space around '
              "them and at most 1,000 characters, and no = in the label")


@pytest.mark.parametrize(("said", "text"), [
    ({"labels": 3}, f"labels=3 {NOT_LABELS}"),
    ({"labels": {"zone": 1}}, f"labels={{'zone': 1}} {NOT_LABELS}"),
    ({"labels": {"": "a"}}, f"labels={{'': 'a'}} {NOT_LABELS}"),
    ({"labels": {"a=b": "c"}}, f"labels={{'a=b': 'c'}} {NOT_LABELS}"),
    ({"cpus": 0}, f"cpus=0: {NONE_OF_IT}"),
    ({"cpus": -1}, "cpus=-1 is negative; an amount is zero or more"),
    ({"cpus": "two"}, "cpus='two' is not an amount; write a number"),
    ({"memory": 0}, f"memory=0: {NONE_OF_IT}"),
    ({"memory": "12 XB"}, "memory='12 XB' is not an amount; write a number or a size such as \"2 GiB\""),
    ({"gpus": 1.5}, "gpus=1.5: a node has whole GPUs, of which functions may ask for parts"),
    ({"resources": 3}, "resources=3 is not a dict from names to amounts, such as {\"license\": 2}"),
    ({"resources": {"license": 0}}, f"resources: license=0: {NONE_OF_IT}"),
    ({"resources": {"a b=c": 2}}, f"resources: 'a b=c' {NO_RESOURCE}"),
    ({"resources": {" license": 2}}, f"resources: ' license' {NO_RESOURCE}"),
    ({"shared": {"a=b": 2}}, f"shared: 'a=b' {NO_RESOURCE}"),
    ({"unencrypted_values": "yes"}, "unencrypted_values='yes' is neither True nor False"),
    ({"resources": {"license": float("nan")}}, "resources: license=nan is not a finite amount"),
    ({"resources": {"cluster:license": 2}}, "resources={'cluster:license': 2}: what the whole cluster shares is on no node; "
                                            "say LocalCluster(shared={'license': 2})"),
    ({"tracker": int}, "tracker=<class 'int'> is not \"MODULE:CLASS\" of a resource tracker, which the node imports"),
    ({"nodes": -1}, f"nodes=-1: {MANY}"),
    ({"nodes": 2.5}, f"nodes=2.5: {MANY}"),
    ({"nodes": "two"}, f"nodes='two': {MANY}"),
    ({"nodes": {"cpus": 2}}, f"nodes={{'cpus': 2}}: {MANY}"),
    ({"nodes": [2]}, f"nodes=[2]: {MANY}"),
    ({"nodes": 10**9}, "nodes=1000000000 is absurd; a cluster on one machine has at most 1,000, each of them a process"),
    ({"nodes": [{"cpu": 1}]}, "a node has no option 'cpu'; there are: name, cpus, memory, gpus, resources, labels, tracker"),
    ({"nodes": [{"name": ""}]}, "name='' is not the name of a node: 1 to 64 printable characters"),
    ({"nodes": [{"name": "coordinator"}]}, "name='coordinator' is taken by the coordinator of the cluster; call the node something else"),
    ({"nodes": [{"name": "a"}, {"name": "a"}]}, "two nodes are named 'a'; every node needs a name of its own"),
    ({"shared": {"license": 0}}, f"shared: license=0: {NONE_OF_IT}"),
    ({"shared": {"license": -1}}, "shared: license=-1 is negative; an amount is zero or more"),
    ({"shared": {"license": 1e300}}, "shared: license=1e+300 is absurd; at most 900,719,925,474 of anything can be counted"),
    ({"shared": 3}, "shared=3 is not a dict from names to amounts, such as {\"license\": 2}"),
    ({"allocator": int}, "allocator=<class 'int'> is neither the name of an allocator nor \"MODULE:CLASS\" of one, which the coordinator "
                         "imports"),
    ({"state": 3}, "state=3 is not the path of a directory"),
    ({"log_level": "loud"}, "log_level='loud' is not known; choose one of debug, info, warning, error"),
])
def test_a_cluster_that_makes_no_sense_is_refused(said: dict[str, Any], text: str) -> None:
    """One error each: what was said, and what to say instead."""
    with pytest.raises(ConfigError) as caught:
        LocalCluster(**said)
    assert str(caught.value) == text


def test_what_makes_sense_is_said_to_the_daemons() -> None:
    """Exact amounts; None says nothing; a node may offer none of its GPUs."""
    spec = checked({"name": "-x", "cpus": 0.5, "memory": "2 GB", "gpus": 0, "tracker": None, "resources": {"license": 2},
                    "labels": {"zone": "a=b"}})
    assert node_arguments(spec) == ["--cpus=0.5", "--memory=2 GB", "--gpus=0", "--resource=license=2", "--label=zone=a=b"]
    assert coordinator_arguments({"license": "0.5"}, "heft", None) == ["--resource=license=0.5", "--allocator=heft"]
    assert specs_of(0, {}) == []
    assert coordinator_arguments(None, None, "") == ["--state="] and coordinator_arguments(None, None, Path("/s")) == ["--state=/s"]


def test_this_machine_is_shared_out_among_those_that_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores and memory evenly, and no GPUs, unless a kind is said."""
    monkeypatch.setattr(probe, "detect", lambda: Detected(amounts({"cpu": 7, "memory": 1000, "gpu": 2}), ()))
    plain, kinds = specs_of([{"name": "a"}, {"cpus": 5, "resources": {"gpu:a100": 1}}], {})
    assert plain == {"name": "a", "cpus": 3, "memory": 500, "gpus": 0}
    assert kinds == {"cpus": 5, "memory": 500, "resources": {"gpu:a100": 1}}


@pytest.mark.parametrize(("option", "value"), [
    ("labels", {"zone": "\ud800"}), ("labels", {"zo\nne": "a"}), ("labels", {"zone": "a" * 200_000}), ("tracker", "module:\ud800"),
    ("resources", {"r" * 200_000: 1}),
])
def test_what_no_process_can_be_started_with_is_refused(option: str, value: Any) -> None:
    """It was an error of the system, or of an encoder, when the node was started."""
    with pytest.raises(ConfigError, match=option):
        checked({option: value})
    assert node_arguments(checked({"labels": {"zone": "é b", "x": ""}})) == ["--label=zone=é b", "--label=x="]
