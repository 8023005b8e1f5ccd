"""Recorded workflows become graphs, whichever of their forms they come in."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from handoff.client.lower import lower
from handoff.errors import ConfigError, FileError, InvalidDAG
from handoff.graph.dag import DAG
from handoff.graph.function import Function, name_of

MB = 1_000_000


def old(**changes: Any) -> dict[str, Any]:
    """1.4: parents by name; b reads one of the two files of a."""
    a = {"name": "split_ID01", "id": "ID01", "parents": [], "children": ["merge_ID02"], "runtimeInSeconds": 4.0, "cores": 2,
         "memoryInBytes": 500 * MB, "files": [
             {"name": "in", "link": "input", "sizeInBytes": 7}, {"name": "x", "link": "output", "sizeInBytes": 3000},
             {"name": "log", "link": "output", "sizeInBytes": 50}]}
    b = {"name": "merge_ID02", "id": "ID02", "parents": ["split_ID01"], "runtimeInSeconds": 1.5,
         "files": [{"name": "x", "link": "input", "sizeInBytes": 3000}, {"name": "end", "link": "output", "sizeInBytes": 9}]}
    a.update(changes.get("a", {}))
    b.update(changes.get("b", {}))
    return {"name": "old", "schemaVersion": "1.4", "workflow": {"makespanInSeconds": 6, "executedAt": "", "tasks": [b, a]}}


def oldest() -> dict[str, Any]:
    """1.3: other names for seconds, bytes and memory, which is in KB."""
    data = old()
    for task in data["workflow"]["tasks"]:
        task["runtime"] = task.pop("runtimeInSeconds")
        if "memoryInBytes" in task:
            task["memory"] = task.pop("memoryInBytes") // 1000
        for file in task["files"]:
            file["size"] = file.pop("sizeInBytes")
    data["workflow"]["jobs"] = data["workflow"].pop("tasks")
    return data


def new(**changes: Any) -> dict[str, Any]:
    """1.5: specification and execution apart, files by id."""
    tasks = [
        {"name": "merge", "id": "t2", "parents": ["t1"], "children": [], "inputFiles": ["x"], "outputFiles": ["end"]},
        {"name": "split", "id": "t1", "parents": [], "children": ["t2"], "inputFiles": ["in"], "outputFiles": ["x", "log"]},
    ]
    files = [{"id": name, "sizeInBytes": size} for name, size in (("in", 7), ("x", 3000), ("log", 50), ("end", 9))]
    ran = [{"id": "t1", "runtimeInSeconds": 4.0, "coreCount": 2, "memoryInBytes": 500 * MB, "command": {"program": "/bin/split"}},
           {"id": "t2", "runtimeInSeconds": 1.5}]
    specification = {"tasks": changes.get("tasks", tasks), "files": changes.get("files", files)}
    return {"name": "new", "schemaVersion": "1.5", "workflow": {"specification": specification, "execution": {
        "makespanInSeconds": 6, "executedAt": "", "tasks": changes.get("ran", ran)}}}


def ours() -> dict[str, Any]:
    """The small form."""
    return {"format": 1, "name": "ours", "tasks": [
        {"id": 0, "fn": "split", "runtime_s": 4.0, "cpus": 2, "memory_mb": 500, "inputs": [], "output_bytes": 3000},
        {"id": 1, "fn": "merge", "runtime_s": 1.5, "cpus": 1, "memory_mb": 0, "inputs": [0], "output_bytes": 0}]}


def read(tmp_path: Path, data: Any, **options: Any) -> DAG:
    """Through a file."""
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(data))
    return DAG.from_wfformat(path, **options)


@pytest.mark.parametrize("data", [old(), oldest(), new(), ours()], ids=["1.4", "1.3", "1.5", "ours"])
def test_each_form_says_the_same(tmp_path: Path, data: dict[str, Any]) -> None:
    """Two functions, the first before the second, with their seconds, cores, memory, and the bytes that somebody reads."""
    dag = read(tmp_path, data)
    first, second = dag
    assert dag.id == data["name"]
    assert (first.args, second.args) == ([], [first.id])
    assert [name_of(each.code) for each in dag] == ["split", "merge"]
    assert (first.expected_seconds, first.expected_bytes, first.cost) == (4.0, 3000.0, {"cpu": 2, "memory": 500})
    assert (second.expected_seconds, second.expected_bytes, second.cost) == (1.5, 0.0, {"cpu": 1, "memory": 0})


def test_scales_multiply_seconds_and_bytes(tmp_path: Path) -> None:
    """Also what the functions really do."""
    dag = read(tmp_path, new(), scale=0.001, byte_scale=0.5)
    first, _ = dag
    assert (first.expected_seconds, first.expected_bytes) == (0.004, 1500.0)
    assert first.code is not None
    assert len(first.code([], *first.extra_args)) == 1500


def test_each_recorded_function_is_code_of_its_own(tmp_path: Path) -> None:
    """Durations are learned by code: what is called differently must be told apart on the wire."""
    program = lower(read(tmp_path, new())).program
    assert len({kind.codes for kind in program.kinds}) == 2
    assert sorted(kind.name for kind in program.kinds) == ["merge", "split"]
    again = pickle.loads(pickle.dumps(next(iter(read(tmp_path, new()))).code))
    assert (name_of(again), again([], 0.0, 3, True)) == ("split", b"\0\0\0")


def test_files_tell_dependencies_where_nobody_else_does(tmp_path: Path) -> None:
    """As in instances whose tasks name neither parents nor children."""
    data = new()
    for task in data["workflow"]["specification"]["tasks"]:
        task["parents"], task["children"] = [], []
    assert read(tmp_path, data).functions["t2"].args == ["t1"]


def test_children_are_dependencies_too(tmp_path: Path) -> None:
    """One end is enough."""
    data = old(b={"parents": []})
    assert read(tmp_path, data).functions["ID02"].args == ["ID01"]


def test_a_task_of_no_time_may_leave_its_runtime_out(tmp_path: Path) -> None:
    """Up to 1.4 zeros were not written, and links in capitals by some: what such a task reads is no output of it."""
    data = old()
    merge, _ = data["workflow"]["tasks"]
    del merge["runtimeInSeconds"]
    merge["files"][0]["link"] = "INPUT"
    first, second = read(tmp_path, data)
    assert (second.expected_seconds, second.expected_bytes, first.expected_seconds, first.expected_bytes) == (0.0, 0.0, 4.0, 3000.0)


def _never_run() -> dict[str, Any]:
    data = old()
    for task in data["workflow"]["tasks"]:
        del task["runtimeInSeconds"]
    return data


WITHOUT = new()
del WITHOUT["workflow"]["execution"]


@pytest.mark.parametrize(("data", "says"), [
    ([1], "neither a \"workflow\""),
    ({"workflow": {}}, "neither a \"specification\" nor \"tasks\""),
    ({"workflow": {"tasks": 3}}, "is 3, not a list"),
    ({"workflow": {"tasks": [5]}}, "task 0 is not a task: 5"),
    (WITHOUT, "was not run"),
    (_never_run(), "was not run: none of its tasks has a runtime"),
    (old(a={"runtimeInSeconds": -1}), "task 'ID01': runtimeInSeconds is -1"),
    (old(b={"parents": ["nobody"]}), "task 'ID02' names 'nobody' as a parent or child"),
    (old(b={"id": "ID01"}), "the id 'ID01' is used twice"),
    (old(a={"parents": ["merge_ID02"]}), "wait for each other"),
    (old(a={"cores": "two"}), "cores is 'two'"),
    (new(ran=[]), "task 't2' is not in \"workflow.execution.tasks\""),
    (new(files=[]), "writes the file 'end'"),
    (new(files=[{"id": "x", "sizeInBytes": None}]), "file 'x': sizeInBytes is None"),
])
def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path, data: Any, says: str) -> None:
    """One sentence."""
    with pytest.raises(InvalidDAG) as caught:
        read(tmp_path, data)
    assert says in str(caught.value) and str(tmp_path) in str(caught.value)


def test_a_scale_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Before the file is read."""
    with pytest.raises(InvalidDAG, match="scale=-1 is not a number from 0 on"):
        DAG.from_wfformat(tmp_path / "none.json", scale=-1)
    with pytest.raises(InvalidDAG, match="spin='no' is neither True nor False"):
        DAG.from_wfformat(tmp_path / "none.json", spin="no")  # type: ignore[arg-type]
    with pytest.raises(InvalidDAG, match="byte_scale='x'"):
        DAG.from_wfformat(tmp_path / "none.json", byte_scale="x")  # type: ignore[arg-type]
    with pytest.raises(InvalidDAG, match=r"at this scale, task .* and makes inf bytes; scale less"):
        read(tmp_path, new(), byte_scale=1e308)


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    """One that is not there, a folder, a path that is none, and what is not JSON."""
    with pytest.raises(FileError, match=rf"^no workflow can be read from {tmp_path}/none\.json: No such file or directory; check the path"):
        DAG.from_wfformat(tmp_path / "none.json")
    with pytest.raises(FileError, match=rf"^no workflow can be read from {tmp_path}: that is a folder; name a file in it$"):
        DAG.from_wfformat(tmp_path)
    with pytest.raises(ConfigError, match=r"^path=3 is no path of a file for the workflow$"):
        DAG.from_wfformat(3)  # type: ignore[arg-type]
    (tmp_path / "page.html").write_text("<html>")
    with pytest.raises(InvalidDAG, match=rf"^{tmp_path}/page\.html is not a workflow file: it is not JSON \(Expecting value"):
        DAG.from_wfformat(tmp_path / "page.html")


def test_the_example_s_files_are_read(tmp_path: Path) -> None:
    """Those that are shipped."""
    folder = Path(__file__).parents[3] / "scripts" / "examples" / "workflow"
    mosaic = DAG.from_wfformat(folder / "mosaic.json")
    assert len(mosaic) == 95
    assert all(isinstance(each, Function) and each.expected_seconds for each in mosaic)
