"""``mathtune sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from mathtune import ranks
from mathtune.cli.commands.eval import print_tables
from mathtune.cli.common import echo, model_argument, overrides_argument, print_outcome, run_options
from mathtune.cli.knob_options import KnobOptions

KNOBS = KnobOptions(
    "eval.temperature", "eval.top_p", "eval.max_new_tokens", "eval.calculator", "eval.logprobs",
    "prompt.shots", "prompt.shot_source", "eval.batch_size", "eval.engine",
    "eval.base_url", "eval.endpoint", "eval.concurrency", "eval.requests_per_minute",
    "eval.timeout_seconds", "eval.api_key_env", "eval.tensor_parallel_size", "model.license",
    "eval.workers", "eval.worker_engine", "eval.num_cpus", "eval.num_gpus",
    recipe="sample", limit="data.max_test_samples", style="prompt.style",
)  # fmt: skip


@click.command("sample")
@model_argument
@overrides_argument
@click.option(
    "--data",
    multiple=True,
    help="Problems: a known name or hub id (its train split), NAME:SPLIT, or a file.",
)
@click.option("-n", "--samples", type=int, help="Samples per problem.  [default: 16]")
@KNOBS
@run_options
def command(
    model: str,
    overrides: tuple[str, ...],
    data: tuple[str, ...],
    samples: int | None,
    run_dir: Path | None,
    fresh: bool,
    as_json: bool,
    **knobs: Any,
) -> None:
    """Sample graded answers of MODEL to problems: what `mathtune select` and DPO learn from.

    Each answer is graded and written to RUN/predictions/base.jsonl as it comes; the same command
    continues an interrupted one. Without --data: the GSM8K training problems.
    """
    from mathtune import pipeline
    from mathtune.config import as_override
    from mathtune.learning.held_out import warn_of_test
    from mathtune.learning.sources import sets_to_sample
    from mathtune.preflight import Purpose, load
    from mathtune.run_paths import RunPaths

    if knobs["endpoint"] == "chat" and not any(o.startswith("prompt.style=") for o in overrides):
        knobs["style"] = knobs["style"] or "chat"
    options = [as_override("model.name_or_path", model), *KNOBS.overrides(knobs)]
    if data:
        options.append(as_override("data.test", sets_to_sample(data)))
    if samples is not None:
        options.append(f"eval.samples={samples}")
    loaded = load("sample", [*options, *overrides], run_dir, Purpose.MEASURE)
    warn_of_test(each for test in loaded.data.test for each in test.sources)
    outcome = pipeline.evaluate(loaded, "base", run_dir, fresh=fresh)
    paths = RunPaths(Path(outcome["run_dir"]))
    outcome["samples_files"] = [str(path) for path in paths.predictions_of("base")]
    if not as_json and ranks.is_first():
        print_tables(paths.folder)
        for path in outcome["samples_files"]:
            echo(f"samples: {path}")
    print_outcome(outcome, as_json=as_json)
