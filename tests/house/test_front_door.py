"""`handoff.__all__` is the API; the README names exactly that, and its Python examples run."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import handoff
from handoff.client.lower import lower
from handoff.settings import SchedulerSettings

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_the_readme_names_the_front_door() -> None:
    """Every public name is in the README's list, and nothing else is."""
    listed = re.search(r"The front door, all of it:\n(.*?)\n\n", README, re.DOTALL)
    assert listed is not None
    assert sorted(re.findall(r"`(\w+)`", listed[1])) == sorted(set(handoff.__all__) - {"__version__"})
    assert all(getattr(handoff, name) is not None for name in handoff.__all__)


def test_importing_handoff_is_light() -> None:
    """Importing starts nothing and pulls in none of the heavy libraries."""
    heavy = ["asyncio", "ssl", "cryptography", "msgpack", "uvloop", "typer", "rich", "pydantic", "numpy"]
    program = f"""if True:
        import logging, os, signal, sys, threading
        def state():
            handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)]
            return threading.active_count(), handlers, len(os.listdir("/proc/self/fd")), logging.root.handlers[:], list(os.environ)
        before = state()
        import handoff
        children = open(f"/proc/self/task/{{os.getpid()}}/children").read()
        print([name for name in {heavy} if name in sys.modules], state() == before, children)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True"]


def test_the_readme_examples_run(tmp_path: Path) -> None:
    """The first two examples of the README print what they say, on an embedded cluster."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[:2]
    script = tmp_path / "example.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["90", "{'load': 'node-1', 'total': 'node-1'}", "90"]


def test_the_defaults_that_the_readme_names_are_those_of_the_code() -> None:
    """How often and when something is tried again, and how long is waited for what."""
    text = re.sub(r"\s+", " ", README)
    scheduler = SchedulerSettings()
    for call in (handoff.Client.execute, handoff.Client.start, lower):   # the last: of single calls and maps
        assert inspect.signature(call).parameters["max_retries"].default == 3
    assert "is tried again 3 times (`max_retries=3`" in text
    assert f"after {scheduler.retry_seconds:g} s, then twice as long each time, up to {scheduler.retry_seconds_max:g} s" in text
    assert f"what killed {scheduler.crash_limit} workers is not" in text
    assert f"silent for {scheduler.lost_seconds:g} s" in text and f"waits {scheduler.node_timeout_seconds:g} s" in text
