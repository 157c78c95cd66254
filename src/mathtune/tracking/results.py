"""What trackers get when a run is done: figures, both models' answers, the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.run_paths import RunPaths, slug
from mathtune.tracking import wandb_run
from mathtune.tracking.setup import Kept

MOST_ROWS = 10_000
"""W&B shows at most this many rows of a table."""

_COLUMNS = ("problem_id", "sample", "type", "question", "gold")
_ANSWER_COLUMNS = ("completion", "extracted", "outcome", "error")


def figures(run_dir: Path) -> dict[str, float]:
    """Return the results on test sets, under names such as ``test/gsm8k/tuned_exact_match``.

    With the calculator the set is called ``gsm8k-calculator``.
    """
    path = RunPaths(run_dir).results
    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found: dict[str, float] = {}
    for entry in results.get("evaluations", ()):
        place = _place(entry)
        found[f"{place}/{entry['model']}_exact_match"] = entry["exact_match"]["value"]
        if entry.get("perplexity"):
            found[f"{place}/{entry['model']}_perplexity"] = entry["perplexity"]["completion"]
    for entry in results.get("comparisons", ()):
        for key in ("difference", "difference_low", "difference_high", "mcnemar_p"):
            found[f"{_place(entry)}/{key}"] = entry[key]
    return found


def answers(run_dir: Path) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of the headline set's answers, both models' side by side."""
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    models = []
    for model in ("base", "tuned"):
        path = RunPaths(run_dir).headline_predictions(model)
        if not path.exists():
            continue
        models.append(model)
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            kept = rows.setdefault(
                (row["problem_id"], row["sample"]), {key: row[key] for key in _COLUMNS}
            )
            kept |= {f"{model}_{key}": row[key] for key in _ANSWER_COLUMNS}
    columns = [*_COLUMNS, *(f"{model}_{key}" for model in models for key in _ANSWER_COLUMNS)]
    return columns, [[row.get(key) for key in columns] for row in list(rows.values())[:MOST_ROWS]]


def to_wandb(recipe: Recipe, run_dir: Path) -> None:
    """Add a table and an artifact to the W&B run, and finish it."""
    import wandb

    wandb_run.begin(recipe, run_dir)
    assert wandb.run is not None
    try:
        measured = figures(run_dir)
        columns, rows = answers(run_dir)
        if rows:
            text = [[None if value is None else str(value) for value in row] for row in rows]
            wandb.log({"predictions": wandb.Table(columns=columns, data=text), **measured})
        wandb.run.summary.update(measured)
        artifact = wandb.Artifact(f"report-{wandb.run.id}", type="report")
        for path in _report_files(run_dir):
            artifact.add_file(str(path))
        wandb.log_artifact(artifact)
    finally:
        wandb_run.end()  # a server that stopped answering must not block the process


def to_tensorboard(recipe: Recipe, run_dir: Path) -> None:
    """Add the figures and the model card to the event files."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(RunPaths(run_dir).tensorboard)) as writer:
        for name, value in figures(run_dir).items():
            writer.add_scalar(name, value)
        card = RunPaths(run_dir).card
        if card.exists():
            writer.add_text("report", card.read_text(encoding="utf-8"))


def to_mlflow(recipe: Recipe, run_dir: Path) -> None:
    """Add figures, answers and report to the MLflow run."""
    import mlflow

    run_id = Kept(run_dir, "mlflow").get("run_id")
    if run_id is None:
        mlflow.set_experiment(recipe.tracking.project)
    with mlflow.start_run(run_id=run_id, run_name=None if run_id else run_dir.resolve().name):
        mlflow.log_metrics({name.replace("/", "."): v for name, v in figures(run_dir).items()})
        columns, rows = answers(run_dir)
        if rows:
            mlflow.log_dict({"columns": columns, "data": rows}, "predictions.json")
        for path in _report_files(run_dir):
            mlflow.log_artifact(str(path), "report")


def to_trackio(recipe: Recipe, run_dir: Path) -> None:
    """Add figures and answers to the trackio run."""
    import pandas
    import trackio

    trackio.init(
        project=recipe.tracking.project, name=run_dir.resolve().name, resume="allow", embed=False
    )
    columns, rows = answers(run_dir)
    logged: dict[str, Any] = dict(figures(run_dir))
    if rows:
        logged["predictions"] = trackio.Table(dataframe=pandas.DataFrame(rows, columns=columns))
    if logged:
        trackio.log(logged)
    trackio.finish()


LOGGERS: dict[str, Callable[[Recipe, Path], None]] = {
    "wandb": to_wandb,
    "tensorboard": to_tensorboard,
    "mlflow": to_mlflow,
    "trackio": to_trackio,
}


def _place(entry: dict[str, Any]) -> str:
    return f"test/{slug(entry['set'])}{'-calculator' if entry['calculator'] else ''}"


def _report_files(run_dir: Path) -> list[Path]:
    run = RunPaths(run_dir)
    files = (run.report, run.card, run.results, run.recipe, run.manifest_file)
    return [path for path in files if path.exists()]
