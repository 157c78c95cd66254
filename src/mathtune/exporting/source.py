"""What is exported: the model of a run, an adapter, or a model folder, and how it was prompted."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune import problems, prompts, runs
from mathtune.config import as_override
from mathtune.config.schema import Recipe
from mathtune.errors import ModelError, RunError, did_you_mean
from mathtune.locks import lock
from mathtune.models import files as model_files
from mathtune.preflight import Purpose, load
from mathtune.records import Prompt
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json

ANSWER_TOKENS = 64
"""Longest answer of a merge's check: logits of each token are compared, a whole vocabulary."""


@dataclass(frozen=True, slots=True)
class Source:
    """A model to export.

    Attributes:
        given: As it was given.
        folder: Folder of the model or of the adapter.
        run: The run it comes from, if any.
        is_adapter: Whether the folder holds an adapter rather than a full model.
    """

    given: Path
    folder: Path
    run: RunPaths | None
    is_adapter: bool

    def output(self, name: str) -> Path:
        """Return the default place of an export: ``RUN/NAME``, or ``FOLDER-NAME`` without a run."""
        if self.run is not None:
            return self.run.folder / name
        folder = self.given if self.given.is_dir() else Path(self.given.stem)
        return folder.absolute().with_name(f"{folder.absolute().name}-{name}")

    @property
    def name(self) -> str:
        """The model's name, for files and cards."""
        if self.run is not None:
            name = runs.stored_recipe(self.run.recipe).name
        else:
            name = self.given.stem if self.given.suffix == ".gguf" else self.given.absolute().name
        return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep other commands out of the run folder while its model is read.

        Raises:
            RunError: Another command is using it, for example to train.
        """
        try:
            taken = lock(self.run.folder) if self.run is not None else None
        except OSError as error:
            if isinstance(error, RunError):
                raise
            taken = None  # a folder that cannot be written is not being trained in
        try:
            yield
        finally:
            if taken is not None:
                taken.release()


def find(given: Path) -> Source:
    """Return the model that a path names: a run, a folder in it, a model folder or a known name.

    Raises:
        ModelError: There is no model, or not yet.
    """
    run = _run_of(given)
    if run is not None and given.absolute() == run.folder.absolute():
        _check_trained(run)
        folder = run.model
    else:
        folder = Path(model_files.resolve(str(given)))
        if not given.exists() and not folder.is_dir():
            near = [each.name for each in given.absolute().parent.glob("*") if each.is_dir()]
            hint = did_you_mean(given.name, near) or "; give the folder of a run or of a model"
            raise ModelError(f"{given} does not exist{hint}")
    adapter = model_files.base_of_adapter(folder) is not None
    if not adapter:
        model_files.read_config(str(folder))  # reports what the folder lacks
    return Source(given, folder, run, adapter)


def find_adapter(given: Path) -> Source:
    """Return the adapter that a path names.

    Raises:
        ModelError: There is no adapter.
    """
    found = find(given)
    if not found.is_adapter:
        raise ModelError(f"{found.folder} is already a full model; use it as it is")
    return found


def recipe_for(
    source: Source,
    overrides: Sequence[str] = (),
    *,
    limit: int,
    data: Sequence[str] = (),
    style: str | None = None,
    load_in_4bit: bool = False,
    max_new_tokens: int | None = ANSWER_TOKENS,
) -> Recipe:
    """Return the recipe that an export is checked with: the run's own, else ``gsm8k-eval``.

    Args:
        source: The model.
        overrides: ``key=value`` texts.
        limit: How many problems to check with.
        data: Problems; default: the run's test set, else generated ones.
        style: Prompt style; default: the run's, else ``qa``.
        load_in_4bit: For a QLoRA adapter without a record of how its base was held.
        max_new_tokens: Longest answer; None: the run's own.

    Raises:
        ConfigError: With every fault found.
    """
    generated = [{"generated": "problems", "n": limit}]
    given = {
        "model.name_or_path": str(source.folder),
        "model.revision": None,
        "model.from_config": None,
        **({"model.load_in_4bit": True, "adapter": {}} if load_in_4bit else {}),
        "data.max_test_samples": limit,
        **({"eval.max_new_tokens": max_new_tokens} if max_new_tokens else {}),
        **({"prompt.style": style} if style else {}),
        **({"data.test": list(data)} if data else {} if source.run else {"data.test": generated}),
    }
    own = {word.partition("=")[0] for word in overrides}
    options = [as_override(key, value) for key, value in given.items() if key not in own]
    name = str(source.run.recipe) if source.run else "gsm8k-eval"
    return load(name, [*options, *overrides], None, Purpose.CHAT)


def check_prompts(recipe: Recipe, tokenizer: Any) -> tuple[prompts.Renderer, list[Prompt]]:
    """Return the prompts of the problems that a model and its export both answer.

    Returns:
        The renderer, and a prompt for each problem of the recipe's first test set.

    Raises:
        DataError: The problems cannot be read.
    """
    test_set = problems.load_tests(recipe.data, seed=recipe.seed)[0]
    renderer = prompts.Renderer(tokenizer, recipe.prompt.style, system=recipe.prompt.system)
    asked = [renderer.prompt(problem.question, problem.id) for problem in test_set.problems]
    return renderer, asked


def _run_of(given: Path) -> RunPaths | None:
    """Return the run that a path is, or that the path's ``model`` or ``merged`` belongs to."""
    if RunPaths(given).recipe.is_file():
        return RunPaths(given)
    parent = RunPaths(given.absolute().parent)
    inside = given.absolute().name in (parent.model.name, "merged")
    return RunPaths(given.parent) if inside and parent.recipe.is_file() else None


def _check_trained(run: RunPaths) -> None:
    if not run.model.is_dir():
        raise ModelError(f"run folder {run.folder} has no model/ yet; finish its training first")
    if run.manifest_file.is_file():
        stages = read_json(run.manifest_file, keys=("stages",))["stages"]
        if "train" not in stages:
            raise ModelError(
                f"training in run folder {run.folder} is not finished; give its command again, or "
                f"give {run.model} to export what is there"
            )
