"""What several commands share: options, and the JSON line."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mathtune import ranks
from mathtune.cli import completing
from mathtune.text.visible import visible, visible_json

F = TypeVar("F", bound=Callable[..., Any])


def recipe_arguments(function: F) -> F:
    """Add ``RECIPE [KEY=VALUE …]``."""
    function = overrides_argument(function)
    return click.argument("recipe", metavar="RECIPE", shell_complete=completing.recipes)(function)


def overrides_argument(function: F) -> F:
    """Add ``[KEY=VALUE …]``."""
    return click.argument(
        "overrides", nargs=-1, metavar="[KEY=VALUE]...", shell_complete=completing.knobs
    )(function)


def model_argument(function: F) -> F:
    """Add ``MODEL``."""
    return click.argument("model", shell_complete=completing.models)(function)


def json_option(
    text: str = "Print the result as one JSON object on the last line.",
) -> Callable[[F], F]:
    """Return ``--json``, which every command has that prints a result (``docs/terminal.md``)."""
    return click.option("--json", "as_json", is_flag=True, help=text)


class FiniteRange(click.FloatRange):
    """A range of numbers without NaN, which is neither below nor above any limit."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read a number."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number", param, ctx)
        return found


def confidence_option(function: F) -> F:
    """Add ``--confidence``."""
    return click.option(
        "--confidence",
        default=0.95,
        show_default=True,
        type=FiniteRange(0.5, 1, min_open=True, max_open=True),
        help="Of the intervals.",
    )(function)


def run_options(function: F) -> F:
    """Add ``--run-dir``, ``--fresh`` and ``--json``."""
    function = click.option(
        "--fresh",
        is_flag=True,
        help="Redo the stages whose data, model or knobs have changed since.",
    )(function)
    function = json_option()(function)
    return click.option(
        "--run-dir",
        type=click.Path(path_type=Path, file_okay=False),
        help="Run folder; default: runs/NAME-HASH, the same for the same recipe and overrides.",
    )(function)


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print untrusted text (of a model, a file or a server) as it is, markup and escapes inert."""
    click.echo(visible(text), err=err, nl=nl)


def print_json(figures: Any) -> None:
    """Print one JSON object on one line."""
    click.echo(visible_json(figures))


def print_outcome(figures: dict[str, Any], *, as_json: bool) -> None:
    """Print a run's results: for people, or as one JSON object on the last line."""
    if not ranks.is_first():
        return
    if as_json:
        print_json(figures)
        return
    if "verdict" in figures:
        echo(figures["verdict"])
    run_dir = figures["run_dir"]
    echo(f"report: {run_dir}/report.html")
