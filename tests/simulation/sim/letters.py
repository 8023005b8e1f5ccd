"""What travels: messages as they are, or, in some seeds, as the bytes that the real codec makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from handoff.messages import Chunk, Message, Plan, Results
from handoff.wire import codec


class Letters:
    """Writes and reads what goes over connections. A body that is several buffers arrives as one."""

    def __init__(self, encoded: bool) -> None:
        self._encoded = encoded

    def write(self, message: Message) -> Any:
        """What is put on the wire."""
        if self._encoded:
            header, buffers = codec.encode(message)
            return header, b"".join(map(bytes, buffers))
        if isinstance(message, (Results, Chunk)) and isinstance(message.body, tuple):
            return replace(message, body=b"".join(map(bytes, message.body)))
        if isinstance(message, Plan) and isinstance(message.body, tuple):
            return replace(message, body=b"".join(map(bytes, message.body)))
        return message

    def read(self, letter: Any) -> Any:
        """The message again."""
        return codec.decode(*letter) if self._encoded else letter
