"""The predictions files of a run, by set and calculator setting."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mathtune.report import wording
from mathtune.run_paths import RunPaths
from mathtune.ui.folders import Root


def settings_of(root: Root, paths: RunPaths) -> list[dict[str, Any]]:
    """Return each set and calculator setting with the files of its models, the headline first.

    A file says what it is in its first row; one without a complete row is left out.
    """
    found: dict[tuple[str, bool], dict[str, Any]] = {}
    for model in wording.MODELS:
        for path in paths.predictions_of(model):
            first = _first_row(path)
            if path.suffix != ".jsonl" or first is None:
                continue
            decoding = first.get("decoding")
            calculator = isinstance(decoding, dict) and bool(decoding.get("calculator"))
            name = str(first.get("set") or "")
            label = f"{name}, {wording.calculator(calculator)}"
            entry = found.setdefault((name, calculator), {"label": label, "files": []})
            entry["files"].append({"name": model, "id": root.id_of(path)})
    return list(found.values())


def _first_row(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            row = json.loads(file.readline())
    except (OSError, ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and "problem_id" in row else None
