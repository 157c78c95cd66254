"""Sample files: what ``mathtune sample`` wrote, of which model, to which problems."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune import runs
from mathtune.config.schema import FILE_ENDINGS, Recipe, SourceConfig
from mathtune.errors import DataError, MathtuneError
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.evaluation.summary import whole_evaluation
from mathtune.models import files as model_files
from mathtune.records import PredictionRow
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json


def sets_to_sample(data: Sequence[str]) -> list[dict[str, Any]]:
    """Return ``data.test`` for problems to sample: of a named set the train split, unless given."""
    sets = []
    for text in data:
        if text.endswith(FILE_ENDINGS) or Path(text).exists():
            sets.append({"label": text, "sources": [{"path": text}]})
            continue
        name, _, split = text.partition(":")
        source = {"name": name, "split": split or "train"}
        sets.append({"label": f"{name}:{source['split']}", "sources": [source]})
    return sets


@dataclass(frozen=True, slots=True)
class SampleFile:
    """One file of graded samples.

    Attributes:
        path: The file.
        rows: Its rows.
        recipe: The recipe of the run folder it lies in, or None where it lies elsewhere.
    """

    path: Path
    rows: tuple[PredictionRow, ...]
    recipe: Recipe | None

    @property
    def problem_sources(self) -> tuple[SourceConfig, ...]:
        """The sources that its problems were read from, as far as they are known."""
        label = self.rows[0]["set"]
        sets = self.recipe.data.test if self.recipe else []
        return tuple(source for each in sets if each.label == label for source in each.sources)

    def describe(self) -> dict[str, Any]:
        """Return what a selection records of it: its content, its model, that model's licence."""
        recipe, first = self.recipe, self.rows[0]
        paths = RunPaths(self.path.absolute().parent.parent)
        noted: dict[str, Any] = {}
        if recipe is not None:
            stage = "tuned" if self.path.name.startswith("tuned") else "base"
            inputs = read_json(paths.manifest_file).get("inputs") or {}
            noted = {
                "model": recipe.model.name_or_path,
                "revision": recipe.model.revision,
                "weights": (inputs.get(stage) or {}).get("weights") or None,
                "license": license_of(recipe),
                "engine": recipe.eval.engine,
                "sources": [
                    source.model_dump(mode="json", exclude_defaults=True)
                    for source in self.problem_sources
                ],
            }
        return {
            "file": str(self.path),
            "sha256": hashlib.sha256(self.path.read_bytes()).hexdigest(),
            **(noted or {"model": None, "license": None}),
            "set": first["set"],
            "style": first["style"],
            "decoding": first["decoding"],
            "problems": len({row["problem_id"] for row in self.rows}),
            "samples": len(self.rows),
            "right": sum(row["correct"] for row in self.rows),
        }


def read_samples(paths: Sequence[Path]) -> list[SampleFile]:
    """Read sample files, or those of run folders, each of them finished.

    Raises:
        DataError: One is missing, unfinished, or no file of samples; with every fault.
    """
    found: list[SampleFile] = []
    faults: list[str] = []
    for path in paths:
        try:
            found += [_read(file) for file in _files(path)]
        except MathtuneError as error:
            faults += error.faults
    if faults:
        raise DataError(list(dict.fromkeys(faults)))
    return found


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    run = RunPaths(path)
    files = [each for each in run.predictions_of("base") if each.suffix == ".jsonl"]
    if not files:
        raise DataError(
            f"{path} holds no predictions/base.jsonl; give the run folder of mathtune sample, or "
            "one of its files"
        )
    if run.manifest_file.is_file() and "base" not in read_json(run.manifest_file).get("stages", ()):
        raise DataError(
            f"the sampling in {path} is not finished; give its command again, which continues it"
        )
    return files


def _read(path: Path) -> SampleFile:
    rows = tuple(read_rows(path))
    try:
        whole_evaluation(rows)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    run = RunPaths(path.absolute().parent.parent)
    lies_in_run = run.recipe.is_file() and path.absolute().parent == run.all_predictions
    return SampleFile(path, rows, runs.stored_recipe(run.recipe) if lies_in_run else None)


def license_of(recipe: Recipe) -> str | None:
    """Return the licence of a recipe's model: as given, else as its folder's model card states."""
    model = recipe.model
    if model.license or model.name_or_path is None or recipe.eval.engine == "openai":
        return model.license
    try:
        folder = model_files.local_folder(model.name_or_path, model.revision)
    except MathtuneError:
        return None
    return _license_in(folder / "README.md") if folder is not None else None


def _license_in(card: Path) -> str | None:
    """Return ``license`` of a model card's front matter."""
    import yaml

    from mathtune.config.yaml_loader import read_yaml

    try:
        text = card.read_text("utf-8")
        head = read_yaml(text.split("---\n")[1]) if text.startswith("---\n") else {}
    except (OSError, ValueError, IndexError, yaml.YAMLError, RecursionError):
        return None
    value = head.get("license") if isinstance(head, dict) else None
    return value if isinstance(value, str) else None
