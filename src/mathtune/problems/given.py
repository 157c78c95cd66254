"""Problems given in Python: checked like those of a user's own file, and written as one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mathtune.errors import DataError
from mathtune.problems.columns.formats import recognise
from mathtune.problems.files import SourceRow
from mathtune.problems.reading import BadRows, Reading, Role
from mathtune.records import Problem

_LOOKED_AT = 20
"""Rows from which the format is recognised."""


def given_problems(given: Iterable[Problem | Mapping[str, Any]]) -> tuple[Problem, ...]:
    """Return checked problems.

    Args:
        given: Problems, or mappings with ``question`` and ``answer`` (the solution, which ends in
            the final answer, or just that), or ``question`` and ``gold``; and ``type``, if known.

    Raises:
        DataError: If there are none, one is of another kind or has no question, or gold answers
            cannot be used; the message counts them and says where the first are.
    """
    rows = [
        SourceRow(f"problems[{number}]", _fields(each, number)) for number, each in enumerate(given)
    ]
    if not rows:
        raise DataError("the list of problems is empty; give at least one")
    columns = recognise(rows[:_LOOKED_AT], {}).columns
    reading = Reading("the list of problems", columns, Role.TEST, BadRows.REFUSE, False)
    return reading.problems(iter(rows)).problems


def as_json_lines(problems: Iterable[Problem]) -> str:
    """Return problems as the text of a JSONL file that is read as the same problems."""
    fields = ("question", "answer", "gold", "type")
    rows = ({name: getattr(problem, name) for name in fields} for problem in problems)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _fields(each: object, number: int) -> Mapping[str, Any]:
    if isinstance(each, Mapping):
        return each
    if isinstance(each, Problem):
        names = ("question", "answer", "gold", "type")
        return {name: value for name in names if (value := getattr(each, name))}
    raise DataError(
        f"problems[{number}] is a {type(each).__name__}; give a Problem, or a mapping with "
        "question and answer"
    )
