"""Reasons of the coordinator in words: what the whole cluster shares."""

from __future__ import annotations

from typing import Any

import pytest

from handoff.client.explanation import explanation_of

ANSWER: dict[str, Any] = {"state": "ready", "node": "", "candidates": [], "started": 0.0, "seconds": 1.0, "attempt": 0, "now": 2.0}


@pytest.mark.parametrize(("facts", "text"), [
    ((False, True), "it waits for cluster:licence=1, which others of the cluster have now"),
    ((True, True), "it waits for cluster:licence=1, which is kept for another that waits for more of it"),
    ((False, False), "it waits for cluster:licence=1, which others of the cluster have now; it could do without at another of its costs"),
])
def test_a_licence_that_is_waited_for_is_named(facts: tuple[bool, bool], text: str) -> None:
    """With who has it, and whether there is another way."""
    answer = {**ANSWER, "reasons": [["cluster", "cluster:licence=1", *facts]]}
    state: Any = None
    assert explanation_of(state, "f", answer).reasons == [text]
