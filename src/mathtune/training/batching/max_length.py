"""Which examples are short enough to train on."""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.errors import DataError
from mathtune.records import Example


def fitting(
    examples: Sequence[Example], max_length: int, overlong: str, what: str
) -> tuple[list[Example], int]:
    """Return the examples of at most ``max_length`` tokens and how many were longer.

    A truncated answer teaches a model never to finish, so nothing is ever truncated.

    Raises:
        DataError: If none fits, or if one does not and ``overlong`` is ``error``.
    """
    kept = [example for example in examples if len(example.ids) <= max_length]
    longest = max((len(example.ids) for example in examples), default=0)
    dropped = len(examples) - len(kept)
    if not kept or (dropped and overlong == "error"):
        raise DataError(
            f"{dropped} of {len(examples)} {what} examples are longer than "
            f"train.max_length={max_length} tokens (the longest has {longest}); raise "
            f"train.max_length to {longest}" + (" or set train.overlong=drop" if kept else "")
        )
    return kept, dropped
