"""Where settings come from, which one wins, and the words for those that make no sense."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from handoff.address import parse_address
from handoff.config import SETTINGS, load_settings
from handoff.errors import ConfigError
from handoff.settings import ABOVE_ZERO, IN_ORDER, Settings


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory and, beside it, a home."""
    (tmp_path / "home" / ".config" / "handoff").mkdir(parents=True)
    (tmp_path / "work").mkdir()
    return tmp_path


def loaded(place: Path, overrides: dict[str, object] | None = None, **environment: str) -> Settings:
    """The settings as they are in that place."""
    return load_settings(overrides, environment={"HOME": str(place / "home"), **environment}, directory=place / "work")


def refused(place: Path, overrides: dict[str, object] | None = None, **environment: str) -> str:
    """What is said about settings that make no sense."""
    with pytest.raises(ConfigError) as caught:
        loaded(place, overrides, **environment)
    return str(caught.value)


def test_nothing_said_means_the_defaults(place: Path) -> None:
    """Without files, variables and flags the declaration stands; other programs' variables do not matter."""
    assert loaded(place, HANDOFF_SECRET_FILE="x", HANDOFF_NODE_OF_MY_OWN="3") == Settings()


def test_a_variable_of_no_section_is_refused(place: Path) -> None:
    """As in a file: a slip of the pen must not leave the default in force, unsaid."""
    said = refused(place, HANDOFF_SCHEDULR__DRAIN_SECONDS="5")
    assert said == "environment variable HANDOFF_SCHEDULR__DRAIN_SECONDS: unknown section schedulr; did you mean scheduler?"


def test_the_later_wins(place: Path) -> None:
    """A flag is above the environment, that above the directory's file, and that above the user's."""
    user, here = place / "home" / ".config" / "handoff" / "handoff.toml", place / "work" / "handoff.toml"
    user.write_text("[node]\nbatch_max = 1\nbypass_max = 1\nasync_tasks_max = 1\nheartbeat_seconds = 2\n[wire]\nhalf_open_max = 1\n")
    here.write_text("[node]\nbatch_max = 2\nbypass_max = 2\nasync_tasks_max = 2\n")

    made = loaded(place, {"node.batch_max": "4"}, HANDOFF_NODE__BATCH_MAX="3", HANDOFF_NODE_BYPASS_MAX="3")

    assert (made.node.batch_max, made.node.bypass_max, made.node.async_tasks_max) == (4, 3, 2)
    assert (made.node.heartbeat_seconds, made.wire.half_open_max) == (2.0, 1)
    assert isinstance(made.node.heartbeat_seconds, float)


def test_the_configuration_directory_can_be_elsewhere(place: Path) -> None:
    """XDG_CONFIG_HOME is followed."""
    (place / "x" / "handoff").mkdir(parents=True)
    (place / "x" / "handoff" / "handoff.toml").write_text("[node]\nbatch_max = 9\n")

    assert loaded(place, XDG_CONFIG_HOME=str(place / "x")).node.batch_max == 9


def test_every_setting_can_be_said_in_the_environment(place: Path) -> None:
    """What settings.py declares is there under its name, with no list of its own to keep."""
    said = {key: True if kind is bool else kind(7) for key, kind in SETTINGS.items()}
    environment = {f"HANDOFF_{key.replace('.', '__').upper()}": str(value) for key, value in said.items()}

    made = loaded(place, **environment)

    assert {key: getattr(getattr(made, section), name) for key in SETTINGS for section, name in [key.split(".")]} == said


def test_an_unknown_setting_in_a_file_is_named_with_the_nearest_one(place: Path) -> None:
    """The file, the key and what was probably meant."""
    file = place / "work" / "handoff.toml"
    file.write_text("[node]\nbatch_maxx = 2\n")
    assert refused(place) == f"{file}: unknown setting node.batch_maxx; did you mean node.batch_max?"
    file.write_text("[nodes]\nbatch_max = 2\n")
    assert refused(place) == f"{file}: unknown section [nodes]; did you mean node?"
    file.write_text("node = 3\n")
    assert refused(place) == f"{file}: node is a section; write [node] and its settings below"


def test_a_broken_file_is_named(place: Path) -> None:
    """With the line that the parser stumbled over."""
    file = place / "work" / "handoff.toml"
    file.write_text("[node\n")
    assert refused(place).startswith(f"{file} is not TOML: ") and "line 1" in refused(place)
    for text in (b"\xff", b"[node]\nbatch_max = " + b"1" * 5000, b"[node]\nbatch_max = " + b"[" * 5000):
        file.write_bytes(text)
        assert f"{file} is not TOML" in refused(place)


@pytest.mark.parametrize(("overrides", "environment", "said"), [
    ({"node.batch_max": "many"}, {}, "--set: node.batch_max = 'many' is not a whole number"),
    ({"node.batch_max": "1.5"}, {}, "--set: node.batch_max = '1.5' is not a whole number"),
    ({"node.batch_max": True}, {}, "--set: node.batch_max = True is not a whole number"),
    ({"node.batch_max": "-1"}, {}, "--set: node.batch_max = '-1' must be zero or more, and finite"),
    ({"wire.chunk_bytes": "0"}, {}, "--set: wire.chunk_bytes = '0' must be more than zero"),
    ({"node.heartbeat_seconds": "nan"}, {}, "--set: node.heartbeat_seconds = 'nan' must be zero or more, and finite"),
    ({"node.batch_max": "1" * 400}, {}, f"--set: node.batch_max = {'1' * 40}... is absurd; at most 1e+15 makes sense anywhere"),
    ({"node.heartbeat_seconds": 10**400}, {},
     f"--set: node.heartbeat_seconds = 1{'0' * 39}... is absurd; at most 1e+15 makes sense anywhere"),
    ({"node.heartbeet_seconds": "1"}, {}, "--set: unknown setting node.heartbeet_seconds; did you mean node.heartbeat_seconds?"),
    ({}, {"HANDOFF_NODE_BATCH_MAX": ""}, "environment variable HANDOFF_NODE_BATCH_MAX: node.batch_max = '' is not a whole number"),
    ({}, {"HANDOFF_NODE__BATCH": "1"},
     "environment variable HANDOFF_NODE__BATCH: unknown setting node.batch; did you mean node.batch_max?"),
])
def test_a_value_that_makes_no_sense_is_named(
    place: Path, overrides: dict[str, object], environment: dict[str, str], said: str
) -> None:
    """The source, the key and the value are in the message."""
    assert refused(place, overrides, **environment) == said


def test_what_nothing_works_without_is_not_zero(place: Path) -> None:
    """Each such setting is one that there is, and is refused with its source, whether it counts or measures; others may be zero."""
    for key in ABOVE_ZERO:
        assert refused(place, {key: 0}) == f"--set: {key} = 0 must be more than zero"
    assert loaded(place, dict.fromkeys(SETTINGS.keys() - ABOVE_ZERO, "0")).wire.write_low_bytes == 0


@pytest.mark.parametrize(("low", "high"), IN_ORDER)
def test_settings_that_contradict_each_other_are_named(place: Path, low: str, high: str) -> None:
    """Both, with what they are, of which one may be the default; as much is not too much."""
    section, _, name = high.partition(".")
    most = getattr(getattr(Settings(), section), name)

    assert refused(place, {low: most + 1}) == (
        f"settings {low} = {most + 1} and {high} = {most} contradict each other: {low} must not be larger")
    loaded(place, {low: most})


def test_values_in_the_clear_are_nobody_elses_to_allow(place: Path) -> None:
    """A node that is started in a directory where others may write, such as /tmp, does not send values in the clear because one of them
    says so; what weakens nothing is taken from there, as ever.
    """
    file = place / "work" / "handoff.toml"
    file.write_text("[wire]\nunencrypted_values = true\n")
    assert loaded(place).wire.unencrypted_values
    file.chmod(0o666)
    assert refused(place) == (f"{file}: wire.unencrypted_values counts in a file of your own only, and anybody may write to it; "
                              "say it with --unencrypted-values")
    file.write_text("[wire]\nunencrypted_values = false\nhalf_open_max = 3\n")
    assert loaded(place).wire.half_open_max == 3
    if os.getuid() == 0:
        file.write_text("[wire]\nunencrypted_values = true\n")
        file.chmod(0o644)
        os.chown(file, 1, 1)
        assert "it belongs to user id 1, not to you" in refused(place)


def test_the_file_that_is_read_is_the_one_that_is_judged(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may write there can put something of ours in the place of theirs as soon as that was read."""
    file, ours = place / "work" / "handoff.toml", place / "ours"
    file.write_text("[wire]\nunencrypted_values = true\n")
    file.chmod(0o666)
    ours.touch(0o600)

    def read_and_replaced(read: Any, *about: Any) -> Any:
        tables = read(*about)
        ours.replace(file)
        return tables

    for name in ("load", "loads"):
        monkeypatch.setattr(tomllib, name, partial(read_and_replaced, getattr(tomllib, name)))
    assert "anybody may write to it" in refused(place)
    assert not ours.exists()


def test_a_directory_that_was_removed_has_no_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no reason not to connect."""
    monkeypatch.chdir(place / "work")
    (place / "work").rmdir()

    assert load_settings(environment={"HOME": str(place / "home")}) == Settings()


def test_importing_handoff_reads_no_settings() -> None:
    """Settings are read when something connects: before, the library does not even import their reader."""
    program = "import sys, handoff; sys.exit('handoff.config' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0


@pytest.mark.parametrize(("text", "address"), [
    ("alpha:81", ("alpha", 81)), ("alpha", ("alpha", 7070)), (" 10.0.0.1:7070 ", ("10.0.0.1", 7070)),
    ("[::1]:81", ("::1", 81)), ("[fe80::1%eth0]", ("fe80::1%eth0", 7070)),
])
def test_addresses_are_read(text: str, address: tuple[str, int]) -> None:
    """A host, with a port or without, IPv6 in brackets."""
    assert parse_address(text) == address


@pytest.mark.parametrize(("text", "said"), [
    ("", 'HERE \'\' is not an address; write "host:port", such as "127.0.0.1:7070"'),
    ("alpha:", "HERE 'alpha:' is not an address"),
    ("alpha:x", "HERE 'alpha:x' is not an address"),
    ("http://alpha:1", "HERE 'http://alpha:1' is not an address"),
    ("::1", 'write IPv6 in brackets: "[::1]:7070"'),
    ("alpha:99999", "port 99999 is not between 1 and 65535"),
    ("alpha:0", "port 0 is not between 1 and 65535"),
])
def test_what_is_no_address_is_named(text: str, said: str) -> None:
    """With a right one to compare."""
    with pytest.raises(ConfigError) as caught:
        parse_address(text, "HERE")
    assert said in str(caught.value)


def test_a_folder_that_may_not_be_entered_has_no_settings(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the home of another user whose variables were taken over."""
    def is_file(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", is_file)
    assert loaded(place) == Settings()
