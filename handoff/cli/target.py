"""Finding the graph that "MODULE:DAG" names: a module or a file, and in it a graph or a function that makes one."""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from handoff.errors import ConfigError, HandoffError
from handoff.files import working_directory
from handoff.graph.dag import DAG

TARGET = "A module, which the nodes must have, too, or a file, whose functions travel; and in it a DAG or a function that makes one."


def load_dag(target: str) -> DAG:
    """The graph. What goes wrong in the user's own module is shown with its traceback."""
    place, separator, name = target.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(f'{target!r} does not name a graph; write "MODULE:DAG", such as "images:dag" or "images.py:build"')
    with _module(place) as module:
        return _graph(module, place, name)


@contextmanager
def _module(place: str) -> Iterator[ModuleType]:
    if not (place.endswith(".py") or os.sep in place):
        if "" not in sys.path:   # as `python -m` does
            sys.path[:0] = [path for path in working_directory() if path not in sys.path]
        yield _running_user_code(f"module {place!r}", lambda: _imported(place))
        return
    path = Path(place).resolve()
    if not path.is_file():
        raise ConfigError(f"there is no file {place}")
    sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(path.stem, path)
    if specification is None or specification.loader is None:
        raise ConfigError(f"{place} is not a Python file")
    module = importlib.util.module_from_spec(specification)
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        _running_user_code(f"file {place}", lambda: specification.loader.exec_module(module))  # type: ignore[union-attr]
        yield module
    finally:
        # No module of this name exists elsewhere. Taken out here, its functions travel as code instead of as names.
        del sys.modules[path.stem]
        linecache.getlines(str(path))    # kept, for errors of its functions: by its name nobody would find it
        if before is not None:
            sys.modules[path.stem] = before


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"there is no module {error.name!r} here; the working directory and PYTHONPATH were searched") from None
        raise


def _graph(module: ModuleType, place: str, name: str) -> DAG:
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            graphs = [each for each, value in vars(module).items() if isinstance(value, DAG)]
            hint = f"; graphs in it: {', '.join(graphs)}" if graphs else ""
            raise ConfigError(f"{place} has no {name!r}{hint}")
        found = getattr(found, part)
    if not isinstance(found, DAG) and callable(found):
        function: Callable[[], Any] = found
        found = _running_user_code(f"{place}:{name}()", function)
        name += "()"
    if not isinstance(found, DAG):
        raise ConfigError(f"{place}:{name} is a {type(found).__name__}, not a DAG nor a function that returns one")
    return found


def _running_user_code(what: str, code: Callable[[], Any]) -> Any:
    """Errors of the user's code come with their traceback, without the frames of this program."""
    try:
        return code()
    except HandoffError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [frame for frame in frames if frame.filename != __file__ and not frame.filename.startswith("<frozen importlib")]
        text = "".join(traceback.format_list(theirs))
        raise ConfigError(f"{what} raised {type(error).__name__}: {error}\n{text}".rstrip()) from None
