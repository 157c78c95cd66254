"""Everything that can be checked before work begins, so that a run does not fail an hour in.

All faults found are reported together: those of the recipe itself, and those in how it fits models,
files and disk. Torch is not loaded for it.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mathtune import config, problems, prompts
from mathtune.config.schema import FILE_ENDINGS, Recipe
from mathtune.errors import ConfigError, MathtuneError
from mathtune.models import files as model_files
from mathtune.models.checks import before_loading
from mathtune.preflight.training import sharding_faults, tracker_faults, training_faults
from mathtune.run_paths import slug

MINIMUM_FREE_BYTES = 200 * 2**20
"""Size of a run folder of the smallest model with its checkpoints."""


class Purpose(enum.Enum):
    """What a recipe is loaded for; anything not needed for that is not checked."""

    TRAIN = "train"
    MEASURE = "measure"
    CHAT = "chat"
    VALIDATE = "validate"
    """Only validated: the network is not used, and local data are read to the end."""
    PLAN = "plan"
    """Only estimated: the network is not used, and the model's weights may be missing."""

    @property
    def trains(self) -> bool:
        """Whether the recipe's training settings matter."""
        return self in (Purpose.TRAIN, Purpose.VALIDATE, Purpose.PLAN)

    @property
    def writes(self) -> bool:
        """Whether a run folder is created."""
        return self in (Purpose.TRAIN, Purpose.MEASURE)


def load(
    name_or_path: str | Recipe,
    overrides: Sequence[str],
    run_dir: Path | None,
    purpose: Purpose,
    *,
    loaded: bool = False,
) -> Recipe:
    """Load a recipe with overrides, and check all that can be checked before work begins.

    Args:
        name_or_path: Name or file of a recipe, or a loaded one.
        overrides: ``key=value`` texts.
        run_dir: Where the run folder will be; default: under ``runs``.
        purpose: What the recipe is loaded for.
        loaded: Whether its model is already in memory, so that its files are not checked.

    Raises:
        ConfigError: With every fault found.
    """
    draft = config.load_draft(name_or_path, overrides)
    faults = [*draft.faults, *_faults(draft.recipe, run_dir, purpose, loaded)]
    if faults:  # otherwise the data are read soon anyway, and all their faults are reported then
        data, seed = draft.recipe.data, draft.recipe.seed
        faults += problems.check_local(data, seed=seed, trains=purpose.trains).faults
        raise ConfigError(list(dict.fromkeys(faults)))
    return draft.recipe


def validate(name_or_path: str | Recipe, overrides: Sequence[str]) -> tuple[Recipe, str]:
    """Load a recipe, and check it with the local data and model; the network is not used.

    Returns:
        The recipe, and a line that says what was checked and what was not.

    Raises:
        ConfigError: With every fault found.
    """
    recipe = load(name_or_path, overrides, None, Purpose.VALIDATE)
    data = problems.check_local(recipe.data, seed=recipe.seed)
    if data.faults:
        raise ConfigError(data.faults)
    model, server = recipe.model.name_or_path, recipe.eval.engine == "openai"
    here = model is not None and not server and Path(model_files.resolve(model)).is_dir()
    checked = ["settings", "data on this machine", *(["model files"] if here else [])]
    elsewhere = [*data.on_hub, *([model] if model and not (here or server) else [])]
    unchecked = [
        *([f"the server at {recipe.eval.base_url}"] if server else []),
        *([f"{' and '.join(elsewhere)} on the hub"] if elsewhere else []),
        *("whether weights load", "memory (mathtune plan estimates it)"),
    ]
    return recipe, f"checked: {', '.join(checked)}; not checked: {', '.join(unchecked)}"


def planner(
    name_or_path: str | Recipe, overrides: Sequence[str]
) -> Callable[[Sequence[str]], Recipe]:
    """Return a function that loads a recipe to plan, with further overrides applied."""

    def changed(further: Sequence[str]) -> Recipe:
        replaced = {word.partition("=")[0] for word in further}
        kept = [word for word in overrides if word.partition("=")[0] not in replaced]
        return load(name_or_path, [*kept, *further], None, Purpose.PLAN)

    return changed


def _faults(recipe: Recipe, run_dir: Path | None, purpose: Purpose, loaded: bool) -> Iterator[str]:
    if loaded:
        yield from _loaded_faults(recipe)
    elif recipe.eval.engine == "openai":
        yield from _server_faults(recipe)
    else:
        yield from _model_faults(recipe, purpose)
        if purpose is not Purpose.PLAN:  # which is often for another machine
            yield from _attention_faults(recipe)
    if recipe.eval.decoder == "vllm" and purpose is Purpose.MEASURE:
        yield from _vllm_faults(recipe)
    if recipe.eval.engine == "ray" and importlib.util.find_spec("ray") is None:
        yield (
            "eval.engine=ray needs the package ray, which is not installed; "
            "'pip install mathtune[ray]', or set eval.engine=hf"
        )
    yield from _shot_faults(recipe)
    if purpose is Purpose.PLAN and recipe.train.objective == "verifier":
        yield (
            "train.objective=verifier: mathtune plan does not know its texts; plan "
            "train.objective=sft, whose steps are about as long"
        )
    if purpose.trains:
        yield from training_faults(recipe)
        yield from sharding_faults(recipe)
    if purpose in (Purpose.TRAIN, Purpose.VALIDATE):
        yield from tracker_faults(recipe)
    if purpose.writes:
        yield from _label_faults(recipe)
        yield from _disk_faults(recipe, run_dir or Path("runs"), purpose)


def _model_faults(recipe: Recipe, purpose: Purpose) -> Iterator[str]:
    model = recipe.model
    found: Mapping[str, Any] | None
    cached_only = purpose in (Purpose.VALIDATE, Purpose.PLAN)
    if model.name_or_path is None:
        found = model.from_config
    else:
        try:
            found = model_files.read_config(
                model.name_or_path,
                model.revision,
                cached_only=cached_only,
                weights=purpose is not Purpose.PLAN,
            )
        except MathtuneError as error:
            yield from error.faults
            return
    name = model.name_or_path
    if name and purpose is not Purpose.PLAN:
        yield from before_loading.faults(recipe, found or {})
    if purpose.trains and name and model_files.is_adapter(name, cached_only=cached_only):
        yield (
            f"model={model.name_or_path} is an adapter, and training starts from a full model; "
            f"run mathtune merge {model.name_or_path} and name the folder that it writes"
        )
    context = model_files.context_length(found or {})
    limit = recipe.train.max_length
    if purpose.trains and context is not None and limit > context:
        yield (
            f"train.max_length={limit} is beyond the model's context of {context} tokens; set "
            f"train.max_length={context} or less"
        )


def _loaded_faults(recipe: Recipe) -> Iterator[str]:
    if recipe.eval.engine != "hf":
        yield (
            f"eval.engine={recipe.eval.engine} with a loaded model: only eval.engine=hf measures "
            "a model in this process; set it, or give the model's name"
        )


def _attention_faults(recipe: Recipe) -> Iterator[str]:
    from mathtune.config import hf_names as names

    kernel = recipe.model.attn_implementation
    if package := names.package_of_attention(kernel):
        yield (
            f"model.attn_implementation={kernel} needs the package {package}, which is not "
            "installed; install it or set model.attn_implementation=sdpa"
        )


def _server_faults(recipe: Recipe) -> Iterator[str]:
    """Check the server settings without contacting the server."""
    from mathtune.generation.openai.engine import api_key
    from mathtune.models.remote import ServedModel

    if not (recipe.model.name_or_path or "").strip() and recipe.model.from_config is None:
        yield "the model's name is empty; give the name that the server knows it by"
    if recipe.eval.base_url is not None:
        try:
            ServedModel(recipe).engine()
        except ConfigError as error:
            yield from error.faults
    try:
        api_key(recipe.eval.api_key_env)
    except ConfigError as error:
        yield from error.faults


def _vllm_faults(recipe: Recipe) -> Iterator[str]:
    name = recipe.model.name_or_path
    try:
        adapter = name is not None and model_files.is_adapter(name, recipe.model.revision)
    except MathtuneError:  # reported already
        adapter = False
    if adapter:
        yield (
            f"model {name!r} is an adapter, which vLLM does not load; merge it into its base "
            "first (mathtune merge) and give the merged model, or set eval.engine=hf"
        )
    if importlib.util.find_spec("vllm") is None:
        yield (
            "eval.engine=vllm needs the package vllm, which is not installed; 'pip install vllm' "
            "on a machine with a GPU, or set eval.engine=hf"
        )


def _shot_faults(recipe: Recipe) -> Iterator[str]:
    """Check that the solved examples that the recipe names exist; drawn ones are in the data."""
    k, source = recipe.prompt.shots, recipe.prompt.shot_source
    if k == 0 or source == prompts.TRAIN:
        return
    if source.endswith(FILE_ENDINGS):
        if not Path(source).expanduser().is_file():
            yield f"prompt.shot_source={source} does not exist; check the path"
        return
    try:
        prompts.named_shots(source, k)
    except ConfigError as error:
        yield from error.faults


def _label_faults(recipe: Recipe) -> Iterator[str]:
    """Check for labels that would share a file name."""
    slugs: dict[str, str] = {}
    for test in recipe.data.test:
        first = slugs.setdefault(slug(test.label), test.label)
        if first != test.label:
            yield (
                f"data.test labels {first!r} and {test.label!r} would share a file name; change a "
                "letter or digit in one"
            )


def _disk_faults(recipe: Recipe, run_dir: Path, purpose: Purpose) -> Iterator[str]:
    folder = run_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        yield f"--run-dir={run_dir} cannot be a folder, as {folder} is a file; choose another"
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield f"--run-dir={run_dir} cannot be written, as {folder} is read-only; choose another"
        return
    free, needed = shutil.disk_usage(folder).free, _needed_bytes(recipe, purpose)
    if free < needed:
        yield (
            f"{free / 2**20:,.0f} MB are free at {folder} and this run needs at least "
            f"{needed / 2**20:,.0f} MB; free some space or choose another --run-dir"
        )


def _needed_bytes(recipe: Recipe, purpose: Purpose) -> int:
    """Return a lower bound: the model, and one checkpoint if all weights are trained."""
    name = recipe.model.name_or_path
    if purpose is not Purpose.TRAIN or recipe.adapter is not None or name is None:
        return MINIMUM_FREE_BYTES
    try:
        parameters = model_files.parameter_count(name) or 0
    except MathtuneError:  # reported already, or when it is loaded
        return MINIMUM_FREE_BYTES
    moments = 8 if recipe.train.optim.startswith("adamw_torch") else 0
    return max(MINIMUM_FREE_BYTES, parameters * (4 + 4 + moments))
