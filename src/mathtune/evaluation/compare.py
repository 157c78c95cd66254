"""Predictions files, no model: who answers better, and is the difference more than chance?

Problems are paired by id, so what counts are those that one side gets right and the other wrong.
The exact McNemar test decides; a paired score interval says how large the difference may be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mathtune.errors import ConfigError, DataError, did_you_mean
from mathtune.evaluation.difference import Comparison, Difference, Pair
from mathtune.evaluation.regrade.sides import known_decoding, read_sides, same_gold, same_prompt
from mathtune.evaluation.statistics import (
    holm,
    mcnemar_exact,
    paired_score_interval,
    smallest_detectable_difference,
)
from mathtune.evaluation.summary import rate, voted, whole_evaluation
from mathtune.records import PredictionRow
from mathtune.run_paths import RunPaths

ALLOWABLE = ("problems", "prompts", "decoding")
"""What may differ between two files if ``allow_different`` names it."""


def compare(
    before: Iterable[PredictionRow],
    after: Iterable[PredictionRow],
    *,
    labels: tuple[str, str] = ("base", "tuned"),
    allow_different: Collection[str] = (),
    confidence: float = 0.95,
) -> Comparison:
    """Compare two evaluations of the same problems.

    Args:
        before: Rows of the first side.
        after: Rows of the second.
        labels: Their names.
        allow_different: What of ``ALLOWABLE`` may differ. With ``problems`` only those that both
            sides have are compared, and the others are counted.
        confidence: Confidence of the intervals.

    Raises:
        DataError: If problems, prompts or decoding differ and this was not allowed, a gold answer
            differs, no problem is common, or rows are not those of one complete evaluation.
        ConfigError: If ``allow_different`` names something unknown.
    """
    _check_allowable(allow_different)
    sides = (whole_evaluation(before), whole_evaluation(after))
    (groups_before, samples_before), (groups_after, samples_after) = sides
    common = [id_ for id_ in groups_before if id_ in groups_after]
    left_out = (len(groups_before) - len(common), len(groups_after) - len(common))
    pairs = tuple(Pair(voted(groups_before[id_]), voted(groups_after[id_])) for id_ in common)
    differing = _differences(pairs, left_out, labels)
    _check_alike(differing, allow_different, labels)
    if not pairs:
        raise DataError(
            f"{labels[0]} and {labels[1]} have no problem in common; "
            "evaluate both on the same problem set"
        )

    def difference(part: Sequence[Pair]) -> Difference:
        return _difference(part, confidence)

    overall = difference(pairs)
    calculators = {row["decoding"]["calculator"] for row in (pairs[0].before, pairs[0].after)}
    return Comparison(
        labels=labels,
        set=pairs[0].before["set"],
        calculator=calculators.pop() if len(calculators) == 1 else None,
        samples=(samples_before, samples_after),
        overall=overall,
        by_type=_adjusted({name: difference(part) for name, part in sorted(_types(pairs).items())}),
        pairs=pairs,
        left_out=left_out,
        differing=tuple(differing),
        confidence=confidence,
        smallest_detectable_difference=smallest_detectable_difference(
            len(pairs), (overall.gained + overall.lost) / len(pairs), alpha=1 - confidence
        ),
    )


def _check_allowable(names: Collection[str]) -> None:
    unknown = [name for name in names if name not in ALLOWABLE]
    if unknown:
        raise ConfigError(
            f"{unknown[0]!r} cannot be allowed to differ, only {', '.join(ALLOWABLE)}"
            + did_you_mean(unknown[0], ALLOWABLE)
        )


def _check_alike(
    differing: Mapping[str, str], allowed: Collection[str], labels: tuple[str, str]
) -> None:
    refused = [name for name in differing if name not in allowed]
    if refused:
        raise DataError(
            f"{labels[0]} and {labels[1]} cannot be compared: "
            + "; ".join(differing[name] for name in refused)
            + f"; evaluate both alike, or allow it with allow_different={','.join(refused)} "
            f"({' '.join(f'--allow-different {name}' for name in refused)} on the command line)"
        )


def predictions_files(paths: Sequence[Path]) -> list[Path]:
    """Return the predictions files to compare: of one run folder, those of base and tuned.

    Raises:
        ConfigError: If the run folder lacks one of them, or one of several paths is a folder.
    """
    files = list(paths)
    if len(files) == 1 and files[0].is_dir():
        files = [RunPaths(files[0]).headline_predictions(each) for each in ("base", "tuned")]
        missing = [str(path) for path in files if not path.is_file()]
        if missing:
            raise ConfigError(
                f"run folder {paths[0]} has no {' and no '.join(missing)}; finish the run, or give "
                "two files of saved outputs"
            )
    folders = [str(path) for path in files if path.is_dir()]
    if folders:
        raise ConfigError(
            f"{folders[0]} is a folder; give predictions files such as "
            f"{folders[0]}/predictions/tuned.jsonl"
        )
    return files


def compare_files(
    paths: Sequence[str | Path],
    *,
    labels: Sequence[str] | None = None,
    allow_different: Collection[str] = (),
    confidence: float = 0.95,
    previous: bool = False,
) -> tuple[Comparison, ...]:
    """Compare each file after the first with the first, p-values adjusted for their number (Holm).

    Args:
        paths: At least two files, each one that ``mathtune grade`` takes.
        labels: Their names; by default the file names, preceded by the run folder's name where
            those are equal, or else whole paths.
        allow_different: As for ``compare``, which also lists the errors.
        confidence: Confidence of the intervals.
        previous: Compare each from the third on with the one before it as well; these comparisons
            follow the others.
    """
    if len(paths) < 2:
        raise ConfigError(
            f"a comparison needs two predictions files, but {len(paths)} is given; add the other"
        )
    if labels is None:
        labels = _names(paths)
    elif len(labels) != len(paths):
        raise ConfigError(
            f"{len(labels)} labels given for {len(paths)} files; give one label per file"
        )
    elif len(set(labels)) != len(labels):
        raise ConfigError(f"the labels {', '.join(labels)} are not all different; rename one")
    files = read_sides([Path(path) for path in paths])
    sides = [(0, other) for other in range(1, len(files))]
    if previous:
        sides += [(other - 1, other) for other in range(2, len(files))]
    comparisons = [
        compare(
            files[one],
            files[other],
            labels=(labels[one], labels[other]),
            allow_different=allow_different,
            confidence=confidence,
        )
        for one, other in sides
    ]
    adjusted = holm([comparison.overall.mcnemar_p for comparison in comparisons])
    return tuple(
        replace(c, overall=replace(c.overall, holm_p=p), tests=len(comparisons))
        for c, p in zip(comparisons, adjusted, strict=True)
    )


def _names(paths: Sequence[str | Path]) -> list[str]:
    """Return the shortest names that tell the files apart."""
    stems = [Path(path).stem for path in paths]
    in_runs = [
        f"{Path(path).absolute().parent.parent.name}/{stem}"
        for path, stem in zip(paths, stems, strict=True)
    ]
    whole = [str(path) for path in paths]
    return next((n for n in (stems, in_runs) if len(set(n)) == len(n)), whole)


def _difference(pairs: Sequence[Pair], confidence: float) -> Difference:
    gained = sum(pair.gained for pair in pairs)
    lost = sum(pair.lost for pair in pairs)
    interval = paired_score_interval(len(pairs), gained, lost, confidence)
    p = mcnemar_exact(gained, lost)
    return Difference(
        n=len(pairs),
        before=rate(sum(bool(pair.before["correct"]) for pair in pairs), len(pairs), confidence),
        after=rate(sum(bool(pair.after["correct"]) for pair in pairs), len(pairs), confidence),
        gained=gained,
        lost=lost,
        low=interval.low,
        high=interval.high,
        mcnemar_p=p,
        holm_p=p,
    )


def _differences(
    pairs: Sequence[Pair], left_out: tuple[int, int], labels: tuple[str, str]
) -> dict[str, str]:
    """Return as text what of ``ALLOWABLE`` differs; a differing gold answer is never allowed."""
    found = {}
    if any(left_out):
        found["problems"] = (
            f"{left_out[0]} of their problems are only in {labels[0]}, {left_out[1]} only in "
            f"{labels[1]} and {len(pairs)} in both"
        )
    for pair in pairs:
        if not same_gold(pair.before["gold"], pair.after["gold"]):
            raise DataError(
                f"{labels[0]} and {labels[1]} cannot be compared: problem "
                f"{pair.before['problem_id']!r} has gold answer {pair.before['gold']!r} in one and "
                f"{pair.after['gold']!r} in the other; evaluate both on the same problem set"
            )
    prompts = sum(not same_prompt(pair.before, pair.after) for pair in pairs)
    if prompts:
        styles = (pairs[0].before["style"], pairs[0].after["style"])
        why = f"styles {styles[0]} and {styles[1]}"
        if styles[0] == styles[1]:
            why = f"both in style {styles[0]}, with different solved examples or another template"
        found["prompts"] = f"{prompts} of {len(pairs)} prompts differ ({why})"
    one, other = known_decoding(pairs[0].before, pairs[0].after) if pairs else ({}, {})
    if one != other:
        names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        found["decoding"] = "decoding differs: " + ", ".join(
            f"{name} {one.get(name)} and {other.get(name)}" for name in names
        )
    return found


def _types(pairs: Sequence[Pair]) -> dict[str, list[Pair]]:
    types: dict[str, list[Pair]] = {}
    for pair in pairs:
        if pair.before["type"] is not None:
            types.setdefault(pair.before["type"], []).append(pair)
    return types


def _adjusted(parts: Mapping[str, Difference]) -> dict[str, Difference]:
    adjusted = holm([part.mcnemar_p for part in parts.values()])
    return {
        name: replace(part, holm_p=p)
        for (name, part), p in zip(parts.items(), adjusted, strict=True)
    }
