"""What the coordinator keeps between its runs: a small database in its state directory. Nothing depends on it: without, it learns anew.

All methods wait for the disk and are called in a thread of their own, one at a time. None of them raises for a disk that fails: that is
told in one line of the log, and nothing more is kept.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from handoff.log import log
from handoff.scheduler.learned import COLUMNS, KEYS, Rows

FILE = "learned.sqlite"
VERSION = 1                       # of the tables; a file of another one is set aside
ROWS_MAX = 20_000                 # per table; those that were not written for longest go
LOCKED_SECONDS = 2.0              # as long another process may be writing


class Memory:
    """One per coordinator: `load` once, `save` now and then, `close` at the end."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._database: sqlite3.Connection | None = None

    def load(self) -> Rows:
        """All that was kept, the longest unused first; nothing when there is none, or it can't be read."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                return self._open()
            except sqlite3.OperationalError:   # locked, not ours to write, no room: the file itself may be good
                raise
            except (sqlite3.DatabaseError, _Foreign) as error:
                self._set_aside(error)
                return self._open()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)
            return {}

    def save(self, rows: Rows) -> None:
        """Keep these rows; those of the same things are replaced."""
        if self._database is None:
            return
        try:
            try:
                self._write(self._database, rows)
            except sqlite3.DatabaseError as error:
                if type(error) is not sqlite3.DatabaseError:   # the others mean: locked, no room; the file itself may be good
                    raise
                self.close()
                self._set_aside(error)
                self._open()
                if self._database is not None:
                    self._write(self._database, rows)
        except (OSError, sqlite3.Error, ValueError, OverflowError) as error:
            self._give_up(error)

    def _write(self, database: sqlite3.Connection, rows: Rows) -> None:
        with database:
            for table, several in rows.items():
                places = ", ".join("?" * len(COLUMNS[table]))
                database.executemany(f"REPLACE INTO {table} VALUES ({places})", map(_writable, several))
                database.execute(
                    f"DELETE FROM {table} WHERE rowid <= (SELECT rowid FROM {table} ORDER BY rowid DESC LIMIT 1 OFFSET {ROWS_MAX})"
                )

    def close(self) -> None:
        """Nothing more is kept."""
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def _open(self) -> Rows:
        database = sqlite3.connect(self.path, timeout=LOCKED_SECONDS, check_same_thread=False)
        database.text_factory = _text
        try:
            version = database.execute("PRAGMA user_version").fetchone()[0]
            is_empty = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
            if version != VERSION and not (version == 0 and is_empty):
                raise _Foreign(f"its tables are of version {version}, and this Handoff knows version {VERSION}")
            rows: Rows = {} if is_empty else {table: _all(database, table, columns) for table, columns in COLUMNS.items()}
        except BaseException:
            database.close()
            raise
        self._database = database
        try:
            _prepare(database)
        except sqlite3.OperationalError as error:   # it can be read, and not be written
            self._give_up(error)
        return rows

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(FILE + ".broken")
        for end in ("-wal", "-shm"):
            self.path.with_name(FILE + end).unlink(missing_ok=True)
        self.path.replace(aside)
        log.warning("memory.set_aside", path=self.path, now=aside, reason=str(error), note="learning starts anew")

    def _give_up(self, error: Exception) -> None:
        self.close()
        log.warning("memory.unusable", path=self.path, reason=str(error), note="what is learned from now on is not kept")


class _Foreign(Exception):
    """The file is not one of ours."""


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")   # after a power cut the last seconds may be missing
    with database:
        for table, columns in COLUMNS.items():
            keys = ", ".join(columns[: KEYS[table]])
            database.execute(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}, PRIMARY KEY ({keys}))")
        database.execute(f"PRAGMA user_version = {VERSION}")


def _text(found: bytes) -> str:
    """Damage within a text costs that row, not all of them."""
    return found.decode(errors="replace")


def _writable(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """The row, with names as a file can have them: user code may be called anything, lone surrogates included."""
    return tuple(cell.encode(errors="replace").decode() if isinstance(cell, str) else cell for cell in row)


def _all(database: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    # The order of rowid is that of use: what is replaced gets a new one.
    return database.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY rowid").fetchall()
