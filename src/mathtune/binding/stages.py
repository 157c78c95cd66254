"""The outputs of a run bound to their inputs: checked before any of them is reused or shown.

When a stage begins, ``RUN/inputs/STAGE.json`` records its inputs by content; a short form is next
to each predictions file. A later command with different inputs refuses and names what changed, or
with ``--fresh`` redoes the stages concerned. Existing output is replaced only when the new stage
begins, so an interruption before that loses nothing, and the records remain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from mathtune import ranks
from mathtune.binding import wording
from mathtune.binding.inputs import (
    KEEPS_ANSWERS,
    Difference,
    Inputs,
    differences,
    short_differences,
)
from mathtune.binding.side_files import (
    differences_from_sides,
    foreign_predictions,
    predictions_name,
    write_side,
)
from mathtune.binding.stage_inputs import CurrentInputs, hashes_of
from mathtune.binding.wording import Stale
from mathtune.config.schema import Recipe
from mathtune.errors import RunError
from mathtune.evaluation.evaluate import regrade
from mathtune.evaluation.measure import prediction_files
from mathtune.evaluation.predictions.rows import complete_rows, write_rows
from mathtune.evaluation.results import Results
from mathtune.records import Problem, Splits
from mathtune.runs import Run
from mathtune.storage import read_json, remove, write_json

log = logging.getLogger(__name__)

STAGES = ("base", "train", "tuned")
"""In order; ``tuned`` depends on the output of ``train``."""


@dataclass
class Binding:
    """The stages of a run, what they were made from, and what they would be made from now.

    Attributes:
        run: The run folder.
        recipe: The current recipe.
        splits: Today's problems; empty where they are not on this machine.
        shots: Solved examples in the prompts.
        results: The figures.
        writes: Whether the folder is written to, or only read.
    """

    run: Run
    recipe: Recipe
    splits: Splits
    shots: Sequence[Problem]
    results: Results
    writes: bool = True
    _redo: dict[str, bool] = field(default_factory=dict)
    """Stages to redo → whether their answers can be kept and only graded again."""

    @cached_property
    def _current(self) -> CurrentInputs:
        hashes = hashes_of(self.run, save=self.writes)
        return CurrentInputs(self.run, self.recipe, self.splits, self.shots, hashes)

    # --- What a command calls --------------------------------------------------------------------

    def check(self, own: Sequence[str], *, fresh: bool) -> None:
        """Refuse changed inputs, or with ``fresh`` plan what to redo; then adopt the recipe.

        Args:
            own: The stages that this command does.
            fresh: Redo those whose inputs changed, and what depends on them.

        Raises:
            RunError: Inputs changed; the message names all of them, and the options.
        """
        self._redo = ranks.from_first(lambda: self._check(own, fresh))
        if ranks.is_first():
            for change in self.run.changes:
                log.info(
                    f"continuing with {change.key}={change.after_in_words} "
                    f"(before: {change.before_in_words})"
                )
            self.run.adopt(self.recipe)

    def is_done(self, stage: str) -> bool:
        """Return whether a stage's output exists and can be reused."""
        if stage in self._redo:
            return False
        if stage == "train":
            return self.run.is_trained()
        return self.run.is_done(stage) and self.results.has(stage)

    def begin(self, stage: str) -> None:
        """Record what a stage is made from, as its model is loaded; clear what it replaces.

        Raises:
            RunError: Part of its output exists and was made from something else.
        """
        ranks.from_first(lambda: self._begin(stage))
        self._redo.pop(stage, None)

    def finish(self, stage: str) -> None:
        """Mark a stage as done; after training, figures of a former tuned model are cleared."""
        ranks.from_first(lambda: self._finish(stage))

    def verify(self) -> None:
        """Refuse to show outputs whose inputs, as far as they are here, have changed.

        Raises:
            RunError: Some have.
        """
        stale, unchecked = self._stale()
        if stale:
            stages = wording.listed(
                [stage for stage in STAGES if any(s == stage for s, _ in stale)]
            )
            raise RunError(
                f"run folder {self.run.folder}: {wording.changes(stale)}; give the command "
                f"that made the run with --fresh to redo {stages}, or with another --run-dir"
            )
        for stage in unchecked:
            log.info(f"{wording.unchecked(stage)}; --fresh with the command that made it redoes it")

    # --- Checking --------------------------------------------------------------------------------

    def _check(self, own: Sequence[str], fresh: bool) -> dict[str, bool]:
        stale, unchecked = self._stale()
        named = {each.key for _, each in stale}
        for change in self.run.changes:
            if not change.same_result and change.key not in named:
                how = f" from {change.before_in_words} to {change.after_in_words}"
                stale.append(("", Difference(change.key, how, "", change.key)))
        redo = {stage for stage, _ in stale if stage} | (
            set(unchecked) & set(own) if fresh else set()
        )
        if "train" in redo and self._has_output("tuned"):
            redo.add("tuned")
        order = [stage for stage in STAGES if stage in redo]
        if stale and (not fresh or not redo <= set(own)):
            raise RunError(self._refusal(stale, order, own))
        for stage in unchecked:
            if stage not in redo:
                log.info(f"{wording.unchecked(stage)}; it is reused; --fresh would redo it")
        if unchecked:
            self.run.note(unchecked=[stage for stage in unchecked if stage not in redo])
        if fresh:
            self._say_what_is_redone(stale, order)
        return {
            stage: all(each.key in KEEPS_ANSWERS for s, each in stale if s == stage)
            and stage not in unchecked
            and (stage == "base" or "train" not in redo)
            for stage in order
        }

    def _refusal(self, stale: Stale, order: Sequence[str], own: Sequence[str]) -> str:
        way = (
            f"give --fresh to redo {wording.listed(order)}" if order else "give --fresh to continue"
        )
        if not set(order) <= set(own):
            way = f"redo {wording.listed(order)} with mathtune run --fresh"
        why = wording.changes(stale)
        return f"run folder {self.run.folder}: {why}; {way}, or choose another --run-dir"

    def _say_what_is_redone(self, stale: Stale, order: Sequence[str]) -> None:
        if not order:
            log.info("--fresh: no finished stage has changed inputs, so nothing is redone")
            return
        why = f" ({wording.changes(stale)})" if stale else ""
        log.info(f"--fresh: {wording.listed(order)} will be redone{why}")
        log.info("existing output is replaced stage by stage, as each new stage begins")

    def _stale(self) -> tuple[Stale, list[str]]:
        """Return what changed since each stage that has output, and the stages without a record."""
        stale: Stale = []
        unchecked = []
        for stage in STAGES:
            if self._has_output(stage):
                if self._is_unchecked(stage):
                    unchecked.append(stage)
                stale += [(stage, each) for each in self._changed(stage)]
        return stale, unchecked

    def _changed(self, stage: str) -> list[Difference]:
        if not self._has_output(stage):
            return []
        now = self._current.of(stage)
        try:
            then = self._record(stage)
        except RunError as error:
            name = f"inputs/{self.run.inputs(stage).name}"
            return [Difference(name, "", str(error).partition(";")[0], "record")]
        if then:
            found = differences(then, now, self._current.questions)
        else:
            found = [
                wording.short_difference(key, now)
                for key in self._differences_in_short(stage, now) or ()
            ]
            if now.problems and not found and not self._is_unchecked(stage):
                then = now  # as the short form says
        if stage == "train":
            return found + (list(self._replaced_model()) if self._record(stage) else [])
        files = self.run.predictions_of(stage)
        return found + list(foreign_predictions(files, then, self._figures()))

    def _differences_in_short(self, stage: str, now: Inputs) -> list[str] | None:
        """Return the items that differ from the short form of a record; None without one."""
        noted = self.run.manifest().get("inputs")
        if isinstance(noted, dict) and isinstance(noted.get(stage), dict):
            return short_differences(noted[stage], now, now.in_short())
        return differences_from_sides(self.run.predictions_of(stage), now)

    def _is_unchecked(self, stage: str) -> bool:
        """Return whether an earlier version, which recorded nothing, began the stage."""
        if self.run.inputs(stage).exists():
            return False
        return self._differences_in_short(stage, self._current.of(stage)) is None

    def _figures(self) -> Sequence[Mapping[str, Any]]:
        figures: Sequence[Mapping[str, Any]] = self.results.data.get("evaluations", ())
        return figures

    def _replaced_model(self) -> Iterator[Difference]:
        made = read_json(self.run.inputs("train")).get("made")
        here = self._current.model(str(self.run.model)).weights
        if made and here and made != here:
            detail = "its weights are not those that training wrote"
            yield Difference(str(self.run.model), "", detail, "weights")

    def _has_output(self, stage: str) -> bool:
        if stage == "train":
            return self.run.model.exists() or any(self.run.checkpoints.glob("*"))
        shown = {each["predictions"] for each in self._figures()}
        files = self.run.predictions_of(stage)
        return any(path.stat().st_size or predictions_name(path) in shown for path in files)

    def _record(self, stage: str) -> Inputs | None:
        path = self.run.inputs(stage)
        if not path.exists():
            return None
        try:
            return Inputs.from_json(read_json(path))
        except (TypeError, AttributeError) as error:
            raise RunError(f"{path} is damaged ({error}); give --fresh") from error

    # --- Beginning -------------------------------------------------------------------------------

    def _begin(self, stage: str) -> None:
        if stage in self._redo:
            self._clear(stage, keep_answers=self._redo[stage])
            if stage == "train":
                self._clear("tuned")
        elif changed := self._changed(stage):  # as only the loaded model can show
            stale = [(stage, each) for each in changed]
            raise RunError(self._refusal(stale, [stage], [stage]))
        elif self._has_output(stage) and self._is_unchecked(stage):
            return  # begun by an earlier version, so only the rest was made with today's inputs
        now = self._current.of(stage)
        self.run.inputs(stage).parent.mkdir(exist_ok=True)
        write_json(self.run.inputs(stage), now.to_json())
        self.run.note(inputs={stage: now.in_short()})
        if stage != "train":
            self.results.drop(stage)  # or a file that is begun again would contradict its figure
            planned = prediction_files(self.run, stage, self.splits.test, self.recipe.eval)
            for test_set, _, path in planned:
                write_side(path, now, test_set.label)

    def _finish(self, stage: str) -> None:
        self.run.finish_stage(stage)
        if stage != "train" or self._record(stage) is None:
            return
        made = {"made": dict(self._current.model(str(self.run.model)).weights)}
        write_json(self.run.inputs("train"), {**read_json(self.run.inputs("train")), **made})
        if changed := self._changed("tuned"):
            log.info(f"{changed[0].what} changed since tuned was measured: it is measured again")
            self._clear("tuned")

    def _clear(self, stage: str, *, keep_answers: bool = False) -> None:
        """Remove a stage's output; with ``keep_answers`` only grade it again."""
        self.run.forget_stage(stage)
        if stage == "train":
            run = self.run
            made = (run.model, run.metrics, run.initial_adapter, run.tracking, run.tensorboard)
            for path in (*run.checkpoints.glob("*"), *made):
                remove(path)
            return
        self.results.drop(stage)
        if keep_answers:
            for path in self.run.predictions_of(stage):
                write_rows(path, regrade(complete_rows(path)))
            return
        folder = self.run.all_predictions
        for path in (*folder.glob(f"{stage}.jsonl*"), *folder.glob(f"{stage}--*")):
            remove(path)
