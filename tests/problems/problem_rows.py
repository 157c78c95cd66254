"""Rows in GSM8K's format for tests: as many different ones as asked for, without shared wording."""

from __future__ import annotations


def solved(number: int, gold: int | None = None) -> dict[str, str]:
    """Row ``number``; no two rows share a word of the question, so no window of 13 words either."""
    gold = number if gold is None else gold
    question = " ".join(_word(number, place) for place in range(14))
    answer = f"It is {gold}+0 = <<{gold}+0={gold}>>{gold}.\n#### {gold}"
    return {"question": f"{question}?", "answer": answer}


def _word(number: int, place: int) -> str:
    """``qbcd…``: the number and the place spelled in letters."""
    return "q" + "".join(chr(ord("a") + int(digit)) for digit in f"{number}{place:02}")
