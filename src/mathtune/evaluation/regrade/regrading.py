"""Saved outputs → rows with today's verdicts, and the figures from them; no model, no torch.

The rows are those of a predictions file, so ``mathtune compare`` accepts them, also against
mathtune's own evaluations: problems are paired by question. What a foreign file does not say stays
empty: ``prompt_hash`` ``""``, ``style`` and ``stop_reason`` ``"unknown"``, ``tokens`` 0, null in
``decoding``. ``line`` is the number of the line that a row comes from. A predictions file keeps
everything but its verdicts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from mathtune.evaluation.evaluate import regrade
from mathtune.evaluation.predictions.rows import prompt_hash
from mathtune.evaluation.regrade.saved_fields import Layout
from mathtune.evaluation.regrade.saved_outputs import UNKNOWN, SavedOutput, SavedOutputs
from mathtune.evaluation.request import ERROR_NAMES, verdict_fields
from mathtune.evaluation.summary import Rate, rate
from mathtune.grading import PUBLISHED_GRADERS
from mathtune.grading.stated import Stated
from mathtune.records import Outcome, PredictionRow, content_id


@dataclass(frozen=True, slots=True)
class Regrading:
    """A file of saved outputs, graded.

    Attributes:
        saved: What was read.
        rows: One per completion, in file order.
    """

    saved: SavedOutputs
    rows: tuple[PredictionRow, ...]


def grade_saved(saved: SavedOutputs) -> Regrading:
    """Grade every completion with mathtune's own and the published graders."""
    if saved.layout is Layout.PREDICTIONS:
        return Regrading(
            saved, tuple(regrade(cast(PredictionRow, output.row) for output in saved.outputs))
        )
    ids = _problem_ids(saved)
    counts = Counter[str]()
    for output, id_ in zip(saved.outputs, ids, strict=True):
        counts[id_] += len(output.completions)
    samples = max(counts.values())
    made = Counter[str]()
    rows = []
    for output, id_ in zip(saved.outputs, ids, strict=True):
        for text, stop_reason in zip(output.completions, output.stop_reasons, strict=True):
            rows.append(
                {
                    "problem_id": id_,
                    "sample": made[id_],
                    "set": saved.path.stem,
                    "question": output.question,
                    "answer": output.answer,
                    "gold": output.gold,
                    "type": None,
                    "steps": None,
                    "prompt_hash": prompt_hash(output.prompt) if output.prompt else "",
                    "style": UNKNOWN,
                    "decoding": _decoding(output, samples),
                    "completion": text,
                    "tokens": None,
                    "inserted_tokens": 0,
                    "stop_reason": stop_reason,
                    **verdict_fields(text, output.gold, output.answer, stop_reason),
                    "line": output.line,
                }
            )
            made[id_] += 1
    return Regrading(saved, tuple(cast(PredictionRow, row) for row in rows))


def summarise_saved(graded: Regrading, confidence: float = 0.95) -> dict[str, Any]:
    """Return the figures of a graded file as a plain object.

    Each rate is over problems, each of which counts with the mean of its completions. Outcomes,
    errors and methods count completions. For an lm-eval file, ``harness`` holds for each filter the
    harness' own rate and on how many documents the copy of its grader here agrees with it; for a
    predictions file, ``changed_lines`` are those whose verdict changed.

    Args:
        graded: The file.
        confidence: Confidence of the Wilson intervals.
    """
    rows, saved = graded.rows, graded.saved
    groups: dict[str, list[PredictionRow]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)

    def share(right: Callable[[PredictionRow], bool]) -> Rate:
        means = [sum(map(right, group)) / len(group) for group in groups.values()]
        return rate(sum(means), len(groups), confidence)

    return {
        "file": str(saved.path),
        "layout": saved.layout.value,
        "fields": saved.fields.named(),
        "n": len(groups),
        "completions": len(rows),
        "golds_from_prose": {how.value: prose_lines(saved, how) for how in PROSE},
        "broken": [{"line": each.line, "reason": each.reason} for each in saved.broken],
        "confidence": confidence,
        "exact_match": share(lambda row: bool(row["correct"])),
        "published": {
            name: share(lambda row, name=name: bool(row["published"][name]))  # type: ignore[misc]
            for name in PUBLISHED_GRADERS
        },
        "outcomes": _counts((row["outcome"] for row in rows), [each.value for each in Outcome]),
        "errors": _counts(
            (row["error"] for row in rows if row["error"]),
            [name for name in ERROR_NAMES.values() if name],
        ),
        "methods": _counts((row["method"] or "none" for row in rows), []),
        "harness": _harness(graded, confidence) if saved.layout is Layout.LM_EVAL else {},
        "changed_lines": _changed_lines(graded) if saved.layout is Layout.PREDICTIONS else [],
    }


def _changed_lines(graded: Regrading) -> list[int]:
    return [
        output.line
        for output, row in zip(graded.saved.outputs, graded.rows, strict=True)
        if row["outcome"] != output.row["outcome"]
    ]


def _problem_ids(saved: SavedOutputs) -> list[str]:
    """Name each line's problem by its question; lines with the same one are its samples.

    Unless the file itself gives them different names: then they are two problems.
    """
    named: dict[str, str | None] = {}
    ids = []
    for output in saved.outputs:
        if not output.question.strip():
            ids.append(output.id or f"line {output.line}")
            continue
        id_ = content_id(output.question.strip(), output.answer.strip())
        if named.setdefault(id_, output.id) != output.id:
            id_ = f"{id_}-{output.id or output.line}"
        ids.append(id_)
    return ids


def _decoding(output: SavedOutput, samples: int) -> dict[str, Any]:
    """Return what is known of the decoding; lm-eval keeps its generation arguments."""
    arguments = output.row.get("arguments")
    first = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
    options = first.get("arg_1") if isinstance(first, dict) else None
    known = options if isinstance(options, dict) else {}
    return {
        "max_new_tokens": known.get("max_gen_toks"),
        "temperature": known.get("temperature"),
        "top_p": known.get("top_p"),
        "samples": samples,
        "seed": None,
        "stop": known.get("until"),
        "calculator": None,
    }


# --- Agreement with the harness ------------------------------------------------------------------


def _harness(graded: Regrading, confidence: float) -> dict[str, Any]:
    """Compare the harness' verdicts with its graders as copied here, for each filter.

    Both look at a document's first completion (``take_first``). Other filters have no copy here;
    only the harness' rate is given for them.
    """
    first_rows: dict[int, PredictionRow] = {}
    for row in graded.rows:
        first_rows.setdefault(row["line"], row)
    pairs: dict[str, list[tuple[SavedOutput, PredictionRow]]] = {}
    for output in graded.saved.outputs:
        for name in output.verdicts:
            pairs.setdefault(name, []).append((output, first_rows[output.line]))
    return {name: _agreement(name, found, confidence) for name, found in pairs.items()}


def _agreement(
    name: str, pairs: Sequence[tuple[SavedOutput, PredictionRow]], confidence: float
) -> dict[str, Any]:
    graders = {_grader(name, output.row) for output, _ in pairs}
    grader = graders.pop() if len(graders) == 1 else None
    found: dict[str, Any] = {
        "n": len(pairs),
        "exact_match": rate(
            sum(output.verdicts[name] for output, _ in pairs), len(pairs), confidence
        ),
        "grader": grader,
    }
    if grader is not None:
        differing = [
            output.line
            for output, row in pairs
            if output.verdicts[name] != row["published"][grader]
        ]
        found |= {"agree": len(pairs) - len(differing), "differing_lines": differing}
    return found


def _grader(name: str, row: Mapping[str, Any]) -> str | None:
    """Return which published grader a filter is; gsm8k and gsm8k_cot share the filters' names."""
    if name == "flexible-extract":
        return "lm_eval_flexible"
    if name == "strict-match":
        return "lm_eval_strict" if "####" in str(row.get("target")) else "lm_eval_cot_strict"
    return None


def _counts(found: Iterable[str], known: Sequence[str]) -> dict[str, int]:
    """Count what was found: known names first, also where zero, then the others by frequency."""
    counter = Counter(found)
    return {name: counter.pop(name, 0) for name in known} | dict(counter.most_common())


# --- Lines with faults and doubts ----------------------------------------------------------------

PROSE = (Stated.PROSE, Stated.UNSURE)

SHOWN = 20
"""Broken lines whose fault is given in full; of the others, only the numbers."""


def broken_lines(saved: SavedOutputs) -> Iterator[str]:
    """Yield which lines of a file were left out, and why."""
    for each in saved.broken[:SHOWN]:
        yield f"{saved.path}:{each.line}: left out, the line {each.reason}"
    if len(saved.broken) > SHOWN:
        yield f"also left out: lines {ranges([each.line for each in saved.broken[SHOWN:]])}"


def prose_lines(saved: SavedOutputs, how: Stated) -> list[int]:
    """Return the lines whose gold answer was stated this way."""
    return [output.line for output in saved.outputs if output.stated is how]


def prose_notes(saved: SavedOutputs) -> Iterator[str]:
    """Yield how many gold answers were taken from free prose, and which are uncertain."""
    sure, unsure = (prose_lines(saved, how) for how in PROSE)
    if sure or unsure:
        yield (
            f"{saved.path}: {len(sure) + len(unsure):,} gold answers taken from free prose; where "
            "there is a field with the final answer, name it with --gold"
        )
    if unsure:
        yield (
            f"{saved.path}: {len(unsure):,} of them are the last of several numbers and uncertain: "
            f"lines {ranges(unsure)}"
        )


def ranges(numbers: Sequence[int]) -> str:
    """Write 1, 2, 3, 7 as ``1-3, 7``."""
    runs = groupby(enumerate(sorted(numbers)), key=lambda pair: pair[1] - pair[0])
    ends = [[number for _, number in run] for _, run in runs]
    return ", ".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in ends)
