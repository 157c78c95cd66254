"""Tables on standard output, the same for all commands."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 400
"""Columns where standard output is no terminal: what reads a file wants a row on one line."""


def plain_table(*columns: str, right: Collection[str] = (), title: str | None = None) -> Table:
    """Return a table with a rule below its heads.

    Args:
        columns: Heads of the columns.
        right: Those whose cells are figures.
        title: Line above.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table; text in its cells is shown as it is, escapes and markup inert."""
    from mathtune.progress.console import SafeConsole

    SafeConsole(width=None if sys.stdout.isatty() else WIDE).print(table)
