"""What several tests with real processes use."""

from __future__ import annotations

from pathlib import Path

import pytest
from witness import Diary


@pytest.fixture
def diary(tmp_path: Path) -> Diary:
    """What ran."""
    return Diary(tmp_path / "diary")
