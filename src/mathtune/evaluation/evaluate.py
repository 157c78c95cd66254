"""Engine and grader → rows, which survive a kill at any moment.

Each completion is graded and appended to the predictions file as it comes. Started again,
``evaluate`` keeps the saved rows, asks the engine for the rest, and puts the rows in problem
order at the end: the file equals that of an uninterrupted evaluation byte for byte. Several ranks
share the problems and end with the same file (``predictions/rank_files.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mathtune import ranks
from mathtune.errors import RunError
from mathtune.evaluation.perplexity import Perplexity
from mathtune.evaluation.predictions.rank_files import join_parts, own_part
from mathtune.evaluation.predictions.rows import RowWriter, recover_rows, write_rows
from mathtune.evaluation.predictions.timing import Stopwatch, Timing, read_timing
from mathtune.evaluation.request import EvaluationRequest, Key, verdict_fields
from mathtune.evaluation.summary import summarise
from mathtune.generation.engine import Decoding, Engine
from mathtune.records import PredictionRow, Problem, ProblemSet, Prompt

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Counts:
    """Where the rows of an evaluation came from.

    Attributes:
        generated: Completions made now.
        resumed: Rows that were in the file already.
        reused: Rows copied from the evaluation given as ``reuse``.
        torn: Last lines cut off by an interruption, at most one per rank, and made again.
    """

    generated: int = 0
    resumed: int = 0
    reused: int = 0
    torn: int = 0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One model's rows on one problem set, in problem order.

    Attributes:
        model: The model's label, for example ``"base"``.
        set: The problem set's label.
        decoding: How the completions were decoded.
        path: The predictions file.
        rows: Its rows; see ``mathtune.evaluation.predictions.rows``.
        counts: Where they came from.
        timing: Speed of generation over all restarts.
    """

    model: str
    set: str
    decoding: Decoding
    path: Path
    rows: tuple[PredictionRow, ...]
    counts: Counts
    timing: Timing

    @property
    def calculator(self) -> bool:
        """Whether the calculator was on."""
        return self.decoding.calculator

    def summary(
        self,
        *,
        predictions: str | None = None,
        perplexity: Perplexity | None = None,
        confidence: float = 0.95,
    ) -> dict[str, Any]:
        """Return the ``evaluations[]`` object of ``results.json``.

        Args:
            predictions: Path of the rows to name in it, relative to the run folder.
            perplexity: Perplexity of the same model on the same set, if measured.
            confidence: Confidence of all intervals.
        """
        return summarise(
            self.rows,
            model=self.model,
            predictions=predictions or str(self.path),
            timing=self.timing,
            perplexity=perplexity,
            confidence=confidence,
        )


def evaluate(
    engine: Engine,
    problems: ProblemSet,
    prompts: Sequence[Prompt] | Callable[[Problem], Prompt],
    decoding: Decoding,
    *,
    path: str | Path,
    style: str,
    model: str = "model",
    on_row: Callable[[PredictionRow], None] = lambda row: None,
    reuse: Evaluation | None = None,
) -> Evaluation:
    """Generate, grade and save what is missing, and return all rows.

    Args:
        engine: What continues the prompts.
        problems: The problems to ask.
        prompts: One prompt per problem in the same order, or a function that makes it.
        decoding: How to decode.
        path: The predictions file; its folder is created if missing.
        style: Name of the prompt style, for the record.
        model: Label of the model, for the record.
        on_row: Called with every row, those kept from an earlier start first, then as they come
            from this rank.
        reuse: An evaluation of the same model, greedy and equal but for the calculator. A
            completion that never opens a ``<<`` annotation (calculator off), or into which nothing
            was inserted (calculator on), is the same under both settings and is reused.

    Raises:
        DataError: If there are no problems, two with the same id, or prompts that do not fit them.
        RunError: If the file holds rows of a different question, prompt or decoding, if ``reuse``
            does not fit, or if the engine returns too little or what was not asked for.
        DiskError: If a row could not be written; the rows before it are saved.
    """
    path = Path(path)
    plan = EvaluationRequest(problems, prompts, decoding, style)
    reusable = _reusable(plan, reuse, model)
    torn = ranks.from_first(lambda: join_parts(path))
    saved = recover_rows(path).rows
    rows = plan.accept(saved, path)
    resumed = reused = len(rows)
    for row in rows.values():
        on_row(row)
    if resumed:
        log.info(f"{resumed:,} answers are saved already, {len(plan.keys) - resumed:,} are missing")
    if len(rows) < len(plan.keys):
        reused = _add_missing(engine, plan, rows, reusable, on_row, own_part(path))
        if ranks.world_size() > 1:
            ranks.wait()
            ranks.from_first(lambda: join_parts(path))
            saved = recover_rows(path).rows
            rows = plan.accept(saved, path)

    ordered = tuple(rows[key] for key in plan.keys)
    if ordered != saved and ranks.is_first():
        write_rows(path, ordered)
    counts = Counts(len(rows) - reused, resumed, reused - resumed, torn)
    return Evaluation(
        model, problems.label, decoding, path, ordered, counts, timing=read_timing(path)
    )


def _reusable(
    plan: EvaluationRequest, reuse: Evaluation | None, model: str
) -> dict[Key, PredictionRow]:
    """Return the rows of another evaluation that are the same in this one.

    Raises:
        RunError: It is of another model, or does not fit.
    """
    if reuse is None:
        return {}
    if reuse.model != model:
        raise RunError(
            f"evaluation of model {reuse.model!r} cannot be reused for model {model!r}; "
            "leave out reuse"
        )
    return plan.reusable(reuse.rows)


def _add_missing(
    engine: Engine,
    plan: EvaluationRequest,
    rows: dict[Key, PredictionRow],
    reusable: Mapping[Key, PredictionRow],
    on_row: Callable[[PredictionRow], None],
    part: Path,
) -> int:
    """Add the missing rows as they come; return how many there were before the engine was asked.

    Args:
        engine: What continues the prompts.
        plan: What is asked.
        rows: The rows that are there; those of this rank are added.
        reusable: Rows to take from another evaluation.
        on_row: Called with every added row.
        part: The file that this rank writes.
    """
    if reusable:
        log.info(
            f"{len(reusable):,} answers are the same with the calculator "
            f"{'on' if plan.decoding.calculator else 'off'} and are reused; the others are asked"
        )
    with RowWriter(part) as writer:

        def add(key: Key, row: PredictionRow) -> None:
            writer.write(row)
            rows[key] = row
            on_row(row)

        for key, row in reusable.items():
            if key not in rows:
                add(key, row)
        before = len(rows)
        _generate(engine, plan, rows, add, part)
    return before


def _generate(
    engine: Engine,
    plan: EvaluationRequest,
    rows: Mapping[Key, PredictionRow],
    add: Callable[[Key, PredictionRow], None],
    path: Path,
) -> None:
    """Have the engine make this rank's share of missing rows, adding each row as it comes."""
    prompts = ranks.share(plan.missing(rows))
    if not prompts:
        return
    came: set[Key] = set()
    stopwatch = Stopwatch(path)
    try:
        for completion in engine.generate(prompts, plan.decoding):
            stopwatch.lap(len(completion.ids))
            key = (completion.problem_id, completion.sample)
            if key in came or key not in plan.keys:
                raise RunError(
                    f"engine {engine.name!r} returned problem {key[0]!r} sample {key[1]}, which "
                    "was not asked for or came twice; the rows before it are saved"
                )
            came.add(key)
            # Of a problem with some samples saved the engine makes all again: keep the saved ones.
            if key not in rows:
                add(key, plan.row(completion))
    finally:
        stopwatch.save()
    asked = [(p.problem_id, sample) for p in prompts for sample in range(plan.decoding.samples)]
    absent = sum(key not in rows for key in asked)
    if absent:
        raise RunError(
            f"engine {engine.name!r} ended with {absent} of {len(plan.keys)} completions missing; "
            f"the others are saved in {path}: start again to ask for the missing ones"
        )


def regrade(rows: Iterable[PredictionRow]) -> list[PredictionRow]:
    """Grade completions again, with no model: the same rows with the verdicts of today's grader."""
    return [_graded_again(row) for row in rows]


def _graded_again(row: PredictionRow) -> PredictionRow:
    verdict = verdict_fields(row["completion"], row["gold"], row["answer"], row["stop_reason"])
    return cast(PredictionRow, {**row, **verdict})
