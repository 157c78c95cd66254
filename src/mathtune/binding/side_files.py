"""``FILE.inputs.json`` next to a predictions file: a summary of what its rows were made from.

The rows keep their format, and a file that is copied elsewhere together with this one can still be
checked against it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mathtune.binding.fingerprints import cores, row_fingerprint
from mathtune.binding.inputs import Difference, Inputs, digest
from mathtune.binding.stage_inputs import test_set_name
from mathtune.errors import RunError
from mathtune.evaluation.predictions.rows import whole_rows
from mathtune.storage import read_json, write_json


def side_path(predictions: Path) -> Path:
    """Return the file next to a predictions file."""
    return predictions.with_name(predictions.name + ".inputs.json")


def write_side(predictions: Path, inputs: Inputs, label: str) -> None:
    """Write it, for the test set with this label alone."""
    write_json(side_path(predictions), _in_short(inputs, label))


def foreign_predictions(
    paths: Sequence[Path], then: Inputs, figures: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """Yield the predictions files that do not belong to the recorded measurement.

    Args:
        paths: Files of one model, in the predictions folder of a run; unfinished ones as well.
        then: What the model was measured on.
        figures: ``evaluations`` of ``results.json``.
    """
    known = {name: cores(prints) for name, prints in then.problems.items()}
    shown = {each["predictions"]: each for each in figures}
    for path in paths:
        name, rows = f"{path.parent.name}/{path.name}", whole_rows(path).rows
        others = [
            row
            for row in rows
            if row_fingerprint(row) not in known.get(test_set_name(row["set"]), ())
        ]
        if others:
            what = f"{len(others):,} of its {len(rows):,} rows answer different problems"
            first = others[0]["question"][:60]
            yield Difference(name, "", f"{what}, first: {first!r}", "predictions")
            continue
        if rows and side_path(path).is_file():
            noted, ours = read_json(side_path(path)), _in_short(then, rows[0]["set"])
            if different := [key for key in ours if noted.get(key) != ours[key]]:
                detail = f"it was made with different {', '.join(different)}"
                yield Difference(name, "", detail, "predictions")
                continue
        figure, right = shown.get(name), sum(row["correct"] for row in rows)
        if figure and figure.get("samples") == 1 and figure["n"] == len(rows):
            correct = figure["exact_match"].get("correct")
            if correct != right:
                detail = f"{right:,} right in it, {correct} in results.json"
                yield Difference(name, "", detail, "predictions")


def check_sides(paths: Sequence[Path]) -> None:
    """Check predictions files, wherever they are, against the files next to them.

    Raises:
        RunError: A file's rows are not those recorded, or two were graded by different versions.
    """
    graders: dict[str, Path] = {}
    for path in paths:
        if not side_path(path).is_file():
            continue
        noted = read_json(side_path(path))
        found = {row_fingerprint(row) for row in whole_rows(path).rows}
        whole = len(found) >= int(noted.get("n") or 0)  # otherwise it is not finished yet
        if whole and noted.get("problems") != _digest_of(found):
            raise RunError(
                f"the problems in {path} are not those that {side_path(path).name} names; restore "
                "the file, evaluate again, or delete the other one to compare without this check"
            )
        graders.setdefault(str(noted.get("grader")), path)
    if len(graders) > 1:
        (one, first), (other, second) = list(graders.items())[:2]
        raise RunError(
            f"{first} was graded by version {one} of the grader and {second} by {other}; grade "
            "both again (mathtune grade) and compare the graded files"
        )


def _in_short(inputs: Inputs, label: str) -> dict[str, Any]:
    own = cores(inputs.problems.get(test_set_name(label), ()))
    return {**inputs.in_short(), "problems": _digest_of(own), "n": len(own)}


def _digest_of(found: set[str]) -> str:
    return digest(sorted(found))[:16]
