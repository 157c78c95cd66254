"""What every reader yields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

MAX_ROW = 64 * 2**20
"""Most bytes of one row. A longer row is damaged, or an attempt to fill the memory."""


class SourceRow(NamedTuple):
    """One row of a source.

    Attributes:
        place: Where it is, for example ``"data/train.jsonl, line 4,711"``.
        values: Its columns; empty where it could not be read.
        fault: Why it could not be read, the same text for every row of that kind; else ``""``.
        detail: What is wrong with this one, for the message.
    """

    place: str
    values: Mapping[str, Any]
    fault: str = ""
    detail: str = ""


def excerpt(text: str, length: int = 60) -> str:
    """Return the beginning of a text on one line; control characters are escaped."""
    text = " ".join(text[: 4 * length].split())
    text = text if len(text) <= length else f"{text[:length]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def listed(names: list[str], shown: int = 20) -> str:
    """Return names separated by commas; of very many, only the first."""
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(excerpt(name) for name in names[:shown]) + more
