"""How far a run came, where nobody but this client can tell."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from handoff.client.run import status_of


@pytest.mark.parametrize(("said", "here", "done"), [(None, 5, 5), (2, 5, 5), (7, 5, 7), (None, 0, 0)])
def test_a_run_that_was_cancelled_came_as_far_as_its_results(said: int | None, here: int, done: int) -> None:
    """Results come more often than word of the whole run."""
    over: Future[None] = Future()
    over.set_result(None)
    state: Any = SimpleNamespace(over=over, failure=SimpleNamespace(code="RunCancelled"), graph=SimpleNamespace(ids=range(9), hidden={}),
                                 order=range(here), progress=None if said is None else SimpleNamespace(done=said))

    assert (status_of(state, None).state, status_of(state, None).done) == ("cancelled", done)
