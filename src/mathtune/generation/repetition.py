"""Texts that repeat themselves to no end, told from their tokens.

Greedy decoding of a small model often falls into a cycle, "The answer is 12. The answer is 12. …",
and stays in it up to the token limit (Holtzman et al. 2020). Such a text says nothing new, and in
continuous batching the last rows of an evaluation are mostly of this kind.

Only the row's own tokens count, so a text ends at the same token whatever is decoded with it, with
the calculator on or off.
"""

from __future__ import annotations

from collections.abc import Sequence

LONGEST_BLOCK = 64
"""Most tokens of a block whose repetition is noticed."""

LEAST_TOKENS = 64
"""A repetition is at least as long as this: sixty-four zeros are no number that was asked for."""

LEAST_TIMES = 4
"""A block is there at least this often."""

TOKENS_BETWEEN_LOOKS = 16

_BOUNDARIES = ("\n", ". ", ">>", " ")
"""Where a text may be cut, best first: after a line, a sentence, a calculation, a word."""


def loop_length(ids: Sequence[int]) -> int:
    """Return the length of the block that a text repeats at its end again and again, or 0.

    0 between looks: a row is looked at when its number of tokens is a multiple of
    ``TOKENS_BETWEEN_LOOKS``.
    """
    length = len(ids)
    if length < LEAST_TOKENS or length % TOKENS_BETWEEN_LOOKS:
        return 0
    for period in range(1, min(LONGEST_BLOCK, length // LEAST_TIMES) + 1):
        if ids[-1] != ids[-1 - period]:
            continue
        start = length - max(LEAST_TOKENS, LEAST_TIMES * period)
        if ids[start + period :] == ids[start : length - period]:
            return period
    return 0


def without_last_part(text: str, block: int) -> str:
    """Return a text that was stopped in a loop up to the last place where it may be cut.

    "The answer is 12. The answer is 1" does not say 1. What is dropped was said before.

    Args:
        text: The text.
        block: Number of characters that are repeated; at most these are dropped.
    """
    for boundary in _BOUNDARIES:
        at = text.rfind(boundary, max(0, len(text) - block - len(boundary)))
        if at >= 0:
            return text[: at + len(boundary)]
    return text
