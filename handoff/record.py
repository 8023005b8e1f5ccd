"""What is said and what happens, as small classes of fields: never changed, and cheap to make.

A frozen dataclass sets each field through `object.__setattr__`, which takes four times as long as an assignment, and a daemon makes several
for every task. So type checkers see frozen dataclasses, and nobody else pays for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: type[T]) -> type[T]:
    """A dataclass with slots that type checkers take for frozen."""
    made: Callable[[type[T]], type[T]] = dataclass(slots=True)
    return made(cls)
