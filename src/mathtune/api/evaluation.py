"""Evaluate, compare and ask models from Python: by name, by folder, or already loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mathtune import config, pipeline, preflight, problems, runs, stages
from mathtune.api.arguments import folder_or_none, path_text, recipe_or_name, whole_number
from mathtune.api.comparison_result import ComparisonResult
from mathtune.api.conversation import Chat
from mathtune.api.problem_lists import Problems
from mathtune.api.recipes import Overrides, StrPath
from mathtune.api.results import EvaluationResult, RunResult, TrainResult
from mathtune.config import as_override
from mathtune.config.schema import Recipe
from mathtune.conversation import ChatModel
from mathtune.errors import ConfigError
from mathtune.evaluation.compare import compare_files
from mathtune.preflight import Purpose
from mathtune.progress.display import show_by_default
from mathtune.records import Problem, ProblemSet

Source: TypeAlias = "str | os.PathLike[str]"

GivenProblems: TypeAlias = (
    "Source | Mapping[str, Any] | Sequence[Source] | Sequence[Problem | Mapping[str, Any]]"
)
"""A source or several, or problems."""


_SIDE = "an evaluation, a result of run, a predictions file or a run folder"


@dataclass(frozen=True)
class _Asked:
    """A model as given.

    Attributes:
        overrides: Overrides that put it into a recipe.
        recipe: The recipe to evaluate with, unless another is given.
        trained: Whether it comes from ``train`` or ``run``.
        loaded: Model and tokenizer, if they are in memory.
    """

    overrides: list[str]
    recipe: Recipe | str
    trained: bool
    loaded: tuple[Any, Any] | None


def evaluate(
    model: Any,
    problems: GivenProblems | None = None,
    tokenizer: Any = None,
    *,
    recipe: Recipe | StrPath | None = None,
    limit: int | None = None,
    label: str | None = None,
    run_dir: StrPath | None = None,
    fresh: bool = False,
    overrides: Overrides = (),
    **knobs: Any,
) -> EvaluationResult:
    """Evaluate a model: exact match with its interval, errors, perplexity; every answer is kept.

    Repeating the call continues an interrupted evaluation, or returns the results of a finished
    one; a loaded model is recognised by its weights.

    Args:
        model: Hub id, folder of a model or an adapter, ``"tiny-base"``, a ``TrainResult`` or
            ``RunResult``, or a loaded Transformers model.
        problems: A source (``"gsm8k:test"``, a hub id, a file, ``{"generated": "problems", "n":
            100}``), a list of names, or a list of ``Problem`` objects or of mappings with
            ``question`` and ``answer``. Default: what the recipe tests on, else GSM8K's test set.
        tokenizer: Of a loaded model.
        recipe: Prompt style and decoding are taken from it. Default: the recipe that the model was
            trained with, if it is a result, else that of ``mathtune eval``, ``gsm8k-eval``.
        limit: At most this many problems of each set, the first by content hash.
        label: ``base`` or ``tuned``; default: depends on where the model comes from.
        run_dir: Run folder; default: under ``runs``, as ``mathtune eval`` has it.
        fresh: Evaluate again if the folder holds results from other inputs.
        overrides: As in ``load_recipe``.
        **knobs: As in ``load_recipe``: ``prompt={"shots": 4}``, ``eval={"calculator": True}``.

    Raises:
        ConfigError: With every fault found before work begins.
        DataError: Problems cannot be read, or have no usable gold answer.
        ModelError: The model cannot be loaded.
        RunError: The run folder belongs to another evaluation, is in use, or holds results from
            other inputs.
        DiskError: Something could not be written.
    """
    show_by_default()
    asked = _asked(model, tokenizer)
    label = label or ("tuned" if asked.trained else "base")
    if label not in ("base", "tuned"):
        raise ConfigError(f"label={label!r} is neither 'base' nor 'tuned'; give one of them")
    start = recipe_or_name(recipe) if recipe is not None else asked.recipe
    given = [*asked.overrides, *config.overrides_from_python(overrides, knobs)]
    if limit is not None:
        given.append(as_override("data.max_test_samples", whole_number("limit", limit)))
    folder = folder_or_none(run_dir)
    if problems is not None:
        sets, folder = _test_sets(problems, start, given, folder, fresh=fresh)
        given.append(as_override("data.test", sets))
    checked = preflight.load(start, given, folder, Purpose.MEASURE, loaded=asked.loaded is not None)
    held = stages.model_in_memory(checked, *asked.loaded) if asked.loaded else None
    figures = pipeline.evaluate(checked, label, folder, held, fresh=fresh)
    return EvaluationResult.read(Path(figures["run_dir"]), label, checked)


def compare(
    before: EvaluationResult | RunResult | StrPath,
    *after: EvaluationResult | StrPath,
    allow_different: Sequence[str] = (),
    confidence: float = 0.95,
) -> ComparisonResult:
    """Compare models on the same problems: paired, with McNemar's exact test and an interval.

    Args:
        before: The baseline: an evaluation or a predictions file. Alone: a ``RunResult`` or run
            folder, whose base and tuned model are compared.
        *after: The models to compare with it. p-values are adjusted for their number (Holm).
        allow_different: Compare although these differ: ``problems``, ``prompts``, ``decoding``.
        confidence: Confidence level of the intervals.

    Raises:
        ConfigError: If there are not two sides.
        DataError: If they were not evaluated alike.
    """
    paths = [
        each.predictions
        if isinstance(each, EvaluationResult)
        else each.run_dir
        if isinstance(each, RunResult)
        else Path(path_text("before" if at == 0 else "after", each, _SIDE))
        for at, each in enumerate((before, *after))
    ]
    return ComparisonResult(
        compare_files(
            stages.files_to_compare(paths),
            allow_different=allow_different,
            confidence=confidence,
        )
    )


def chat(
    model: Any,
    tokenizer: Any = None,
    *,
    recipe: Recipe | StrPath | None = None,
    calculator: bool = False,
    overrides: Overrides = (),
    **knobs: Any,
) -> Chat:
    """Load a model to ask questions, prompted exactly as in training and evaluation.

    Args:
        model: As in ``evaluate``.
        tokenizer: Of a loaded model.
        recipe: As in ``evaluate``.
        calculator: Let the calculator fill in the results after ``<<…=``.
        overrides: As in ``load_recipe``.
        **knobs: As in ``load_recipe``, for example ``eval={"max_new_tokens": 100}``.

    Raises:
        ConfigError: With every fault found.
        ModelError: The model cannot be loaded.
    """
    show_by_default()
    asked = _asked(model, tokenizer)
    start = recipe_or_name(recipe) if recipe is not None else asked.recipe
    given = [*asked.overrides, *config.overrides_from_python(overrides, knobs)]
    loaded = asked.loaded is not None
    checked = preflight.load(start, given, None, Purpose.CHAT, loaded=loaded)
    held = stages.model_in_memory(checked, *asked.loaded) if asked.loaded else None
    name = checked.model.name_or_path or ""
    chat_model = ChatModel(name, checked, held)
    chat_model.calculator = calculator
    return Chat(name, chat_model)


def _asked(model: Any, tokenizer: Any) -> _Asked:
    """Distinguish the forms in which a model can be given.

    Raises:
        ConfigError: It is none of them, or the tokenizer is missing or not needed.
    """
    if isinstance(model, RunResult):
        model = model.training
    if isinstance(model, TrainResult | str | os.PathLike):
        if tokenizer is not None:
            raise ConfigError(
                "tokenizer is given with a model that is not loaded and has its own; leave it out"
            )
        if isinstance(model, TrainResult):
            return _Asked([as_override("model", str(model.model))], model.recipe, True, None)
        return _Asked([as_override("model", os.fspath(model))], "gsm8k-eval", False, None)
    kind = type(model).__name__
    if not (hasattr(model, "generate") and hasattr(model, "state_dict")):
        raise ConfigError(
            f"model is a {kind}; give a hub id, a folder, a result of train or run, or a loaded "
            "Transformers model with its tokenizer"
        )
    if tokenizer is None:
        raise ConfigError(
            f"model is a loaded {kind} without its tokenizer; give the tokenizer as well"
        )
    from mathtune.models.in_memory import fingerprint_in_memory

    name = Path(getattr(model, "name_or_path", "") or kind).name
    # The whole section: how a recipe holds its model in memory says nothing about this one.
    section = {"name_or_path": f"{name}@{fingerprint_in_memory(model, tokenizer)}"}
    return _Asked([as_override("model", section)], "gsm8k-eval", False, (model, tokenizer))


def _test_sets(
    given: GivenProblems,
    start: Recipe | str,
    overrides: list[str],
    folder: Path | None,
    *,
    fresh: bool,
) -> tuple[list[Any], Path | None]:
    """Return ``data.test`` for the given problems, and the run folder if they are kept in it.

    Raises:
        DataError: If problems cannot be used.
        ConfigError: If sources and problems are mixed.
    """
    if isinstance(given, str | os.PathLike):
        return [os.fspath(given)], folder
    if isinstance(given, Mapping):
        return [dict(given)], folder
    sources = [os.fspath(each) for each in given if isinstance(each, str | os.PathLike)]
    if sources and len(sources) == len(given):
        return list(sources), folder
    if sources:
        raise ConfigError(
            f"problems is a list with both problems and names of sources, as {sources[0]!r}; "
            "give one or the other"
        )
    checked = problems.given_problems(given)  # type: ignore[arg-type]
    text = problems.as_json_lines(checked)
    label = given.label if isinstance(given, Problems) else "problems"

    def sets(path: str) -> list[Any]:
        return [{"label": label, "sources": [{"path": path}]}]

    if folder is None:  # named by the problems' content, not by where they will be
        by_content = f"{ProblemSet(label, checked).fingerprint}.jsonl"
        recipe = config.load(start, [*overrides, as_override("data.test", sets(by_content))])
        folder = runs.default_folder(recipe)
    return sets(str(runs.keep_problems(folder, text, fresh=fresh))), folder
