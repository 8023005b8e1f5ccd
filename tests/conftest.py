"""Makes helpers that lie beside this file, such as `reference`, importable from all tests, and Ctrl-C what it is in a terminal."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

# A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start; some of them send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent))
