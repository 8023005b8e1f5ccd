"""Recorded workflows as graphs: WfCommons' WfFormat (1.0 to 1.6), and the small form of `scripts/examples/workflow`."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handoff.errors import InvalidDAG
from handoff.files import read_file
from handoff.graph.busy import Busy
from handoff.graph.dag import DAG
from handoff.graph.function import Function
from handoff.graph.validate import check
from handoff.quoting import quoted

_SERIAL = re.compile(r"[._-]?(ID)?\d+$")  # at the end of a task's name: mProject_ID0000001, blastall_00000012
_SECONDS = ("runtimeInSeconds", "runtime")   # of a task up to 1.4


@dataclass(slots=True)
class Recorded:
    """One task of a file, whatever its form."""

    id: Any
    function: str
    seconds: float
    cpus: float
    megabytes: float
    nbytes: float = 0.0
    needs: list[Any] = field(default_factory=list)


class _Wrong(Exception):
    """What is wrong with a file, without its name."""


def read(path: str | os.PathLike[str], scale: float = 1.0, byte_scale: float = 1.0, spin: bool = False) -> DAG:
    """See `DAG.from_wfformat`. Raises FileError where no file can be read, `InvalidDAG` where it holds no workflow."""
    for name, factor in (("scale", scale), ("byte_scale", byte_scale)):
        if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 <= factor < math.inf:
            raise InvalidDAG(f"{name}={quoted(factor)} is not a number from 0 on; 1 is as recorded")
    if not isinstance(spin, bool):
        raise InvalidDAG(f"spin={quoted(spin)} is neither True nor False")
    text = read_file(path, "workflow")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidDAG(f"{path} is not a workflow file: it is not JSON ({str(error) or type(error).__name__})") from None
    try:
        name, tasks = _tasks(data)
    except _Wrong as wrong:
        raise InvalidDAG(f"{path}: {wrong}") from None
    codes = {each.function: Busy(each.function) for each in tasks}
    dag = DAG(name or Path(path).stem)
    for task in tasks:
        seconds, nbytes = task.seconds * scale, task.nbytes * byte_scale
        if not max(seconds, nbytes) < math.inf:
            raise InvalidDAG(f"{path}: at this scale, task {quoted(task.id)} takes {seconds:g} seconds and makes {nbytes:g} "
                             "bytes; scale less")
        dag.add(Function(
            task.id, task.needs, codes[task.function], [seconds, int(nbytes), spin], argument_inclusion="as_list",
            cost={"cpu": task.cpus, "memory": task.megabytes}, expected_seconds=seconds, expected_bytes=float(int(nbytes)),
        ))
    try:
        order = check(dag).order
    except InvalidDAG as error:
        raise InvalidDAG(f"{path}: {error}") from None
    functions = list(dag)
    ordered = DAG(dag.id)                # parents first, as one reads it; a file may have them in any order
    for position in order:
        ordered.add(functions[position])
    return ordered


def _tasks(data: Any) -> tuple[str, list[Recorded]]:
    """The name and the tasks of a file, by the form that it has."""
    if isinstance(data, dict) and "tasks" in data and "workflow" not in data:
        return str(data.get("name", "")), _plain(data["tasks"])
    workflow = data.get("workflow") if isinstance(data, dict) else None
    if not isinstance(workflow, dict):
        raise _Wrong('is not a workflow file: it has neither a "workflow", as WfCommons writes it, nor "tasks"')
    if "specification" in workflow:
        return str(data.get("name", "")), _specified(workflow)
    if "tasks" in workflow or "jobs" in workflow:
        return str(data.get("name", "")), _flat(workflow.get("tasks", workflow.get("jobs")))
    raise _Wrong('is not a workflow file: its "workflow" has neither a "specification" nor "tasks"')


def _plain(tasks: Any) -> list[Recorded]:
    """The small form: parents stand before their children."""
    found: dict[Any, Recorded] = {}
    for at, task in enumerate(_listed(tasks, "tasks")):
        where = f"task {at}"
        lacking = {"id", "fn", "runtime_s", "cpus", "memory_mb", "inputs", "output_bytes"} - set(_object(task, where))
        if lacking:
            raise _Wrong(f"{where} lacks {', '.join(sorted(lacking))}")
        seconds, cpus, megabytes, nbytes = (_number(task, name, where) for name in ("runtime_s", "cpus", "memory_mb", "output_bytes"))
        needs = _listed(task["inputs"], f"{where}: inputs")
        for need in needs:
            if not isinstance(need, (str, int)) or need not in found:
                raise _Wrong(f"{where}: its input {quoted(need)} is no task before it")
        _add(found, Recorded(task["id"], str(task["fn"]), seconds, cpus, megabytes, nbytes, needs), where)
    return list(found.values())


def _flat(tasks: Any) -> list[Recorded]:
    """Up to 1.4: all of a task in one place; tasks name each other by name (or by id), files stand with the tasks."""
    found: dict[Any, Recorded] = {}
    aliases: dict[str, str] = {}
    written: dict[str, tuple[str, float]] = {}        # per file: who writes it, and its size
    reads: dict[str, list[str]] = {}
    children: list[tuple[str, str]] = []
    parents: dict[str, list[str]] = {}
    for at, task in enumerate(_listed(tasks, '"workflow.tasks"')):
        name = _object(task, f"task {at}").get("name")
        id = _id(task.get("id", name), f"task {at}")
        where = f"task {quoted(id)}"
        for alias in (id, name):
            if isinstance(alias, str):
                aliases.setdefault(alias, id)
        memory = _number(task, "memoryInBytes", where, 0.0) / 1e6 or _number(task, "memory", where, 0.0) / 1e3   # of old: in KB
        _add(found, Recorded(id, _function(task, name or id), _either(task, _SECONDS, where, 0.0),      # one of none is left out
                             _number(task, "cores", where, 1.0) or 1.0, memory), where)
        parents[id] = [_id(each, f"{where}: parents") for each in _listed(task.get("parents", []), f"{where}: parents")]
        children += [(id, _id(each, f"{where}: children")) for each in _listed(task.get("children", []), f"{where}: children")]
        reads[id] = []
        for file in _listed(task.get("files", []), f"{where}: files"):
            known = str(_object(file, f"{where}: a file").get("path", "")) + str(file.get("name", file.get("id", "")))
            if str(file.get("link", "")).lower() == "input":
                reads[id].append(known)
            else:
                written.setdefault(known, (id, _either(file, ("sizeInBytes", "size"), f"{where}: file {quoted(known)}")))
    if found and not any(name in task for task in tasks for name in _SECONDS):
        raise _Wrong("describes a workflow that was not run: none of its tasks has a runtime")
    for parent, child in children:
        parents.setdefault(_known(child, aliases, parent), []).append(parent)
    for id, named in parents.items():
        found[id].needs = list(dict.fromkeys(_known(each, aliases, id) for each in named))
    _weigh(found, written, reads)
    return list(found.values())


def _specified(workflow: Mapping[str, Any]) -> list[Recorded]:
    """From 1.5 on: what is to be done in one place, how it went in another, files by id."""
    specification = _object(workflow["specification"], '"workflow.specification"')
    if "execution" not in workflow:
        raise _Wrong('describes a workflow that was not run: it has no "workflow.execution", so no durations are known')
    ran: dict[str, Mapping[str, Any]] = {}
    for at, task in enumerate(_listed(_object(workflow["execution"], '"workflow.execution"').get("tasks"), '"workflow.execution.tasks"')):
        ran[_id(_object(task, f"execution of task {at}").get("id"), f"execution of task {at}")] = task
    sizes = {}
    for file in _listed(specification.get("files", []), '"workflow.specification.files"'):
        known = _id(_object(file, "a file").get("id"), "a file")
        sizes[known] = _number(file, "sizeInBytes", f"file {quoted(known)}")
    found: dict[Any, Recorded] = {}
    written: dict[str, tuple[str, float]] = {}
    reads: dict[str, list[str]] = {}
    children: list[tuple[str, str]] = []
    for at, task in enumerate(_listed(specification.get("tasks"), '"workflow.specification.tasks"')):
        id = _id(_object(task, f"task {at}").get("id"), f"task {at}")
        where = f"task {quoted(id)}"
        if id not in ran:
            raise _Wrong(f'{where} is not in "workflow.execution.tasks", so its duration is not known')
        how = ran[id]
        _add(found, Recorded(
            id, _function(how, task.get("name") or id), _number(how, "runtimeInSeconds", where),
            _number(how, "coreCount", where, 1.0) or 1.0, _number(how, "memoryInBytes", where, 0.0) / 1e6,
            needs=[_id(each, f"{where}: parents") for each in _listed(task.get("parents", []), f"{where}: parents")],
        ), where)
        children += [(id, _id(each, f"{where}: children")) for each in _listed(task.get("children", []), f"{where}: children")]
        reads[id] = [_id(each, f"{where}: inputFiles") for each in _listed(task.get("inputFiles", []), f"{where}: inputFiles")]
        for file in _listed(task.get("outputFiles", []), f"{where}: outputFiles"):
            if not isinstance(file, str) or file not in sizes:
                raise _Wrong(f'{where} writes the file {quoted(file)}, which is not in "workflow.specification.files"')
            written.setdefault(file, (id, sizes[file]))
    known_ids = {id: id for id in found}
    for parent, child in children:
        found[_known(child, known_ids, parent)].needs.append(parent)
    for id, each in found.items():
        each.needs = list(dict.fromkeys(_known(need, known_ids, id) for need in each.needs))
    _weigh(found, written, reads)
    return list(found.values())


def _weigh(found: Mapping[str, Recorded], written: Mapping[str, tuple[str, float]], reads: Mapping[str, list[str]]) -> None:
    """What a task hands on are the files that some other task reads. Where no dependencies are said, files tell them."""
    wanted: dict[str, None] = {}
    tells = not any(each.needs for each in found.values())
    for id, files in reads.items():
        for file in files:
            writer = written.get(file, (id, 0.0))[0]
            if writer != id:
                wanted[file] = None
                if tells and writer not in found[id].needs:
                    found[id].needs.append(writer)
    for file in wanted:
        id, size = written[file]
        found[id].nbytes += size


# ── single fields ───────────────────────────────────────────────────────────


def _function(task: Mapping[str, Any], name: Any) -> str:
    """What a task calls: its category or program, or its name without its serial number."""
    command = task.get("command")
    program = command.get("program") if isinstance(command, dict) else None
    said = task.get("category") or program
    if isinstance(said, str) and said:
        return said.rpartition("/")[2] or said
    return _SERIAL.sub("", str(name)) or str(name)


def _add(found: dict[Any, Recorded], task: Recorded, where: str) -> None:
    if not isinstance(task.id, (str, int)):
        raise _Wrong(f"{where}: its id is {quoted(task.id)}, neither a word nor a number")
    if task.id in found:
        raise _Wrong(f"{where}: the id {quoted(task.id)} is used twice")
    found[task.id] = task


def _known(name: str, aliases: Mapping[str, str], where: str) -> str:
    if name not in aliases:
        raise _Wrong(f"task {quoted(where)} names {quoted(name)} as a parent or child, and there is no such task")
    return aliases[name]


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Wrong(f"{where} is not {'a task' if where.startswith('task ') else 'an object'}: {str(value)[:60]!s}")
    return value


def _listed(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise _Wrong(f"is not a workflow file: {where} is {str(value)[:60]}, not a list")
    return list(value)


def _id(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise _Wrong(f"{where}: {quoted(value)} is no id")
    return value


def _number(said: Mapping[str, Any], name: str, where: str, default: float | None = None) -> float:
    value = said.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise _Wrong(f"{where}: {name} is {quoted(value)}, not a number from 0 on")
    return value


def _either(said: Mapping[str, Any], names: tuple[str, str], where: str, default: float | None = None) -> float:
    return _number(said, names[1] if names[1] in said else names[0], where, default)
