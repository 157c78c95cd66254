"""Run folders: layout, manifest, provenance, and the lock that keeps two commands apart.

A run folder is the product: everything someone else needs to check a result, or to continue it. The
same command finds the same folder again, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mathtune
from mathtune import ranks
from mathtune.errors import ConfigError, DiskError, RunError
from mathtune.locks import Lock, lock
from mathtune.provenance import provenance
from mathtune.run_paths import RunPaths
from mathtune.storage import damaged, read_json, write_json, write_text
from mathtune.text.redaction import redact_command

if TYPE_CHECKING:  # a report can be written without them
    from mathtune.config.identity import Change
    from mathtune.config.schema import Recipe


@dataclass
class Run(RunPaths):
    """One run folder, locked by this process, or by rank 0 for all ranks. Only rank 0 writes."""

    changes: list[Change] = field(default_factory=list)
    """Knobs that differ from those of the last start; ``adopt`` stores the new ones."""
    _lock: Lock | None = field(default=None, repr=False)

    def manifest(self) -> dict[str, Any]:
        """Return the manifest."""
        path = self.manifest_file
        manifest = read_json(path, keys=("stages",))
        if not isinstance(manifest["stages"], dict):
            raise damaged(path, "stages is not an object")
        if not isinstance(manifest.setdefault("changes", []), list):
            raise damaged(path, "changes is not a list")
        return manifest

    def note(self, **facts: Any) -> None:
        """Add facts to the manifest; mappings are merged one level deep."""
        if not ranks.is_first():
            return
        manifest = self.manifest()
        for key, value in facts.items():
            if isinstance(value, Mapping) and isinstance(manifest.get(key), dict):
                manifest[key] = {**manifest[key], **value}
            else:
                manifest[key] = value
        write_json(self.manifest_file, manifest)

    def finish_stage(self, stage: str) -> None:
        """Record that a stage is done, and when."""
        self.note(stages={stage: _now()})

    def forget_stage(self, stage: str) -> None:
        """Mark a stage as not done."""
        manifest = self.manifest()
        if manifest["stages"].pop(stage, None) is not None:
            write_json(self.manifest_file, manifest)

    def adopt(self, recipe: Recipe) -> None:
        """Store a new recipe for the run and record its changes."""
        from mathtune import config

        if self.changes:
            self.note(changes=[*self.manifest()["changes"], *map(_noted, self.changes)])
            self.note(seed=recipe.seed)
            write_text(self.recipe, config.dump(recipe))

    def is_done(self, stage: str) -> bool:
        """Return whether a stage was finished, now or before an interruption."""
        return ranks.from_first(lambda: stage in self.manifest()["stages"])

    def is_trained(self) -> bool:
        """Return whether training was finished and its model is still there."""
        return self.is_done("train") and ranks.from_first(self.model.is_dir)

    def close(self) -> None:
        """Release the folder for other processes."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def default_folder(recipe: Recipe) -> Path:
    """Return ``runs/NAME-HASH``: the same recipe with the same overrides has the same folder."""
    from mathtune import config

    digest = hashlib.sha256(config.identity(recipe).encode()).hexdigest()[:8]
    return Path("runs") / f"{recipe.name}-{digest}"


def keep_problems(folder: Path, text: str, *, fresh: bool = False) -> Path:
    """Write problems given in Python to a file that a recipe can name; return it.

    Args:
        folder: Of a new run, or of one made with these problems.
        text: JSON lines.
        fresh: Whether they may replace others.

    Raises:
        RunError: If the folder was made with other problems, or holds something else.
        DiskError: If it cannot be written.
    """
    path = RunPaths(folder).problems
    try:
        _check_ours(folder)
        if path.exists() and not fresh and path.read_text(encoding="utf-8") != text:
            raise RunError(
                f"{path} holds other problems than those given now; choose another run_dir, or "
                "give fresh=True to measure again"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return path


def create(folder: Path, recipe: Recipe, *, command: list[str]) -> Run:
    """Create a run folder, or reopen it if the same recipe made it.

    In a folder that holds work, the stored recipe stays until ``Run.adopt``; ``Run.changes`` lists
    how the given one differs, and ``binding`` decides whether that fits the work. A folder without
    saved work, from a recipe that turned out to be wrong, is created again.

    Raises:
        RunError: If another command is using the folder, it holds something else, its recipe cannot
            be read, or a rank cannot see it.
        DiskError: If it cannot be written.
    """
    mine: list[Run] = []
    ranks.from_first(lambda: mine.append(_create(folder, recipe, command)))
    if not folder.is_dir():
        raise RunError(
            f"rank {ranks.rank()} does not see run folder {folder}, which rank 0 created; choose "
            "a --run-dir on a disk that all machines share"
        )
    return mine[0] if mine else Run(folder)


def _create(folder: Path, recipe: Recipe, command: list[str]) -> Run:
    try:
        _check_ours(folder)
        for part in (RunPaths(folder).checkpoints, RunPaths(folder).all_predictions):
            part.mkdir(parents=True, exist_ok=True)
        _check_writable(folder)
        run = Run(folder, _lock=lock(folder))
        try:
            run.changes = _describe(folder, recipe, command)
        except BaseException:
            run.close()
            raise
    except OSError as error:
        raise _not_writable(folder, error) from error
    return run


def _not_writable(folder: Path, error: OSError) -> DiskError:
    if isinstance(error, DiskError):
        return error
    return DiskError(
        f"run folder {folder} cannot be written ({error.strerror or error}: {error.filename}); "
        "choose another --run-dir or free some space"
    )


def _describe(folder: Path, recipe: Recipe, command: list[str]) -> list[Change]:
    """Write recipe and manifest if there is no work yet; return changes to the stored recipe."""
    from mathtune import config

    files, text = RunPaths(folder), config.dump(recipe)
    stored, manifest = files.recipe, files.manifest_file
    found: list[Change] = []
    same = stored.exists() and stored.read_bytes() == text.encode()
    holds_work = _holds_work(folder)
    if not same and holds_work:
        found = config.changes(stored_recipe(stored), recipe)
    if not (manifest.exists() and (same or holds_work)):
        write_json(
            manifest,
            {
                "mathtune": mathtune.__version__,
                "created": _now(),
                "command": redact_command(" ".join(command)),
                "seed": recipe.seed,
                "stages": {},
                **provenance(),
            },
        )
    if not found:
        write_text(stored, text)
    return found


def _noted(change: Change) -> dict[str, Any]:
    return {"at": _now(), "key": change.key, "before": change.before, "after": change.after}


def stored_recipe(path: Path) -> Recipe:
    """Return the recipe that a run folder was made with.

    Raises:
        RunError: ``recipe.yaml`` is missing, damaged, or of another version.
    """
    import yaml

    from mathtune import config
    from mathtune.config.yaml_loader import read_yaml

    try:
        raw = read_yaml(path.read_text(encoding="utf-8"))
        return config.parse_saved(raw if isinstance(raw, dict) else {})
    except FileNotFoundError:
        fault = "is missing"
    except ConfigError as error:
        more = f", and {len(error.faults) - 1} more faults" if len(error.faults) > 1 else ""
        fault = f"is damaged or of another version of mathtune ({error.faults[0]}{more})"
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        fault = f"is damaged ({type(error).__name__})"
    raise RunError(
        f"{path} {fault}; put into it what `mathtune validate` prints for the recipe, or choose "
        "another --run-dir"
    )


def _check_ours(folder: Path) -> None:
    """Refuse folders that hold anything but a run: files of the same names would be lost."""
    if folder.is_symlink() and not folder.exists():
        raise RunError(
            f"run folder {folder} is a link to {folder.readlink()}, which does not exist; make "
            "that folder or choose another --run-dir"
        )
    files = RunPaths(folder)
    if files.recipe.exists() or not folder.is_dir():
        return
    if files.manifest_file.exists() and _holds_work(folder):
        return  # a run whose recipe is lost, which is reported when it is read
    # What is made before the recipe, and an interrupted start may leave behind.
    harmless = {files.checkpoints, files.all_predictions, files.problems, files.manifest_file}
    written = files.problems, files.manifest_file, files.recipe
    harmless |= {each.with_name(f"{each.name}.tmp") for each in written}
    there = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    if others := [path.name for path in there if path not in harmless]:
        raise RunError(
            f"folder {folder} holds {', '.join(others[:3])}{', …' if len(others) > 3 else ''} and "
            "no run; choose another --run-dir"
        )


def _check_writable(folder: Path) -> None:
    """Find out before any work what could not be written after it."""
    files = RunPaths(folder)
    parts = (folder, files.checkpoints, files.all_predictions, files.all_inputs)
    for part in parts:
        if part.is_dir() and not os.access(part, os.W_OK | os.X_OK):
            raise DiskError(
                f"run folder {folder} is read-only ({part} cannot be written); give yourself "
                "write permission or choose another --run-dir"
            )


def _holds_work(folder: Path) -> bool:
    files = RunPaths(folder)
    parts = [*files.checkpoints.glob("*"), *files.all_predictions.glob("*")]
    return bool(parts) or files.model.exists()


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
