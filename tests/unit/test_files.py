"""A file that can't be read or written is one error, which is an OSError, too."""

from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from handoff.errors import ConfigError, FileError, HandoffError
from handoff.files import read_file, write_file


def test_files_are_read_and_written(tmp_path: Path) -> None:
    """Also text that UTF-8 has no place for."""
    write_file(str(tmp_path / "a"), "page", "ä\ud800")
    assert read_file(tmp_path / "a", "page") == "ä?".encode()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the path, and what to do."""
    path = tmp_path / "absent" / "trace.json"
    with pytest.raises(FileError) as caught:
        write_file(path, "trace", "")
    error = caught.value
    assert str(error) == f"the trace can't be written to {path}: there is no folder {path.parent}; make it first, or check the path"
    assert (error.path, error.errno) == (str(path), errno.ENOENT) and isinstance(error, OSError) and isinstance(error, HandoffError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    with pytest.raises(OSError, match=f"no trace can be read from {path}: there is no folder {path.parent}"):
        read_file(path, "trace")


def test_other_reasons_are_those_of_the_system(tmp_path: Path) -> None:
    """A folder in the place of a file, a file in the place of a folder, a file that is not there."""
    (tmp_path / "file").touch()
    for path, text in ((tmp_path, "that is a folder; name a file in it"), (tmp_path / "file" / "x", "Not a directory; check the path"),
                       (tmp_path / "x", "No such file or directory; check the path")):
        with pytest.raises(FileError, match=f"no plan can be read from {path}: {text}"):
            read_file(path, "plan")
    with pytest.raises(FileError, match="Not a directory; name another place"):
        write_file(tmp_path / "file" / "x", "plan", "")


@pytest.mark.parametrize("path", [None, 3, "", "a\0b"])
def test_what_is_no_path_is_refused(path: Any) -> None:
    """Before anything is opened."""
    with pytest.raises(ConfigError, match="is no path of a file for the plan"):
        write_file(path, "plan", "")


def test_streams_that_were_closed_lead_nowhere() -> None:
    """So the next descriptor is none of theirs, and what is written to them is no error; those that are open stay as they are."""
    program = "\n".join([
        "import os, sys", "from handoff.files import open_streams", "open_streams()",
        "print('nowhere')", "assert os.pipe()[0] > 2", "os.write(2, b'open')",
    ])
    done = subprocess.run(["sh", "-c", f'exec {sys.executable} -c "$0" <&- >&-', program], stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"open")
