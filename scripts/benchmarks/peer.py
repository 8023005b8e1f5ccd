"""Another runtime in a process of its own, with the interpreter that has it: asked for one work after another, in lines of JSON."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
GOODBYE_SECONDS = 20.0


class Peer:
    """Warm when it is made."""

    def __init__(self, name: str, interpreter: Path) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        paths = [str(HERE / "peers"), str(HERE)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths),
                       "PATH": os.pathsep.join([str(interpreter.parent), os.environ.get("PATH", "")])}
        self._process = subprocess.Popen(
            [interpreter, HERE / "peers" / "serve.py", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
            env=environment, start_new_session=True)
        try:
            self.version = str(self._answer()["version"])
        except BaseException:
            self.close()
            raise

    def ask(self, work: str, **arguments: Any) -> float:
        """Do it once; the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"work": work, **arguments}) + "\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def close(self) -> None:
        """End it, and whatever it left in its process group."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(GOODBYE_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process.stdout.close()
            self._log.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self.name} ended:\n{self._log.read().decode(errors='replace')[-3000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer
