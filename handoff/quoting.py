"""Values that users gave, within sentences: shown whatever they are, and never at such length that nobody finds the sentence."""

from __future__ import annotations

from typing import Any

QUOTED_MAX = 300      # characters; of what is longer ...
END = 100             # ... so many are shown of its beginning and of its end


def quoted(value: Any) -> str:
    """As Python writes it; of what is long, the middle is left out."""
    return cut(shown(value))


def cut(text: str) -> str:
    """The same of what is a text already, and stands without quotes."""
    left = len(text) - 2 * END
    return text if len(text) <= QUOTED_MAX else f"{text[:END]}[... {left:,} characters ...]{text[-END:]}"


def shown(value: Any, show: Any = repr) -> str:
    """As Python shows it; what can't be shown is named by its type, with the reason."""
    try:
        return show(value)  # type: ignore[no-any-return]
    except Exception as error:   # of the user's own code; and of Python's, for numbers that are long and lists that are deep
        return f"<{type(value).__name__} that can't be shown: {type(error).__name__}: {shown(error, str)}>"
