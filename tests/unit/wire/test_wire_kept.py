"""Values that are kept as they are while those that they were made of change."""

from __future__ import annotations

import numpy as np

from handoff.wire.values import pack, unpack


def test_what_is_kept_stays_as_it_is_and_is_not_copied_where_it_can_not_change() -> None:
    """Of two arrays one is read-only: the block has it as it lies there."""
    fixed, changing = np.zeros(10_000), np.zeros(10_000)
    fixed.flags.writeable = False
    packed = pack([fixed, changing])
    kept = packed.kept()
    changing[:] = 1.0
    assert (unpack(packed.join())[1].max(), unpack(kept.join())[1].max(), kept.nbytes) == (1.0, 0.0, packed.nbytes)
    views = [np.frombuffer(part, "B") for part in kept.parts if not isinstance(part, bytes)]
    assert [np.shares_memory(view, fixed) for view in views] == [True]
