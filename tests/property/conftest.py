"""Lets these tests import their stage, and says how many examples they try: HYPOTHESIS_PROFILE=thorough tries 10,000 of each."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
