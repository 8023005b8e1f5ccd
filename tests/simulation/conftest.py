"""Makes the package `sim`, which lies beside this file, importable; and keeps the brains' log lines out of thousands of simulated days."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Writing the lines would take longer than the days."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
