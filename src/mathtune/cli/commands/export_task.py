"""``mathtune export-task``."""

from __future__ import annotations

from pathlib import Path

import click

from mathtune.cli.common import echo, print_json


@click.command("export-task")
@click.argument("recipe")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--to", "library", required=True, type=click.Choice(["verl"]), help="Which library.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Output folder; default: NAME-verl.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as one JSON object.")
def command(
    recipe: str, overrides: tuple[str, ...], library: str, output: Path | None, as_json: bool
) -> None:
    """Write RECIPE as a task for RL on a cluster: problems, reward function, launch script.

    The reward is mathtune's grader, and the model is prompted with the same ids as here.
    """
    from mathtune import stages
    from mathtune.learning.verl_task import write_task
    from mathtune.preflight import Purpose, load

    loaded = load(recipe, overrides, None, Purpose.CHAT)
    folder = output or Path(f"{loaded.name}-{library}")
    splits, shots = stages.load_problems(loaded), stages.load_shots(loaded)
    counts, notes = write_task(loaded, splits, shots, folder)
    if as_json:
        print_json({"folder": str(folder), "rows": counts, "notes": notes})
        return
    for name, count in counts.items():
        echo(f"{folder / name}: {count:,} problems")
    for note in notes:
        echo(f"in verl: {note}")
    echo(f"start: bash {folder / 'launch.sh'}")
