"""One row as a problem: the cells of its columns as text, and the final answer."""

from __future__ import annotations

from dataclasses import dataclass

from mathtune.grading.stated import Stated
from mathtune.problems.columns.cells import CellFault, as_text, has, is_chat, look_up, turns
from mathtune.problems.columns.worked_equation import worked_solution
from mathtune.problems.files.row import SourceRow
from mathtune.problems.gold import final_answer
from mathtune.problems.known_datasets import Columns, KnownSet
from mathtune.records import Problem, content_id


@dataclass(frozen=True, slots=True)
class Made:
    """A problem as read from a row; ``question`` and ``gold`` are empty where the row has none.

    Attributes:
        problem: The problem.
        stated: How its final answer was stated.
        system: Whether its conversation has a system message, which is not part of the problem.
    """

    problem: Problem
    stated: Stated
    system: bool


def to_problem(
    row: SourceRow, columns: Columns, source: str, known: KnownSet | None = None
) -> Made:
    """Make a problem of a row.

    Raises:
        CellFault: A column is missing, or a cell is neither text nor number.
    """

    def text(field: str, column: str | None) -> str:
        return "" if column is None else _text(row, field, column, columns.optional).strip()

    asked = [text(column, column) for column in columns.question]
    question = columns.separator.join(part for part in asked if part)
    answer = text("answer", columns.answer)
    published = text("gold", columns.gold)
    if published and known is not None:
        published = known.gold(published)
    gold, stated = final_answer(answer, published, checked=known is not None)
    steps = None
    if not answer:
        answer = worked_solution(text("equation", columns.equation), gold)
    elif "####" in answer:
        steps = sum(1 for line in answer.partition("####")[0].splitlines() if line.strip())
    try:
        name = content_id(question, answer)
    except UnicodeEncodeError as error:
        raise CellFault(
            f"\\u{ord(error.object[error.start]):04x} in it, half of a surrogate pair and not a "
            "character"
        ) from error
    problem = Problem(
        name, question, answer, gold, source, text("type", columns.type) or None, steps
    )
    return Made(problem, stated, _has_system(row, columns))


def _text(row: SourceRow, field: str, column: str, optional: frozenset[str]) -> str:
    value = look_up(row.values, column)
    if value is None and field not in optional and not has(row.values, column):
        raise CellFault(f"no column {column!r}")
    found = as_text(value)
    if found is None:
        if field == "type":
            return ""
        raise CellFault(
            f"{type(value).__name__} in column {column!r} where text or a number is needed"
        )
    return found


def _has_system(row: SourceRow, columns: Columns) -> bool:
    heads = {column.partition(".")[0] for column in columns.question if "." in column}
    chats = [row.values.get(head) for head in heads]
    return any(turn.role == "system" for chat in chats if is_chat(chat) for turn in turns(chat))
