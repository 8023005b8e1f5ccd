"""What a client asked of the coordinator and was not told yet: each question ends once, with an answer or with why there is none."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from handoff.client.events import Answered, Failure, Unanswered


class Questions:
    """The tokens of those that are open."""

    def __init__(self) -> None:
        self._open: dict[int, None] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, token: int) -> None:
        """This one is on its way."""
        self._open[token] = None

    def answered(self, token: int, data: Any) -> list[Answered]:
        """The coordinator answered; nothing when it was no question."""
        return [Answered(token, data)] if self._is_ended(token) else []

    def refused(self, token: int, failure: Failure) -> list[Unanswered]:
        """The coordinator does not answer this one; nothing when it was no question."""
        return [Unanswered(token, failure)] if self._is_ended(token) else []

    def void(self, failure: Failure, spared: Container[int] = ()) -> list[Unanswered]:
        """Nobody answers any of them, but those that nobody was asked yet."""
        void = [token for token in self._open if token not in spared]
        self._open = {token: None for token in self._open if token in spared}
        return [Unanswered(token, failure) for token in void]

    def _is_ended(self, token: int) -> bool:
        if token not in self._open:
            return False
        del self._open[token]
        return True
