"""``mathtune runs``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mathtune.cli import completing
from mathtune.cli.common import echo, json_option, print_json
from mathtune.cli.tables import WIDE, plain_table, print_table
from mathtune.text.counts import counted

if TYPE_CHECKING:
    from mathtune.run_list import RunSummary

ROOT = Path("runs")
NARROW = 105
"""Columns of a terminal below which the list has neither recipe nor size."""
ONE_LINE = 130
"""Columns from which a difference and its interval stand on one line."""
SORTS = ("when", "name", "recipe", "status", "base", "tuned", "difference", "size")


class _ListsByDefault(click.Group):
    """``mathtune runs [ROOT]`` is ``mathtune runs list [ROOT]``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the subcommand ``list`` where none is named."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=_ListsByDefault)
def command() -> None:
    """List run folders, or delete some.

    `mathtune runs` is `mathtune runs list`; see `mathtune runs list --help`.
    """


@command.command("list")
@click.argument("root", required=False, type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--sort", default="when", show_default=True, type=click.Choice(SORTS), help="Order of the rows."
)
@click.option(
    "--filter",
    "filters",
    multiple=True,
    metavar="TEXT|KEY=VALUE",
    help="Only runs with this text in name, recipe, model or status; or with this value of a "
    "column or of a recipe's knob, as status=finished or train.objective=grpo. All must hold.",
)
@json_option()
def list_runs(root: Path | None, sort: str, filters: tuple[str, ...], as_json: bool) -> None:
    """List the run folders below ROOT (default: runs), the last changed first."""
    from mathtune import run_list

    folder = root or ROOT
    if root is None and not folder.exists():
        found: list[RunSummary] = []
    else:
        found = run_list.list_runs(folder, sort=sort, filters=filters)
    if as_json:
        print_json({"root": str(folder), "runs": [run.to_json() for run in found]})
    elif found:
        _print(found)
    else:
        where = f"{folder} that fit" if filters else str(folder)
        echo(f"no runs in {where}", err=True)


@command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=completing.runs)
@click.option(
    "--root",
    default=ROOT,
    show_default=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder that holds the runs.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option()
def delete_runs(names: tuple[str, ...], root: Path, yes: bool, as_json: bool) -> None:
    """Delete the run folders NAME... (names below --root, or paths), with all that is in them.

    A run that is in use is not deleted; nothing is, if one of the names is wrong.
    """
    from mathtune import run_list
    from mathtune.errors import ConfigError

    folders = run_list.to_delete(names, root)
    found = [run_list.summary_of(folder, root) for folder in folders]
    size = sum(run.size for run in found)
    what = f"{counted(len(found), 'run')} ({_bytes(size)})"
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"deleting {what} is not confirmed; give --yes")
        _print(found)
        if not click.confirm(f"Delete {what}?", err=True):
            echo("nothing was deleted", err=True)
            return
    for run in found:
        run_list.delete(run.folder)
    if as_json:
        print_json({"deleted": [str(run.folder) for run in found], "bytes": size})
    else:
        echo(f"deleted {what}")


def _print(found: Sequence[RunSummary]) -> None:
    from mathtune.report import wording

    columns = ["name", "recipe", "status", "base → tuned", "difference", "when (UTC)", "size"]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    narrow, one_line = width < NARROW, width >= ONE_LINE
    if narrow:  # they fit no more; --json has them
        columns.remove("recipe")
        columns.remove("size")
    table = plain_table(*columns, right=("base → tuned", "difference", "size"))
    for column in table.columns:
        column.no_wrap = column.header not in ("name", "recipe")
    for run in found:
        rates = [wording.percent(rate) for rate in (run.base, run.tuned) if rate is not None]
        if run.base is None and run.tuned is not None:
            rates.insert(0, wording.MISSING)
        difference = ""
        if run.difference is not None:
            interval = wording.difference_interval(run.low, run.high)
            space = " " if one_line else "\n"
            difference = f"{wording.signed_points(run.difference)}{space}({interval})"
        status = run.status if run.status == "finished" else f"{run.status} {run.stage}".strip()
        when = run.changed.strftime("%m-%d %H:%M" if narrow else "%Y-%m-%d %H:%M")
        cells = [run.name, run.recipe, status, " → ".join(rates), difference, when]
        cells.append(_bytes(run.size))
        table.add_row(*(cells[:1] + cells[2:-1] if narrow else cells))
    print_table(table)


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
