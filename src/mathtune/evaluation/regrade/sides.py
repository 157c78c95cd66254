"""What a comparison reads: predictions files, and any other outputs that can be graded.

Problems of mathtune's own predictions are paired by id. If one file is from elsewhere, all are
paired by question: another tool writes the gold solution differently, or leaves it out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mathtune.errors import DataError
from mathtune.evaluation.predictions.light_rows import read_light_rows
from mathtune.evaluation.predictions.rows import FIELDS, read_rows
from mathtune.evaluation.regrade.regrading import broken_lines, grade_saved, prose_notes
from mathtune.evaluation.regrade.saved_fields import NoGolds
from mathtune.evaluation.regrade.saved_outputs import UNKNOWN, question_key, read_saved_outputs
from mathtune.grading.numbers import read_number
from mathtune.records import PredictionRow, content_id

log = logging.getLogger(__name__)


def read_sides(paths: Sequence[Path]) -> list[list[PredictionRow]]:
    """Return the rows of each file, graded, with problem ids that pair.

    A file without gold answers uses those of the others, by question. What was left out, taken from
    another file or unknown is logged.

    Args:
        paths: The files.

    Raises:
        DataError: A file cannot be read or graded, or none has gold answers.
    """
    styles = [_style(path) for path in paths]
    if not {None, UNKNOWN} & set(styles):
        return [read_light_rows(path) for path in paths]
    found: dict[int, list[PredictionRow]] = {}
    without: dict[int, NoGolds] = {}
    for number, path in enumerate(paths):
        try:
            found[number] = read_rows(path) if styles[number] else _graded(path, None)
        except NoGolds as error:
            without[number] = error
    golds: dict[str, tuple[str, str]] = {}
    for rows in found.values():
        for row in rows:
            if row["question"]:
                golds.setdefault(question_key(row["question"]), (row["answer"], row["gold"]))
    for number, fault in without.items():
        if not golds:
            raise fault
        owners = " and ".join(str(paths[other]) for other in found)
        log.info(f"{paths[number]} has no gold answers; those of {owners} are used, by question")
        found[number] = _graded(paths[number], golds)
    sides = [found[number] for number in range(len(paths))]
    _say_what_is_unknown(sides)
    return [_by_question(rows) for rows in sides]


def _style(path: Path) -> str | None:
    """Return the style of a predictions file, which unlike others must have no bad lines.

    It is None where a file is from elsewhere, and ``UNKNOWN`` where its answers are.
    """
    try:
        with path.open("rb") as file:
            line = next((line for line in file if line.strip()), b"")
    except OSError:
        return UNKNOWN  # reading it says what is wrong
    if not line:
        raise DataError(f"{path} holds no rows; give a predictions file that has some")
    try:
        first = json.loads(line)
        return str(first["style"]) if FIELDS.keys() <= first.keys() else None
    except (ValueError, AttributeError, RecursionError):
        return None


def _graded(path: Path, golds: dict[str, tuple[str, str]] | None) -> list[PredictionRow]:
    saved = read_saved_outputs(path, golds=golds)
    for line in (*broken_lines(saved), *prose_notes(saved)):
        log.info(line)
    return list(grade_saved(saved).rows)


def _by_question(rows: Sequence[PredictionRow]) -> list[PredictionRow]:
    """Name problems by their question; of several with one question, the later get a number."""
    names: dict[str, str] = {}
    taken: dict[str, int] = {}
    for row in rows:
        if row["problem_id"] not in names:
            key = question_key(row["question"])
            name = content_id(key) if key else row["problem_id"]
            taken[name] = taken.get(name, 0) + 1
            names[row["problem_id"]] = name if taken[name] == 1 else f"{name}-{taken[name]}"
    return [{**row, "problem_id": names[row["problem_id"]]} for row in rows]


def _say_what_is_unknown(sides: Sequence[Sequence[PredictionRow]]) -> None:
    asked = [any(row["question"] for row in rows) for rows in sides]
    if not any(asked):
        log.info("no file has questions; problems are paired by the files' own ids or line numbers")
    elif all(asked):
        log.info("problems are paired by their question")
    if not all(row["prompt_hash"] for rows in sides for row in rows):
        log.info("whether the prompts were the same is unknown; not every file has them")


def same_gold(one: str, other: str) -> bool:
    """Return whether two gold answers are the same text or the same number (``1,450`` and 1450)."""
    if one == other:
        return True
    numbers = [read_number(text) for text in (one, other)]
    values = [number.value for number in numbers if number is not None]
    return len(values) == 2 and values[0] is not None and values[0] == values[1]


def same_prompt(one: PredictionRow, other: PredictionRow) -> bool:
    """Return whether two rows had the same prompt, as far as both say."""
    unknown = ("", UNKNOWN)
    pairs = ((one["prompt_hash"], other["prompt_hash"]), (one["style"], other["style"]))
    return not any(
        mine != theirs and mine not in unknown and theirs not in unknown for mine, theirs in pairs
    )


def known_decoding(
    one: PredictionRow, other: PredictionRow
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the decodings of two rows; if a file is from elsewhere, what both of them have."""
    decodings = dict(one["decoding"]), dict(other["decoding"])
    if UNKNOWN not in (one["style"], other["style"]):
        return decodings
    both = [
        name for name, value in decodings[0].items()
        if value is not None and decodings[1].get(name) is not None
    ]  # fmt: skip
    return {name: decodings[0][name] for name in both}, {name: decodings[1][name] for name in both}
