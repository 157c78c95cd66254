"""One row as a problem: which column is what, cells as text, and messages that name the columns."""

from __future__ import annotations

import decimal
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mathtune.errors import DataError, did_you_mean
from mathtune.problems.files import Row
from mathtune.problems.gold import final_answer
from mathtune.problems.known import Columns, KnownSet
from mathtune.records import Problem, content_id

# Names that other sets use for a column; a message proposes them, nothing is guessed in silence.
_USUAL = {
    "question": ("prompt", "problem", "instruction", "input", "query"),
    "answer": ("response", "solution", "output", "completion", "gold", "final_answer", "target"),
}


def own_columns(first: Row, fields: Mapping[Any, str]) -> Columns:
    """Return the columns of a user's own set: as mapped, else called question, answer, gold, type.

    Raises:
        DataError: The first row lacks the question, a mapped column, or both answer and gold.
    """
    usual = Columns(("question",), "answer", "gold", "type")
    wanted: dict[str, str] = {"question": "question", **fields}
    if not {"answer", "gold"} & {*fields, *first.values}:
        wanted["answer"] = "answer"
    missing = {field: column for field, column in wanted.items() if column not in first.values}
    if missing:
        raise _missing(first, missing)
    unmapped = frozenset({"answer", "gold", "type"} - {*fields})
    return replace(with_fields(usual, fields), optional=unmapped)


def with_fields(columns: Columns, fields: Mapping[Any, str]) -> Columns:
    """Return the columns with those that a recipe maps itself put in their place."""
    changes: dict[str, Any] = dict(fields)
    if "question" in changes:
        changes["question"] = (changes["question"],)
    return replace(columns, **changes)


def to_problem(row: Row, columns: Columns, source: str, known: KnownSet | None = None) -> Problem:
    """Make a problem of a row; ``question`` and ``gold`` are empty where the row has none.

    Raises:
        DataError: A column is missing, or a cell is neither text nor number.
    """

    def text(field: str, column: str | None) -> str:
        return "" if column is None else _text(row, field, column, columns.optional).strip()

    question = " ".join(text("question", column) for column in columns.question).strip()
    answer = text("answer", columns.answer)
    published = text("gold", columns.gold)
    if published and known is not None:
        published = known.gold(published)
    gold = final_answer(answer, published)
    steps = None
    if not answer:
        answer = _answer_from(gold, text("equation", columns.equation))
    elif "####" in answer:
        steps = sum(1 for line in answer.partition("####")[0].splitlines() if line.strip())
    try:
        name = content_id(question, answer)
    except UnicodeEncodeError as error:
        raise DataError(
            f"{row.place} holds \\u{ord(error.object[error.start]):04x}, half of a surrogate pair "
            "and no character; repair or remove the row"
        ) from error
    return Problem(name, question, answer, gold, source, text("type", columns.type) or None, steps)


def _answer_from(gold: str, equation: str) -> str:
    """Write a set's equation and final answer the way GSM8K writes a solution."""
    if not equation:
        return f"#### {gold}"
    return f"{equation if '=' in equation else f'{equation} = {gold}'}\n#### {gold}"


def _text(row: Row, field: str, column: str, optional: frozenset[str]) -> str:
    try:
        value = row.values[column]
    except KeyError:
        if field in optional:
            return ""
        raise _missing(row, {field: column}) from None
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN stands for an empty cell in Parquet
        return ""
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        f"{row.place}: column {column!r} holds {type(value).__name__} where a text or a number is "
        f"needed; name another column for {field} (fields: {{{field}: …}})"
    )


def _missing(row: Row, wanted: Mapping[str, str]) -> DataError:
    names = [str(name) for name in row.values]
    proposals = []
    for field, column in wanted.items():
        near = did_you_mean(column, names).split("'")[1:2]
        usual = [name for name in _USUAL.get(field, ()) if name in names]
        proposals.append(f"{field}: {(near or usual or ['…'])[0]}")
    columns = " and no column ".join(map(repr, wanted.values()))
    hint = did_you_mean(next(iter(wanted.values())), names) if len(wanted) == 1 else ""
    return DataError(
        f"{row.place} has no column {columns}{hint or '.'} Columns there: "
        f"{', '.join(names) or 'none'}. Say which is what, for example "
        f"fields: {{{', '.join(proposals)}}}"
    )
