"""Learn from a model's own answers, from Python: sample them graded, and select the right ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune import config
from mathtune.api.arguments import path_text, whole_number
from mathtune.api.evaluation import GivenProblems, evaluate
from mathtune.api.recipes import Overrides, StrPath
from mathtune.api.results import EvaluationResult, RunResult, TrainResult
from mathtune.config import as_override
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError
from mathtune.evaluation.predictions.pass_rates import PassRate, pass_rates
from mathtune.learning.selection_file import select_files
from mathtune.learning.sources import sets_to_sample


@dataclass(frozen=True)
class Selected:
    """A training source made of samples.

    Attributes:
        path: The file; train on it with ``data={"train": str(path)}``.
        samples: Samples read.
        kept: Samples kept.
        gold: Published solutions mixed in.
        problems: Problems sampled.
        solved: Problems with at least one sample kept.
        dropped: Dropped samples by reason.
    """

    path: Path
    samples: int
    kept: int
    gold: int
    problems: int
    solved: int
    dropped: Mapping[str, int]


def sample(
    model: Any,
    problems: GivenProblems | None = None,
    tokenizer: Any = None,
    *,
    n: int = 16,
    temperature: float = 0.7,
    recipe: Recipe | StrPath | None = None,
    limit: int | None = None,
    run_dir: StrPath | None = None,
    fresh: bool = False,
    overrides: Overrides = (),
    **knobs: Any,
) -> EvaluationResult:
    """Sample graded answers of a model to problems, as ``mathtune sample`` does.

    ``rows`` of the result are the samples, ``evaluations`` have ``pass_at``, ``majority_at`` and
    ``solved``; ``pass_rates_of`` gives the rate per problem. Repeating the call continues an
    interrupted one.

    Args:
        model: As in ``evaluate``.
        problems: As in ``evaluate``, but of a named set the train split unless one is named.
            Default: what the model was trained on, if it is a result, else GSM8K's training set.
        tokenizer: Of a loaded model.
        n: Samples per problem.
        temperature: Sampling temperature, above 0.
        recipe: Prompt style, limits and test problems are taken from it. Default: as in
            ``evaluate``.
        limit: At most this many problems of each set, the first by content hash.
        run_dir: Run folder; default: under ``runs``.
        fresh: Sample again if the folder holds samples from other inputs.
        overrides: As in ``load_recipe``.
        **knobs: As in ``load_recipe``, for example ``eval={"logprobs": True}``.

    Raises:
        ConfigError: With every fault found before work begins.
        DataError: Problems cannot be read, or have no usable gold answer.
        ModelError: The model cannot be loaded.
        RunError: The run folder belongs to another sampling, is in use, or holds other samples.
        DiskError: Something could not be written.
    """
    given = [
        *config.overrides_from_python(overrides, knobs),
        f"eval.samples={whole_number('n', n)}",
        as_override("eval.temperature", temperature),
    ]
    model = model.training if isinstance(model, RunResult) else model
    start, more, problems = _start(model, recipe, problems)
    return evaluate(
        model,
        problems,
        tokenizer,
        recipe=start,
        limit=limit,
        label="base",
        run_dir=run_dir,
        fresh=fresh,
        overrides=[*given, *more],
    )


def _start(
    model: Any, recipe: Recipe | StrPath | None, problems: GivenProblems | None
) -> tuple[Recipe | StrPath | None, list[str], GivenProblems | None]:
    """Return the recipe to start from, what to change in it, and problems it does not name."""
    if recipe is None and not isinstance(model, TrainResult):
        recipe, given = "sample", list[str]()
    else:
        given = ["eval.other_calculator=false", "eval.perplexity=false"]
    named = [problems] if isinstance(problems, str) else problems
    if isinstance(named, list) and named and all(isinstance(each, str) for each in named):
        return recipe, [*given, as_override("data.test", sets_to_sample(named))], None
    if problems is None and recipe is None:  # what the model was trained on
        sources = [source.model_dump(mode="json") for source in model.recipe.data.train]
        given.append(as_override("data.test", [{"label": "training", "sources": sources}]))
    return recipe, given, problems


def pass_rates_of(samples: EvaluationResult) -> list[PassRate]:
    """Return how often each problem was solved, with the Wilson interval of the rate.

    Args:
        samples: What ``sample`` returned.
    """
    return pass_rates(samples.rows, samples.evaluations[0]["confidence"])


def select(
    samples: EvaluationResult | StrPath | Sequence[EvaluationResult | StrPath],
    out: StrPath,
    *,
    allow_test: bool = False,
    **rules: Any,
) -> Selected:
    """Turn graded samples into a training source, as ``mathtune select`` does.

    Args:
        samples: What ``sample`` returned, a run folder or a file of samples, or several of them.
        out: The ``.jsonl`` file to write; ``out`` with ``.provenance.yaml`` says where it is from.
        allow_test: Take samples of test problems.
        **rules: ``max_per_problem``, ``min_pass_rate``, ``max_pass_rate``, ``gold``.

    Raises:
        ConfigError: A rule does not exist or has a wrong value, or ``out`` is not ``.jsonl``.
        DataError: Samples cannot be read, are of a test split, or none is left.
        DiskError: It could not be written.
    """
    wanted = "a result of sample, a run folder or a file of samples"
    several = isinstance(samples, Sequence) and not isinstance(samples, str)
    each = list(samples) if several else [samples]  # type: ignore[arg-type]
    if not each:
        raise ConfigError(f"samples is an empty list; give {wanted}")
    paths = [
        one.run_dir
        if isinstance(one, EvaluationResult)
        else Path(path_text("samples", one, wanted))
        for one in each
    ]
    output = Path(path_text("out", out, "a path that ends in .jsonl"))
    chosen = config.load("sample", config.overrides_from_python((), {"select": rules})).select
    found = select_files(paths, output, chosen, allow_test=allow_test)
    return Selected(
        output, found.samples, found.kept, found.gold, found.problems, found.learnable,
        found.dropped,
    )  # fmt: skip
