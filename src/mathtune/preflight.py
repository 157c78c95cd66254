"""Everything that can be checked before work begins, so that a run does not fail an hour in.

All faults found are reported together.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from mathtune.config.schema import Recipe, SourceConfig
from mathtune.errors import ConfigError, did_you_mean

MINIMUM_FREE_BYTES = 200 * 2**20
"""A run folder of the smallest model with its checkpoints."""


def check(recipe: Recipe, run_dir: Path | None, *, trains: bool = True) -> None:
    """Check files, model folder, names and disk space.

    Raises:
        ConfigError: With every fault found.
    """
    faults = [*_model_faults(recipe), *_disk_faults(run_dir or Path("runs"))]
    sources = [source for test in recipe.data.test for source in test.sources]
    if trains:
        sources = [*recipe.data.train, *recipe.data.validation, *sources]
        faults += _training_faults(recipe)
    for source in sources:
        faults += _source_faults(source)
    if faults:
        raise ConfigError(list(dict.fromkeys(faults)))


def _model_faults(recipe: Recipe) -> Iterator[str]:
    name = recipe.model.name_or_path
    if name is None or Path(name).is_dir():
        return
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        yield f"model={name}: there is no such folder; give a saved model's folder or a hub id"
    elif "/" not in name and name != "tiny-base":
        yield (
            f"model={name}: no folder and no hub id of the form owner/name"
            f"{did_you_mean(name, ['tiny-base'])} Give a folder, a hub id such as google/gemma-2b, or "
            "tiny-base"
        )


def _disk_faults(run_dir: Path) -> Iterator[str]:
    folder = run_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < MINIMUM_FREE_BYTES:
        yield (
            f"{free / 2**20:.0f} MB are free at {folder} and a run needs at least "
            f"{MINIMUM_FREE_BYTES / 2**20:.0f} MB; free some space or choose another --run-dir"
        )


def _training_faults(recipe: Recipe) -> Iterator[str]:
    """Names that belong to Transformers are checked against its own lists."""
    from mathtune.training.names import OPTIMIZERS, SCHEDULES

    for key, value, known in (
        ("train.optim", recipe.train.optim, OPTIMIZERS),
        ("train.lr_scheduler_type", recipe.train.lr_scheduler_type, SCHEDULES),
    ):
        if value not in known:
            yield f"{key}={value} is unknown{did_you_mean(value, known)} Known: {', '.join(known)}"


def _source_faults(source: SourceConfig) -> Iterator[str]:
    if source.path is not None and not Path(source.path).expanduser().exists():
        yield f"data file {source.path} does not exist; check the path"
