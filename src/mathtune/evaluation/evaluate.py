"""Engine and grader → rows, which survive a kill at any moment.

Each completion is graded and appended to the predictions file as it comes. Started again,
``evaluate`` keeps the saved rows, asks the engine for the rest, and puts the rows in problem
order at the end: the file equals that of an uninterrupted evaluation byte for byte. Several ranks
share the problems and end with the same file (``predictions/rank_files.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from mathtune import ranks
from mathtune.errors import RunError
from mathtune.evaluation.perplexity import Perplexity
from mathtune.evaluation.predictions.light_rows import read_light_rows
from mathtune.evaluation.predictions.rank_files import join_parts, own_part
from mathtune.evaluation.predictions.rows import RowWriter
from mathtune.evaluation.predictions.saved_rows import RowPlaces, SavedRows
from mathtune.evaluation.predictions.timing import Stopwatch, Timing, read_timing
from mathtune.evaluation.request import EvaluationRequest, Key, verdict_fields
from mathtune.evaluation.summary import summarise
from mathtune.generation.engine import Decoding, Engine
from mathtune.records import PredictionRow, Problem, ProblemSet, Prompt
from mathtune.text.counts import counted

log = logging.getLogger(__name__)

PROMPTS_AT_ONCE = 50_000
"""Problems that an engine is asked at a time, since their prompts are in memory meanwhile."""


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
        rows: Its rows; see ``mathtune.evaluation.predictions.rows``. They stay in the file, and are
            read from it each time.
        counts: Where they came from.
        timing: Speed of generation over all restarts.
    """

    model: str
    set: str
    decoding: Decoding
    path: Path
    rows: SavedRows
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
            read_light_rows(self.path),
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
    request = EvaluationRequest(problems, prompts, decoding, style)
    if reuse is not None and reuse.model != model:
        raise RunError(
            f"evaluation of model {reuse.model!r} cannot be reused for model {model!r}; "
            "leave out reuse"
        )
    torn = ranks.from_first(lambda: join_parts(path))
    places = _saved(request, path, on_row)
    resumed = reused = len(places)
    if resumed:
        log.info(f"{resumed:,} answers are saved already, {len(request) - resumed:,} are missing")
    if len(places) < len(request):
        reused = _add_missing(engine, request, places, reuse, on_row, own_part(path))
        if ranks.world_size() > 1:
            ranks.wait()
            ranks.from_first(lambda: join_parts(path))
            places = _saved(request, path)
    ranks.wait()  # all have read the file, which changes now
    if ranks.is_first():
        places.put_in_order()
    ranks.wait()
    counts = Counts(len(places) - reused, resumed, reused - resumed, torn)
    rows, timing = SavedRows(path, len(places)), read_timing(path)
    return Evaluation(model, problems.label, decoding, path, rows, counts, timing)


def _saved(
    request: EvaluationRequest,
    path: Path,
    on_row: Callable[[PredictionRow], None] = lambda row: None,
) -> RowPlaces:
    """Return where the rows of a file begin, having checked that they answer what is asked.

    Raises:
        RunError: One does not, or two for one answer differ.
    """
    places = RowPlaces(path, len(request))
    for number, at, row in request.accept(path):
        if number not in places:
            on_row(row)
        elif places.row(number) != row:
            raise RunError(
                f"{path} holds two different rows for problem {row['problem_id']!r} sample "
                f"{row['sample']}; two evaluations wrote to it at once. Delete the file to "
                "evaluate again"
            )
        places.add(number, at)
    return places


def _add_missing(
    engine: Engine,
    request: EvaluationRequest,
    places: RowPlaces,
    reuse: Evaluation | None,
    on_row: Callable[[PredictionRow], None],
    part: Path,
) -> int:
    """Add the missing rows as they come; return how many there were before the engine was asked.

    Args:
        engine: What continues the prompts.
        request: What is asked.
        places: The rows that are there; those of this rank are added.
        reuse: An evaluation from which to take rows.
        on_row: Called with every added row.
        part: The file that this rank writes.
    """
    with RowWriter(part) as writer:

        def add(number: int, row: PredictionRow) -> None:
            places.add(number, writer.write(row))
            on_row(row)

        saved = len(places)
        for number, row in request.reusable(reuse.rows if reuse else ()):
            if number not in places:
                add(number, row)
        before = len(places)
        if before > saved:
            log.info(
                f"reused {counted(before - saved, 'answer')}, the same with the calculator "
                f"{'on' if request.decoding.calculator else 'off'}; the others are asked"
            )
        _generate(engine, request, places, add, part)
    return before


def _generate(
    engine: Engine,
    request: EvaluationRequest,
    places: RowPlaces,
    add: Callable[[int, PredictionRow], None],
    path: Path,
) -> None:
    """Have the engine make this rank's share of missing rows, adding each row as it comes."""
    missing = ranks.share(request.missing(places))
    if not missing:
        return
    stopwatch = Stopwatch(path)
    try:
        for start in range(0, len(missing), PROMPTS_AT_ONCE):
            came: set[Key] = set()
            prompts = [request.prompt(each) for each in missing[start : start + PROMPTS_AT_ONCE]]
            asked = {prompt.problem_id for prompt in prompts}
            for completion in engine.generate(prompts, request.decoding):
                stopwatch.lap(len(completion.ids))
                key = (completion.problem_id, completion.sample)
                number = request.number(key)
                if number is None or key in came or key[0] not in asked:
                    raise RunError(
                        f"engine {engine.name!r} returned problem {key[0]!r} sample {key[1]}, "
                        "which was not asked for or came twice; the rows before it are saved"
                    )
                came.add(key)
                # Of a problem with some samples saved the engine makes all again: keep the saved.
                if number not in places:
                    add(number, request.row(completion))
    finally:
        stopwatch.save()
    samples = range(request.decoding.samples)
    answers = (request.number((problem.id, sample)) for problem in missing for sample in samples)
    absent = sum(number not in places for number in answers if number is not None)
    if absent:
        raise RunError(
            f"engine {engine.name!r} ended with {absent} of {len(request)} completions missing; "
            f"the others are saved in {path}: start again to ask for the missing ones"
        )


def regrade(rows: Iterable[PredictionRow]) -> Iterator[PredictionRow]:
    """Grade completions again, with no model: the same rows with the verdicts of today's grader."""
    return map(_graded_again, rows)


def _graded_again(row: PredictionRow) -> PredictionRow:
    verdict = verdict_fields(row["completion"], row["gold"], row["answer"], row["stop_reason"])
    return cast(PredictionRow, {**row, **verdict})
