"""Rejection-sampling fine-tuning: rounds of sample, select, train (Yuan et al. 2023).

A round is three ordinary commands in run folders of their own, so each resumes by itself::

    RUN/rounds/training.jsonl            the training problems that have a final answer
    RUN/rounds/validation.jsonl          the run's validation problems
    RUN/rounds/1/samples/                mathtune sample BASE --data RUN/rounds/training.jsonl
    RUN/rounds/1/selected.jsonl          mathtune select RUN/rounds/1/samples
    RUN/rounds/1/trained/                the base, trained on rounds/1/selected.jsonl
    RUN/rounds/2/samples/                samples of the model in rounds/1/trained
    RUN/rounds/2/selected.jsonl          mathtune select RUN/rounds/1/samples RUN/rounds/2/samples
    RUN/model/                           the base, trained on rounds/2/selected.jsonl

Every round trains the recipe's own base, not the model of the round before, on all that was
selected so far: a model trained on its own answers again and again drifts. The last round's
training is the training of the run. Samples are drawn without solved examples in the prompt, as
the solutions are trained on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mathtune import problems, ranks
from mathtune.config.schema import DataConfig, Recipe, SourceConfig, TestSetConfig
from mathtune.errors import DataError
from mathtune.learning.held_out import known_test_questions
from mathtune.learning.select import Selection
from mathtune.learning.selection_file import select_files
from mathtune.problems.splits import question_key
from mathtune.records import Problem, Splits
from mathtune.run_paths import RunPaths
from mathtune.runs import Run
from mathtune.storage import read_json, write_text

log = logging.getLogger(__name__)

Command = Callable[[Recipe, Path, bool], Any]
"""``(recipe, run folder, fresh)``: does a command in its run folder, or finds it done."""


def learn(
    recipe: Recipe, run: Run, splits: Splits, *, sample: Command, train: Command, fresh: bool
) -> Splits:
    """Do all rounds but the last training; return what that trains on.

    Without ``rft.rounds`` that is what the recipe names.

    Args:
        recipe: The recipe.
        run: Its run folder; ``rft`` in its manifest gets a summary per round.
        splits: Its problems.
        sample: Samples a recipe's model on the recipe's test set.
        train: Trains a recipe's model on the recipe's data.
        fresh: Redo the rounds whose inputs have changed.

    Raises:
        DataError: No training problem has a final answer, all are test problems, or no right
            sample was found.
        RunError: A round was made from other inputs, and ``fresh`` is off.
    """
    if not recipe.rft.rounds:
        return splits
    rounds, sampled = RoundFiles(run), _sampled(recipe, splits.train.problems)
    ranks.from_first(lambda: rounds.write_problems(sampled, splits.validation.problems))
    model, folders, summary = recipe.model, list[Path](), list[dict[str, Any]]()
    for number in range(1, recipe.rft.rounds + 1):
        log.info(f"round {number} of {recipe.rft.rounds}: sampling {model.name_or_path}")
        asking = _sampling(recipe.model_copy(update={"model": model}), rounds.training, number)
        sample(asking, rounds.samples(number), fresh)
        folders.append(rounds.samples(number))
        found = ranks.from_first(partial(_select, recipe, rounds, tuple(folders), number))
        summary.append(_summary(number, found, rounds.samples(number)))
        for line in found.lines():
            log.info(line)
        data = _data(recipe, rounds, number)
        if number < recipe.rft.rounds:
            log.info(f"round {number} of {recipe.rft.rounds}: training {recipe.model.name_or_path}")
            train(_training(recipe, data), rounds.trained(number), fresh)
            update = {"name_or_path": str(RunPaths(rounds.trained(number)).model), "revision": None}
            model = recipe.model.model_copy(update=update)
    run.note(rft=summary)
    selected = problems.load(data, seed=recipe.seed)
    for line in problems.summary_lines(selected):
        log.info(line)
    return selected


def trained_on(recipe: Recipe, run: RunPaths, splits: Splits) -> Splits:
    """Return what the training of a run folder was given: the last round's selection, if any."""
    rounds, last = RoundFiles(run), recipe.rft.rounds
    if not (last and splits.train.problems and rounds.selected(last).is_file()):
        return splits
    return problems.load(_data(recipe, rounds, last), seed=recipe.seed)


class RoundFiles:
    """The files of the rounds in a run folder."""

    def __init__(self, run: RunPaths) -> None:
        self._folder = run.folder / "rounds"

    @property
    def training(self) -> Path:
        """The problems that are sampled."""
        return self._folder / "training.jsonl"

    @property
    def validation(self) -> Path:
        """The run's validation problems."""
        return self._folder / "validation.jsonl"

    def samples(self, number: int) -> Path:
        """Run folder of a round's samples."""
        return self._folder / str(number) / "samples"

    def selected(self, number: int) -> Path:
        """What a round trains on."""
        return self._folder / str(number) / "selected.jsonl"

    def trained(self, number: int) -> Path:
        """Run folder of a round's training."""
        return self._folder / str(number) / "trained"

    def write_problems(self, training: list[Problem], validation: tuple[Problem, ...]) -> None:
        """Write the problems that the rounds work with, where they are not there yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for path, given in ((self.training, training), (self.validation, validation)):
            text = problems.as_json_lines(given)
            if not path.is_file() or path.read_text("utf-8") != text:
                write_text(path, text)


def _sampled(recipe: Recipe, given: Sequence[Problem]) -> list[Problem]:
    """Return the training problems to sample: those whose answers can be graded and learned from.

    Raises:
        DataError: There is none.
    """
    kept = [problem for problem in given if problem.gold]
    if not kept:
        raise DataError(
            "rft.rounds is set, and no training problem has a final answer to grade samples by; "
            "name other problems under data.train, or set rft.rounds=0"
        )
    if left := len(given) - len(kept):
        log.info(f"{left:,} training problems have no final answer and are not sampled")
    known = ranks.from_first(lambda: known_test_questions(recipe.data.train))
    sets = [known.get(question_key(problem.question), "") for problem in kept]
    names = " and ".join(dict.fromkeys(filter(None, sets)))
    if all(sets):
        raise DataError(
            f"all {len(kept):,} training problems are questions of the {names} test set, whose "
            "samples are never learned from; name other problems under data.train, or the set "
            f"itself to train on part of it, as {{name: {sets[0]}, split: test, limit: 100}}"
        )
    if names:
        left = len(kept) - sets.count("")
        log.info(f"{left:,} training problems are of the {names} test set and not sampled")
    return [problem for problem, name in zip(kept, sets, strict=True) if not name]


def _sampling(recipe: Recipe, training: Path, number: int) -> Recipe:
    """Return the recipe that samples in a round."""
    rft = recipe.rft
    decoding = {
        "samples": rft.samples,
        "temperature": rft.temperature,
        "top_p": rft.top_p,
        "calculator": rft.calculator,
        "other_calculator": False,
        "perplexity": False,
    }
    source = TestSetConfig(label="training problems", sources=[SourceConfig(path=str(training))])
    data = recipe.data.model_copy(update={"test": [source], "max_test_samples": None})
    return recipe.model_copy(
        update={
            "name": f"{recipe.name}-samples",
            "seed": (recipe.seed + number) % 2**32,  # or a round would draw the same numbers
            "data": data,
            "eval": recipe.eval.model_copy(update=decoding),
            "prompt": recipe.prompt.model_copy(update={"shots": 0}),
            "rft": type(rft)(),
        }
    )


def _training(recipe: Recipe, data: DataConfig) -> Recipe:
    """Return the recipe that trains the base in a round."""
    changed = {"name": f"{recipe.name}-round", "data": data, "rft": type(recipe.rft)()}
    return recipe.model_copy(update=changed)


def _data(recipe: Recipe, rounds: RoundFiles, number: int) -> DataConfig:
    """Return the recipe's data with a round's selection as training problems."""
    return recipe.data.model_copy(
        update={
            "train": [SourceConfig(path=str(rounds.selected(number)))],
            "validation": [SourceConfig(path=str(rounds.validation))],
            "max_train_samples": None,
            "max_validation_samples": None,
        }
    )


def _select(
    recipe: Recipe, rounds: RoundFiles, folders: tuple[Path, ...], number: int
) -> Selection:
    trained_on = recipe.data.train
    return select_files(folders, rounds.selected(number), recipe.select, trained_on=trained_on)


def _summary(number: int, found: Selection, samples: Path) -> dict[str, Any]:
    """Return a round's counts for the manifest.

    ``pass_rate`` and ``solved`` are of the round's own samples; the counts of what was selected are
    of all rounds so far.
    """
    measured = read_json(RunPaths(samples).results)["evaluations"][0]
    return {
        "round": number,
        "pass_rate": measured.get("exact_match"),
        "solved": measured.get("solved"),
        "samples": found.samples,
        "kept": found.kept,
        "gold": found.gold,
        "problems": found.problems,
        "problems_with_a_sample_kept": found.learnable,
        "dropped": dict(found.dropped),
    }
