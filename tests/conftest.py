"""Makes helpers that lie beside this file, such as `reference`, importable from all tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
