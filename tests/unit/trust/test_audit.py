"""That a daemon can't unpickle is shown in a process of its own, since the hook stays for good."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import pickle
from handoff.trust.audit import UnpicklingForbidden, forbid_unpickling
harmless, hostile = pickle.dumps({"a": [1, b"x"]}), pickle.dumps(print)
assert pickle.loads(hostile) is print
forbid_unpickling()
assert pickle.loads(harmless) == {"a": [1, b"x"]}
for load in (pickle.loads, pickle._loads):
    try:
        load(hostile)
    except UnpicklingForbidden as error:
        print(error)
"""


def test_nothing_with_a_name_is_unpickled() -> None:
    """After the hook is set, a pickle that names a function raises, in C and in Python; one of plain data does not."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)

    assert ran.stdout.splitlines() == ["this process may not unpickle, and something tried to load builtins.print"] * 2
