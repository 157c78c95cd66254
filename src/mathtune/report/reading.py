"""Reads a run folder. Any file may be missing; what is missing or unreadable is noted."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mathtune.errors import RunError
from mathtune.records import PredictionRow
from mathtune.report.wording import MODELS
from mathtune.run_paths import VERIFIER_ENDING, RunPaths
from mathtune.text.redaction import redacted_values
from mathtune.text.visible import visible

RECIPE_SECTIONS = ("model", "adapter", "data", "prompt", "train", "eval", "tracking")
MANIFEST_SECTIONS = ("training", "stages", "data", "parameters", "versions")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """A run folder's files as read.

    Attributes:
        name: The folder's name.
        recipe: ``recipe.yaml``, or empty.
        manifest: ``manifest.json``, or empty.
        training: Training lines of ``metrics.jsonl`` by step; if a step is logged twice, the later.
        validation: Validation lines, likewise.
        results: ``results.json``, or empty.
        answers: Model (``base``, ``tuned``) → rows of its prediction files, headline file first.
        reranked: Predictions file → what ``mathtune rerank`` found for it.
        notes: One sentence for each thing that is missing or could not be read.
        unread: Rows of a model's predictions that were left unread, where they were counted.
    """

    name: str
    recipe: Mapping[str, Any]
    manifest: Mapping[str, Any]
    training: tuple[Mapping[str, Any], ...]
    validation: tuple[Mapping[str, Any], ...]
    results: Mapping[str, Any]
    answers: Mapping[str, tuple[PredictionRow, ...]]
    notes: tuple[str, ...]
    unread: int = 0
    reranked: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read(run_dir: Path, *, most_answers: int | None = None) -> RunFiles:
    """Read a run folder.

    Args:
        run_dir: The folder.
        most_answers: Read at most this many rows of each predictions file; default: all.

    Raises:
        RunError: If it is not a folder, holds no file of a run, or has a JSON or YAML file that
            cannot be parsed. A torn line of a JSONL file is left out and noted instead.
    """
    if not run_dir.is_dir():
        raise RunError(f"{run_dir} is not a folder; give the folder of a run, as in runs/demo")
    notes: list[str] = []
    paths = RunPaths(run_dir)
    recipe = shown(redacted_values(_read_yaml(paths.recipe)))
    _check_sections(recipe, RECIPE_SECTIONS, paths.recipe)
    manifest = shown(redacted_values(_read_json(paths.manifest_file)))
    _check_sections(manifest, MANIFEST_SECTIONS, paths.manifest_file)
    results = shown(_read_json(paths.results))
    _check_results(results, paths.results)
    lines = _read_lines(paths.metrics, notes)
    validation = _by_step(line for line in lines if any(key.startswith("eval_") for key in line))
    training = _by_step(line for line in lines if "loss" in line)
    answers = {model: _read_answers(run_dir, model, notes, most_answers) for model in MODELS}
    if not (recipe or manifest or results or lines or any(answers.values())):
        raise RunError(
            f"{run_dir} holds no recipe.yaml, manifest.json, metrics.jsonl, results.json or "
            "predictions/; give the folder that a mathtune command wrote"
        )
    missing = _missing(recipe, manifest, training, validation, results, answers)
    return RunFiles(
        name=visible(run_dir.resolve().name),
        recipe=recipe,
        manifest=manifest,
        training=training,
        validation=validation,
        results=results,
        answers=answers,
        notes=(*missing, *notes),
        reranked={
            visible(path.name.removesuffix(VERIFIER_ENDING)): shown(_read_json(path))
            for path in sorted(paths.all_predictions.glob(f"*{VERIFIER_ENDING}"))
        },
    )


def _missing(
    recipe: Mapping[str, Any],
    manifest: Mapping[str, Any],
    training: Sequence[Any],
    validation: Sequence[Any],
    results: Mapping[str, Any],
    answers: Mapping[str, Sequence[Any]],
) -> list[str]:
    """Return what the folder lacks and what the report cannot show as a result."""
    notes = []
    if not recipe:
        notes.append("There is no recipe.yaml: base model, method and settings are unknown.")
    if not manifest:
        notes.append("There is no manifest.json: data counts, versions and device are unknown.")
    if not training and not validation:
        notes.append("There is no metrics.jsonl with losses: no training curves.")
    elif not validation:
        notes.append("metrics.jsonl has no validation lines: no validation curve.")
    asked = recipe.get("eval") or {}
    engine = asked.get("engine", "hf")
    if engine == "ray" and asked.get("worker_engine", "hf") == "hf":
        notes.append("Measured on workers of Ray, which give no perplexity: it is unknown.")
    elif engine != "hf":
        notes.append(
            f"Measured with the {engine} engine, which has no calculator and gives no perplexity: "
            "the other calculator setting and perplexity are unknown."
        )
    if not results:
        notes.append("There is no results.json: no model of this run has been evaluated.")
    else:
        measured = {evaluation.get("model") for evaluation in results.get("evaluations") or ()}
        for model in MODELS:
            if model not in measured:
                notes.append(f"The {model} model has not been evaluated: nothing to compare with.")
        unknown = sorted(str(name) for name in measured if name not in MODELS)
        if unknown:
            notes.append(
                f"results.json has evaluations of {', '.join(unknown)}; only base and tuned "
                "are shown."
            )
        if set(MODELS) <= measured and not results.get("comparisons"):
            notes.append("results.json has no comparison of base and tuned.")
        if not (results.get("example") or {}).get("answers"):
            notes.append("results.json has no answer to an example problem.")
    if not any(answers.values()):
        notes.append("There are no predictions: the table of problems is left out.")
    return notes


def _read_json(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is not valid JSON ({error}); restore or delete it") from error
    return _mapping(value, path)


def _read_yaml(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        return {}
    import yaml

    from mathtune.config.yaml_loader import read_yaml

    try:
        value = read_yaml(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise RunError(f"{path} is not valid YAML ({why}); restore or delete it") from error
    return _mapping(value, path)


def _check_sections(values: Mapping[str, Any], names: Sequence[str], path: Path) -> None:
    for name in names:
        _mapping(values.get(name), f"{path}: {name}")


def _check_results(results: Mapping[str, Any], path: Path) -> None:
    example = _mapping(results.get("example"), f"{path}: example")
    lists = {name: results.get(name) for name in ("evaluations", "comparisons")}
    for name, values in {**lists, "example.answers": example.get("answers")}.items():
        if not isinstance(values or [], list):
            raise RunError(f"{path}: {name} must hold a list; restore or delete the file")
        for value in values or ():
            if not isinstance(value, dict):
                raise RunError(f"{path}: {name} must hold mappings; restore or delete the file")


def _mapping(value: Any, path: Path | str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RunError(
            f"{path} must hold a mapping, not {type(value).__name__}; restore or delete it"
        )
    return value


def _read_lines(path: Path, notes: list[str], most: int | None = None) -> list[dict[str, Any]]:
    """Read JSONL; lines that are not JSON objects (a write cut short) are counted in ``notes``."""
    if not path.is_file():
        return []
    lines, unreadable = [], 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in itertools.islice(file, most):
            if not text.strip():
                continue
            try:
                value = json.loads(text)
            except ValueError:
                value = None
            if isinstance(value, dict):
                lines.append(shown(value))
            else:
                unreadable += 1
    if unreadable:
        ending = "line that is" if unreadable == 1 else "lines that are"
        notes.append(f"{path.name} has {unreadable:,} {ending} not valid JSON; left out here.")
    return lines


def _answer_files(run_dir: Path, model: str) -> list[Path]:
    """Return a model's predictions files: the headline file, then the others by name."""
    found = RunPaths(run_dir).predictions_of(model)
    return [path for path in found if path.suffix == ".jsonl"]


def unread_rows(run_dir: Path, most: int) -> int:
    """Return how many rows ``read`` leaves out with ``most_answers``: the larger of both models.

    It reads all predictions files to their ends.
    """
    return max(_unread(run_dir, model, most) for model in MODELS)


def _unread(run_dir: Path, model: str, most: int) -> int:
    unread = 0
    for path in _answer_files(run_dir, model):
        if path.is_file():
            with path.open("rb") as file:
                unread += max(0, sum(1 for _ in file) - most)
    return unread


def _read_answers(
    run_dir: Path, model: str, notes: list[str], most: int | None
) -> tuple[PredictionRow, ...]:
    """Read a model's prediction files."""
    files = _answer_files(run_dir, model)
    rows = [row for file in files for row in _read_lines(file, notes, most)]
    named = tuple(cast(PredictionRow, row) for row in rows if "problem_id" in row)
    unnamed = len(rows) - len(named)
    if unnamed:
        what = "row" if unnamed == 1 else "rows"
        notes.append(
            f"The {model} model's predictions have {unnamed:,} {what} without a problem_id; left "
            "out here."
        )
    return named


def _by_step(lines: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """Order by step. A resumed run logs some steps again: the later line counts."""
    steps: dict[Any, Mapping[str, Any]] = {}
    for line in lines:
        step = line.get("step")
        if isinstance(step, int | float):
            steps[step] = {**steps.get(step, {}), **line}
    return tuple(steps[step] for step in sorted(steps))


def shown(value: Any) -> Any:
    """Escape, in every text, what a page or a card would interpret instead of showing."""
    if isinstance(value, dict):
        return {visible(str(key)): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return visible(value) if isinstance(value, str) else value
