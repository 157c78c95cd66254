"""Counts of things, and shares, in a sentence."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """Return ``1 problem``, ``2 problems`` or ``7,473 problems``.

    Args:
        number: How many.
        noun: The thing, or a phrase that ends with it.
        plural: Its plural; default: with an ``s``.
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def percent(share: float, digits: int = 0) -> str:
    """Return ``40 %``, or ``12.5 %`` with one digit after the point."""
    return f"{100 * share:.{digits}f} %"
