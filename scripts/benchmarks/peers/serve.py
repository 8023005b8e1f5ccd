"""A runtime at work: `serve.py NAME` starts it, warms it up, and does what lines of JSON on standard input ask for."""

from __future__ import annotations

import importlib
import json
import os
import sys

RUNTIMES = {"dask": "with_dask", "ray": "with_ray", "parsl": "with_parsl", "pool": "with_pool"}


def main(name: str) -> None:
    """Until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                      # whatever the runtime prints is not an answer
    runtime = importlib.import_module(RUNTIMES[name]).Runtime()
    try:
        for work, arguments in (("independent", {"tasks": 200}), ("tree", {"leaves": 16}), ("one", {"number": 0})):
            getattr(runtime, work)(**arguments)
        print(json.dumps({"version": runtime.version}), file=answers, flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            print(json.dumps({"seconds": getattr(runtime, asked.pop("work"))(**asked)}), file=answers, flush=True)
    finally:
        runtime.close()


if __name__ == "__main__":
    main(sys.argv[1])
