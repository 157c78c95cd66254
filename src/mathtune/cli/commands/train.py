"""``mathtune train``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import print_outcome, recipe_arguments, run_options
from mathtune.cli.launching import again_in_processes, launch_options, start


@click.command("train")
@recipe_arguments
@run_options
@launch_options
def command(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    fresh: bool,
    as_json: bool,
    launch: str | None,
    submit: bool,
) -> None:
    """Train as RECIPE says, without measuring the model before and after.

    The result is RUN_DIR/model. Any knob can be set after RECIPE, for example model=PATH_OR_ID.
    """
    from mathtune import pipeline
    from mathtune.preflight import Purpose, load
    from mathtune.runs import default_folder

    loaded = load(recipe, overrides, run_dir, Purpose.TRAIN)
    if launch or submit:
        again = again_in_processes("train", recipe, overrides, run_dir, fresh, as_json)
        start(launch, again, run_dir or default_folder(loaded), submit=submit)
        return
    print_outcome(pipeline.train(loaded, run_dir, fresh=fresh), as_json=as_json)
