"""What ``run``, ``train`` and ``evaluate`` return, read from the run folder.

Each has a readable ``repr``, a table in notebooks, and ``to_pandas()`` for the rows behind it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mathtune.api.display import data_frame, html_table
from mathtune.config.schema import Recipe
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.records import PredictionRow
from mathtune.report import wording
from mathtune.report.training_facts import best_checkpoint
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """A model on one or more test sets.

    Attributes:
        run_dir: The run folder, with every answer.
        label: ``base`` or ``tuned``.
        model: Name or folder of the model.
        evaluations: The figures, one mapping per set and calculator setting, the headline's first;
            ``docs/run-folder.md`` lists their keys.
        answers: The model's answers to the recipe's example problem, by calculator setting.
    """

    run_dir: Path
    label: str
    model: str
    evaluations: tuple[Mapping[str, Any], ...]
    answers: Mapping[bool, str]

    @classmethod
    def read(cls, run_dir: Path, label: str, recipe: Recipe) -> EvaluationResult:
        """Read the results of an evaluation from its run folder."""
        results = read_json(RunPaths(run_dir).results, keys=("headline", "evaluations", "example"))
        where = results["headline"]
        found = [each for each in results["evaluations"] if each["model"] == label]
        found.sort(key=lambda each: any(each[key] != where[key] for key in where))
        answers = {
            each["calculator"]: each["completion"].strip()
            for each in results["example"]["answers"]
            if each["model"] == label
        }
        tuned = RunPaths(run_dir).model
        trained = tuned.is_dir() and label == "tuned"
        name = str(tuned) if trained else recipe.model.name_or_path or "random weights"
        return cls(run_dir, label, name, tuple(found), answers)

    @property
    def exact_match(self) -> float:
        """Share of the headline set's problems answered right."""
        return float(self.evaluations[0]["exact_match"]["value"])

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of ``exact_match``."""
        rate = self.evaluations[0]["exact_match"]
        return rate["low"], rate["high"]

    @property
    def n(self) -> int:
        """Problems of the headline set."""
        return int(self.evaluations[0]["n"])

    @property
    def perplexity(self) -> float | None:
        """Perplexity of the headline set's gold solutions; None if it was not measured."""
        found = self.evaluations[0]["perplexity"]
        return None if found is None else float(found["completion"])

    @property
    def predictions(self) -> Path:
        """The headline set's predictions file."""
        return self.run_dir / str(self.evaluations[0]["predictions"])

    @property
    def rows(self) -> tuple[PredictionRow, ...]:
        """The headline set's predictions, one mapping per problem and sample."""
        return tuple(read_rows(self.predictions))

    def to_pandas(self) -> pandas.DataFrame:
        """Return the headline set's predictions: question, gold, completion, correct, outcome, …"""
        return data_frame(self.rows)

    def __repr__(self) -> str:
        lines = (f"  {name}: {rate} right of {n}" for name, n, rate, _ in _figures(self))
        return "\n".join([f"EvaluationResult({self.model}, run_dir={str(self.run_dir)!r})", *lines])

    def _repr_html_(self) -> str:
        head = ("", "problems", "exact match", "perplexity")
        return html_table(self.model, head, _figures(self))


@dataclass(frozen=True, repr=False)
class TrainResult:
    """Result of a training.

    Attributes:
        run_dir: The run folder.
        model: Folder of the weights, or the adapter, that validation chose, with the tokenizer.
        recipe: The recipe it was trained with.
        figures: ``steps``, ``best_step``, ``best_eval_loss``, ``stopped``, ``train_tokens``,
            ``seconds``, …: ``training`` in ``manifest.json``.
        parameters: ``total``, ``trainable`` and ``trainable_share``; with ``_packed`` the same
            where two 4-bit weights count as one.
        metrics: Lines of ``metrics.jsonl``: losses step by step, and validations.
    """

    run_dir: Path
    model: Path
    recipe: Recipe
    figures: Mapping[str, Any]
    parameters: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, run_dir: Path, recipe: Recipe) -> TrainResult:
        """Read the results of a training from its run folder."""
        manifest = read_json(RunPaths(run_dir).manifest_file, keys=("training", "parameters"))
        lines = RunPaths(run_dir).metrics.read_text(encoding="utf-8").splitlines()
        return cls(
            run_dir,
            RunPaths(run_dir).model,
            recipe,
            manifest["training"],
            manifest["parameters"],
            tuple(json.loads(line) for line in lines),
        )

    @property
    def best_eval_loss(self) -> float:
        """Validation loss of the kept weights, nats per supervised token."""
        return float(self.figures["best_eval_loss"])

    def to_pandas(self) -> pandas.DataFrame:
        """Return the metrics: ``step``, ``epoch``, ``loss``, ``eval_loss``, ``learning_rate``, …"""
        return data_frame(self.metrics)

    def __repr__(self) -> str:
        lines = (f"  {name}: {value}" for name, value in self._facts())
        return "\n".join([f"TrainResult(run_dir={str(self.run_dir)!r})", *lines])

    def _repr_html_(self) -> str:
        return html_table(f"training, {self.run_dir}", ("", ""), self._facts())

    def _facts(self) -> Iterator[tuple[str, str]]:
        counts, figures = self.parameters, self.figures
        share = wording.percent(counts["trainable_share"], 2)
        yield "trained parameters", f"{wording.count(counts['trainable'])} ({share})"
        yield "steps", wording.count(figures["steps"])
        settings = self.recipe.train.model_dump()
        yield "best checkpoint", best_checkpoint(figures, self.metrics, settings)
        yield "time", wording.duration(figures["seconds"])
        yield "model", str(self.model)


@dataclass(frozen=True, repr=False)
class RunResult:
    """A whole run: the model before and after training, and whether the difference is real.

    Attributes:
        run_dir: The run folder.
        base: The model before; None for random weights.
        training: Result of the training.
        tuned: The model after.
        comparisons: One mapping per test set and calculator setting, as in ``results.json``.
    """

    run_dir: Path
    base: EvaluationResult | None
    training: TrainResult
    tuned: EvaluationResult
    comparisons: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, run_dir: Path, recipe: Recipe) -> RunResult:
        """Read the results of a run from its folder."""
        results = read_json(RunPaths(run_dir).results, keys=("comparisons", "headline"))
        where = results["headline"]
        found = sorted(
            results["comparisons"], key=lambda each: any(each[key] != where[key] for key in where)
        )
        named = recipe.model.name_or_path is not None
        return cls(
            run_dir,
            EvaluationResult.read(run_dir, "base", recipe) if named else None,
            TrainResult.read(run_dir, recipe),
            EvaluationResult.read(run_dir, "tuned", recipe),
            tuple(found),
        )

    @property
    def verdict(self) -> str:
        """What the headline comparison found, in a sentence; empty without a base."""
        return str(self.comparisons[0]["verdict"]) if self.comparisons else ""

    @property
    def report(self) -> Path:
        """The report, as HTML."""
        return RunPaths(self.run_dir).report

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per model, test set and calculator setting."""
        sides = [self.tuned] if self.base is None else [self.base, self.tuned]
        return data_frame(
            {
                **{key: found[key] for key in ("model", "set", "calculator", "n")},
                "exact_match": found["exact_match"]["value"],
                "low": found["exact_match"]["low"],
                "high": found["exact_match"]["high"],
                "perplexity": found["perplexity"] and found["perplexity"]["completion"],
            }
            for side in sides
            for found in side.evaluations
        )

    def __repr__(self) -> str:
        verdict = f"\n  {self.verdict}" if self.verdict else ""
        lines = (f"  {name}: {before} → {after}" for name, before, after in self._rows())
        return "\n".join([f"RunResult(run_dir={str(self.run_dir)!r}){verdict}", *lines])

    def _repr_html_(self) -> str:
        return html_table(self.verdict or str(self.run_dir), ("", "base", "tuned"), self._rows())

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        before = {} if self.base is None else {row[0]: row[2] for row in _figures(self.base)}
        for name, _, rate, _ in _figures(self.tuned):
            yield name, before.get(name, wording.MISSING), rate


def _figures(result: EvaluationResult) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, number of problems, rate with interval, and perplexity of each evaluation."""
    for found in result.evaluations:
        rate, perplexity = found["exact_match"], found["perplexity"]
        yield (
            f"{found['set']}, {wording.calculator(found['calculator'])}",
            wording.count(found["n"]),
            f"{wording.percent(rate['value'])} ({wording.rate_interval(rate)})",
            wording.significant(perplexity and perplexity["completion"]),
        )
