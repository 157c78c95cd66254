"""``FILE.inputs.json`` next to a predictions file: a summary of what its rows were made from.

The rows keep their format, and a file that is copied elsewhere together with this one can still be
checked against it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune.binding.fingerprints import cores, row_fingerprint
from mathtune.binding.inputs import Difference, Inputs, digest, short_differences
from mathtune.binding.stage_inputs import test_set_name
from mathtune.errors import DataError, RunError
from mathtune.evaluation.predictions.rows import complete_rows
from mathtune.storage import read_json, write_json
from mathtune.text.counts import counted


def side_path(predictions: Path) -> Path:
    """Return the file next to a predictions file."""
    return predictions.with_name(predictions.name + ".inputs.json")


def predictions_name(predictions: Path) -> str:
    """Return the name of a predictions file in ``results.json``."""
    return f"{predictions.parent.name}/{predictions.name}"


def write_side(predictions: Path, inputs: Inputs, label: str) -> None:
    """Write it, for the test set with this label alone."""
    write_json(side_path(predictions), _in_short(inputs, label))


def foreign_predictions(
    paths: Sequence[Path], then: Inputs | None, figures: Sequence[Mapping[str, Any]]
) -> Iterator[Difference]:
    """Yield the predictions files that do not belong to the recorded measurement.

    Args:
        paths: Files of one model, in the predictions folder of a run; unfinished ones as well.
        then: What the model was measured on; None where that is unknown, and only the number of
            rows and of right answers can be checked.
        figures: ``evaluations`` of ``results.json``.
    """
    known = {name: cores(prints) for name, prints in then.problems.items()} if then else {}
    shown = {each["predictions"]: each for each in figures}
    for path in paths:
        name = predictions_name(path)
        figure = shown.get(name)
        try:
            found = _counted(path, known if then else None)
        except (DataError, OSError) as error:
            if not figure:  # unfinished: nothing to show yet
                raise
            yield Difference(name, "", str(error).partition(";")[0], "predictions")
            continue
        if found.foreign:
            what = f"{found.foreign:,} of its {found.rows:,} rows answer different problems"
            detail = f"{what}, first: {found.first_foreign[:60]!r}"
            yield Difference(name, "", detail, "predictions")
            continue
        if then and found.rows and side_path(path).is_file():
            noted, ours = read_json(side_path(path)), _in_short(then, found.set)
            if different := [key for key in ours if noted.get(key) != ours[key]]:
                detail = f"it was made with different {', '.join(different)}"
                yield Difference(name, "", detail, "predictions")
                continue
        if figure and (detail := _miscounted(found, figure)):
            yield Difference(name, "", detail, "predictions")


@dataclass
class _Counted:
    """What the rows of a file add up to.

    Attributes:
        rows: How many there are.
        right: How many are right.
        set: Label of the first row's test set.
        foreign: How many answer a problem that is not known.
        first_foreign: The question of the first of those.
    """

    rows: int = 0
    right: int = 0
    set: str = ""
    foreign: int = 0
    first_foreign: str = ""


def _counted(path: Path, known: Mapping[str, Container[str]] | None) -> _Counted:
    """Read a file row by row; with ``known`` its problems are looked up there."""
    found = _Counted()
    for row in complete_rows(path):
        found.set = found.set or row["set"]
        found.rows += 1
        found.right += row["correct"]
        if known is not None and row_fingerprint(row) not in known.get(
            test_set_name(row["set"]), ()
        ):
            found.first_foreign = found.first_foreign or row["question"]
            found.foreign += 1
    return found


def _miscounted(found: _Counted, figure: Mapping[str, Any]) -> str:
    """Return how the rows of a finished file contradict its figure, or nothing."""
    samples = figure.get("samples", 1)
    if found.rows != figure["n"] * samples:
        return f"{counted(found.rows, 'row')} in it, {figure['n'] * samples:,} in results.json"
    correct = figure["exact_match"].get("correct")
    if samples == 1 and correct != found.right:
        return f"{found.right:,} right in it, {correct} in results.json"
    return ""


def differences_from_sides(paths: Sequence[Path], now: Inputs) -> list[str] | None:
    """Return the items that the files next to predictions name differently; None without any."""
    noted = {path: read_json(side_path(path)) for path in paths if side_path(path).is_file()}
    found: list[str] = []
    for path, then in noted.items():
        # The label of the test set is in the rows; without one, only the other items are compared.
        label = _label_in(path)
        short = _in_short(now, label) if label else {**now.in_short(), "problems": ""}
        found += short_differences(then, now, short)
    return list(dict.fromkeys(found)) if noted else None


def _label_in(path: Path) -> str:
    try:
        first = next(complete_rows(path), None)
    except (DataError, OSError):
        return ""
    return first["set"] if first else ""


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
        found = {row_fingerprint(row) for row in complete_rows(path)}
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
