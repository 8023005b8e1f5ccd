"""The file in which a coordinator keeps what it learned: it comes back, it is bounded, and no file whatever stops a coordinator."""

from __future__ import annotations

import argparse
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from handoff.coordinator import memory as module
from handoff.coordinator.__main__ import options, state_directory
from handoff.coordinator.memory import FILE, Memory
from handoff.scheduler.learned import COLUMNS, Rows
from handoff.trust.secret import Secret


def row_of(key: str, seconds: float = 1.0) -> tuple[Any, ...]:
    """A function's."""
    return (key, "name", 3, 2, 1, 3, seconds, 0.1, 100.0, 0.5, 1.5, 0.0, "")


ROWS: Rows = {"functions": [row_of("ab"), row_of("cd", 2.0)], "nodes": [("a", "cpu=1", 0.5, 20.0)], "links": [("a", "b", 1e6, 0.5)]}


def keep_rows(directory: Path) -> None:
    """What a coordinator leaves there."""
    memory = Memory(directory)
    memory.load()
    memory.save(ROWS)
    memory.close()


def kept(directory: Path) -> Rows:
    """What the next coordinator finds."""
    memory = Memory(directory)
    rows = memory.load()
    memory.close()
    return {table: several for table, several in rows.items() if several}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the log is told."""
    caplog.set_level(logging.INFO, logger="handoff")
    return caplog


def test_what_is_kept_comes_back(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """In a directory that is made for it and that nobody else may look into; in order of use; a thing that is kept again is replaced."""
    memory = Memory(tmp_path / "state" / "cluster")
    assert memory.load() == {}
    memory.save(ROWS)
    memory.save({"functions": [row_of("ab", 3.0)]})
    assert (tmp_path / "state" / "cluster").stat().st_mode & 0o077 == 0
    memory.close()
    assert kept(tmp_path / "state" / "cluster") == {**ROWS, "functions": [row_of("cd", 2.0), row_of("ab", 3.0)]}
    assert not said.messages


def test_what_was_saved_survives_a_kill(tmp_path: Path) -> None:
    """Each save is complete on the disk: the next coordinator does not depend on an orderly end of the last one."""
    memory = Memory(tmp_path)
    memory.load()
    memory.save(ROWS)
    assert kept(tmp_path) == ROWS
    memory.close()


def test_it_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not used for longest go."""
    monkeypatch.setattr(module, "ROWS_MAX", 3)
    memory = Memory(tmp_path)
    memory.load()
    memory.save({"functions": [row_of(f"{number:02}") for number in range(3)]})
    memory.save({"functions": [row_of("00"), row_of("03")]})
    memory.close()
    assert [row[0] for row in kept(tmp_path)["functions"]] == ["02", "00", "03"]


def test_names_that_no_file_can_have_are_written_otherwise(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """User code may be called anything; the rest is kept as it is."""
    memory = Memory(tmp_path)
    memory.load()
    memory.save({"functions": [("ab", "bad \ud800 name", *row_of("ab")[2:]), row_of("cd")]})
    memory.close()
    assert [row[:2] for row in kept(tmp_path)["functions"]] == [("ab", "bad ? name"), ("cd", "name")]
    assert not said.messages


@pytest.mark.parametrize("spoil", ["garbage", "empty tables of others", "another version", "damaged"])
def test_a_file_that_makes_no_sense_is_set_aside(tmp_path: Path, spoil: str, said: pytest.LogCaptureFixture) -> None:
    """One line in the log, the file under another name, and a new one from then on."""
    path = tmp_path / FILE
    if spoil == "garbage":
        path.write_bytes(b"no database at all " * 100)
    else:
        memory = Memory(tmp_path)
        memory.load()
        memory.save({"functions": [row_of(f"{number:04}") for number in range(2000)]})
        memory.close()
        if spoil == "damaged":
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(size - 4096))
        else:
            with sqlite3.connect(path) as database:
                database.execute(f"PRAGMA user_version = {99 if spoil == 'another version' else 0}")
            database.close()
    spoiled = path.read_bytes()

    memory = Memory(tmp_path)
    assert memory.load() == {}
    memory.save(ROWS)
    memory.close()

    assert kept(tmp_path) == ROWS
    assert (tmp_path / f"{FILE}.broken").read_bytes() == spoiled
    assert [message.split()[0] for message in said.messages] == ["memory.set_aside"]


@pytest.mark.parametrize("obstacle", ["a file instead of the directory", "a directory instead of the file", "/proc"])
def test_where_nothing_can_be_kept_it_is_said_once(tmp_path: Path, obstacle: str, said: pytest.LogCaptureFixture) -> None:
    """And the coordinator goes on without."""
    directory = tmp_path / "state"
    if obstacle == "/proc":
        directory = Path("/proc/handoff")
    elif obstacle.startswith("a file"):
        directory.write_text("")
    else:
        (directory / FILE).mkdir(parents=True)
    memory = Memory(directory)
    assert memory.load() == {}
    memory.save(ROWS)
    memory.close()
    assert [message.split()[0] for message in said.messages] == ["memory.unusable"]


def test_a_file_that_can_only_be_read_is_read(tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was learned is known; that nothing is added to it is said once."""
    keep_rows(tmp_path)
    connect = sqlite3.connect
    monkeypatch.setattr(module.sqlite3, "connect", lambda path, **how: connect(f"file:{path}?mode=ro", uri=True, **how))
    memory = Memory(tmp_path)
    assert memory.load() == ROWS
    memory.save({"functions": [row_of("ef")]})
    memory.close()
    assert [message.split()[0] for message in said.messages] == ["memory.unusable"]
    assert "readonly" in said.text or "read-only" in said.text
    monkeypatch.undo()
    assert kept(tmp_path) == ROWS


def test_a_disk_that_fails_later_is_said_once(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """Another process holds the file for good, or took its tables away: from then on nothing is kept, and nobody is stopped."""
    memory = Memory(tmp_path)
    memory.load()
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("DROP TABLE functions")
    other.close()
    for _ in range(3):
        memory.save(ROWS)
    memory.close()
    assert [message.split()[0] for message in said.messages] == ["memory.unusable"]


def test_damage_within_a_text_costs_no_other_row(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """One byte that is no UTF-8 is no reason to keep nothing from then on."""
    keep_rows(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE functions SET name = CAST(x'61ff' AS TEXT) WHERE codes = 'ab'")
    database.close()
    found = kept(tmp_path)
    assert found["functions"] == [("ab", "a\ufffd", *row_of("ab")[2:]), row_of("cd", 2.0)]
    assert (found["nodes"], found["links"]) == (ROWS["nodes"], ROWS["links"])
    assert not said.messages


def test_a_file_that_turns_out_to_be_damaged_when_it_is_written_is_set_aside(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    """What is read is in order, and the index that only writing needs is not: from then on a new file is kept."""
    keep_rows(tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        size = database.execute("PRAGMA page_size").fetchone()[0]
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index' AND tbl_name = 'functions'").fetchone()[0]
    database.close()
    with (tmp_path / FILE).open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * 64)
    memory = Memory(tmp_path)
    assert memory.load()["functions"] == ROWS["functions"]
    memory.save({"functions": [row_of("ef")]})
    memory.save({"functions": [row_of("gh")]})
    memory.close()
    assert kept(tmp_path) == {"functions": [row_of("ef"), row_of("gh")]}
    assert [message.split()[0] for message in said.messages] == ["memory.set_aside"] and (tmp_path / (FILE + ".broken")).exists()


def test_each_cluster_has_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named by the cluster's id; a cluster whose secret is thrown away keeps nothing unless asked to."""
    secret, other = Secret((bytes(32),)), Secret((bytes(range(32)),))

    def said(*arguments: str) -> argparse.Namespace:
        return options(arguments)

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_directory(said(), secret) == tmp_path / ".local" / "state" / "handoff" / secret.cluster_id
    assert state_directory(said(), secret) != state_directory(said(), other)
    monkeypatch.setenv("XDG_STATE_HOME", "/var/state")
    assert state_directory(said(), secret) == Path("/var/state/handoff") / secret.cluster_id
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    assert state_directory(said(), secret) == tmp_path / ".local" / "state" / "handoff" / secret.cluster_id
    assert state_directory(said("--state", "/here"), secret) == Path("/here") / secret.cluster_id
    assert state_directory(said("--state", ""), secret) is None
    assert state_directory(said("--secret-fd", "3"), secret) is None
    assert state_directory(said("--secret-fd", "3", "--state", "/here"), secret) == Path("/here/local")


def test_who_has_no_home_keeps_nothing_unless_asked_to(monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture) -> None:
    """And not in a directory named "~"; it is told how to ask."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123_456_789)
    assert state_directory(options(["--state", "/here"]), Secret((bytes(32),))) is not None and not said.messages
    assert state_directory(options([]), Secret((bytes(32),))) is None
    assert said.messages == ['memory.unusable reason="user id 123456789 has no home directory" note="name a directory with --state"']


def test_rows_have_the_columns_of_their_tables() -> None:
    """So that these tests keep what the scheduler would."""
    assert {table: len(several[0]) for table, several in ROWS.items()} == {table: len(columns) for table, columns in COLUMNS.items()}
