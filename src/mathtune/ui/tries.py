"""The models that can be tried: base and tuned of the runs below the root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mathtune import runs
from mathtune.errors import ConfigError, RunError
from mathtune.report.reading import shown
from mathtune.run_paths import RunPaths
from mathtune.ui.folders import Root

EXAMPLE = {"question": "What is 125 * 45 + 678? Show your work.", "gold": "6303"}
LONGEST_QUESTION = 20_000
MOST_TOKENS = 2_048


def models_of(root: Root) -> list[dict[str, str]]:
    """Return the runs with a tuned model, the newest first: ``id`` and ``name``."""
    found = [path for path in root.runs() if (RunPaths(path).model / "config.json").is_file()
             or (RunPaths(path).model / "adapter_config.json").is_file()]  # fmt: skip
    found.sort(key=lambda path: RunPaths(path).model.stat().st_mtime, reverse=True)
    return [
        {"id": root.id_of(path), "name": str(shown(path.relative_to(root.folder).as_posix()))}
        for path in found
    ]


def request_of(root: Root, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return which worker answers a question, and its request.

    A base with random weights is left out.

    Raises:
        RunError: There is no such run, or its recipe runs code that comes with its model.
        ConfigError: The question is empty or too long.
    """
    question = str(given.get("question", "")).strip()
    if not question or len(question) > LONGEST_QUESTION:
        raise ConfigError(f"write a question of 1 to {LONGEST_QUESTION:,} characters")
    paths = root.run(str(given.get("run")))
    recipe = runs.stored_recipe(paths.recipe)
    if recipe.model.trust_remote_code:
        raise RunError(
            f"the recipe of {paths.folder.name} runs code that comes with its model "
            "(model.trust_remote_code); ask it with mathtune chat in a terminal if you trust it"
        )
    request = {
        "task": "ask",
        "run": str(paths.folder),
        "sides": ["base", "tuned"] if recipe.model.name_or_path else ["tuned"],
        "calculator": bool(given.get("calculator")),
        "most": min(recipe.eval.max_new_tokens, MOST_TOKENS),
        "question": question,
        "gold": str(given.get("gold", "")).strip()[:200],
    }
    return f"ask {paths.folder}", request
