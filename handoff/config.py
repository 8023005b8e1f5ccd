"""Where settings come from: files, then environment, then, for daemons, flags; the later wins. `settings.py` declares what there is.

    handoff.toml, in ~/.config/handoff and then in the working directory      [node]
                                                                              batch_max = 128
    environment: HANDOFF_NODE__BATCH_MAX=128, or HANDOFF_NODE_BATCH_MAX=128
    flag: --set node.batch_max=128

Read by hand, since a daemon's start may not cost the third of a second that importing a settings library was measured to take.
"""

from __future__ import annotations

import contextlib
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

from handoff.errors import ConfigError
from handoff.settings import ABOVE_ZERO, IN_ORDER, Settings

FILE = "handoff.toml"
CLEAR = "wire.unencrypted_values"
NUMBER_MAX = 1e15                    # seconds, bytes and counts beyond are a slip of the pen, and overflow somewhere
SHOWN_MAX = 40                       # digits of such a number
SECTIONS: dict[str, type[Any]] = get_type_hints(Settings)
SETTINGS: dict[str, type[Any]] = {  # "node.batch_max" -> int
    f"{section}.{name}": kind for section, of in SECTIONS.items() for name, kind in get_type_hints(of).items()
}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def load_settings(
    overrides: Mapping[str, object] | None = None, *, environment: Mapping[str, str] | None = None, directory: Path | None = None
) -> Settings:
    """All settings. `overrides` are flags, "node.batch_max" -> value; the working directory and os.environ unless given others."""
    said: dict[str, Any] = {}
    environment = os.environ if environment is None else environment
    for path in _files(environment, directory):
        said.update(_in_file(path))
    said.update(_in_environment(environment))
    for key, value in (overrides or {}).items():
        known = _known(key, "--set")
        said[known] = _converted(known, value, "--set")
    made = Settings(**{
        section: of(**{field.name: said[f"{section}.{field.name}"] for field in fields(of) if f"{section}.{field.name}" in said})
        for section, of in SECTIONS.items()
    })
    _check_order(made)
    return made


def _check_order(settings: Settings) -> None:
    """Each makes sense; do they make sense together?"""
    for low, high in IN_ORDER:
        less, more = (getattr(getattr(settings, section), name) for section, _, name in (low.partition("."), high.partition(".")))
        if less > more:
            raise ConfigError(f"settings {low} = {less} and {high} = {more} contradict each other: {low} must not be larger")


def _files(environment: Mapping[str, str], directory: Path | None) -> Iterator[Path]:
    """Those that are there, the user's before the directory's."""
    base = environment.get("XDG_CONFIG_HOME", "")
    home = Path(base) if base.startswith("/") else Path(environment.get("HOME", "/")) / ".config"
    with contextlib.suppress(FileNotFoundError):   # the working directory may have been removed
        directory = directory or Path.cwd()
    for folder in (home / "handoff", directory):
        if folder is not None and _is_there(folder / FILE):
            yield folder / FILE


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except PermissionError:     # whoever may not enter the folder has no settings there
        return False


def _in_file(path: Path) -> Iterator[tuple[str, Any]]:
    import tomllib  # here, since most have no such file, and it takes as long as all the rest

    try:
        with path.open("rb") as file:
            status, tables = os.fstat(file.fileno()), tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # of TOML, of UTF-8, of a number with thousands of digits, of thousands of brackets
        raise ConfigError(f"{path} is not TOML: {error}") from None
    for section, table in tables.items():
        if section not in SECTIONS:
            raise ConfigError(f"{path}: unknown section [{section}]{_nearest(section, SECTIONS)}")
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {section} is a section; write [{section}] and its settings below")
        for name, value in table.items():
            key = _known(f"{section}.{name}", str(path))
            converted = _converted(key, value, str(path))
            if key == CLEAR and converted:
                _check_owner(path, status)
            yield key, converted


def _check_owner(path: Path, status: os.stat_result) -> None:
    """What takes protection away must not be said by whoever can put a file where a daemon is started, such as /tmp.

    What is judged is the file that was read: by now another one may be in its place.
    """
    if status.st_uid not in (os.getuid(), 0) or status.st_mode & stat.S_IWOTH:
        whose = "anybody may write to it" if status.st_mode & stat.S_IWOTH else f"it belongs to user id {status.st_uid}, not to you"
        raise ConfigError(f"{path}: {CLEAR} counts in a file of your own only, and {whose}; say it with --unencrypted-values")


def _in_environment(environment: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for variable, value in environment.items():
        section, is_setting, _ = variable.removeprefix("HANDOFF_").lower().partition("__")
        if variable.startswith("HANDOFF_") and is_setting and section not in SECTIONS:
            raise ConfigError(f"environment variable {variable}: unknown section {section}{_nearest(section, SECTIONS)}")
        for section in SECTIONS:
            start = f"HANDOFF_{section.upper()}_"
            if variable.startswith(start):
                name = variable.removeprefix(start)
                key = f"{section}.{name.removeprefix('_').lower()}"
                # With one underscore it may be some other program's variable; with two it can only be a setting.
                if key in SETTINGS or name.startswith("_"):
                    known = _known(key, f"environment variable {variable}")
                    yield known, _converted(known, value, f"environment variable {variable}")


def _known(key: str, where: str) -> str:
    if key not in SETTINGS:
        section = key.partition(".")[0]
        beside = {each: of for each, of in SETTINGS.items() if each.startswith(f"{section}.")}   # most likely the name is wrong
        raise ConfigError(f"{where}: unknown setting {key}{_nearest(key, beside or SETTINGS)}")
    return key


def _nearest(word: str, known: Mapping[str, object]) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}" if len(known) < 10 else ""


def _converted(key: str, value: object, where: str) -> Any:
    """The value as the setting's type. Text is read, since environment and flags have nothing else."""
    kind = SETTINGS[key]
    wanted = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[kind]
    made: Any = None
    if isinstance(value, str) and kind is not str:
        text = value.strip().lower()
        try:
            made = text in _TRUE if kind is bool and text in (*_TRUE, *_FALSE) else None if kind is bool else kind(text)
        except ValueError:
            made = None
    elif isinstance(value, bool) is (kind is bool) and isinstance(value, (int, float) if kind is float else kind):
        made = value
    if made is None:
        raise ConfigError(f"{where}: {key} = {value!r} is not {wanted}")
    if kind in (int, float) and not 0 <= made < math.inf:   # NaN is not, either
        raise ConfigError(f"{where}: {key} = {value!r} must be zero or more, and finite")
    if kind in (int, float) and made > NUMBER_MAX:
        raise ConfigError(f"{where}: {key} = {str(value)[:SHOWN_MAX]}... is absurd; at most {NUMBER_MAX:.0e} makes sense anywhere")
    if key in ABOVE_ZERO and made == 0:
        raise ConfigError(f"{where}: {key} = {value!r} must be more than zero")
    return kind(made)
