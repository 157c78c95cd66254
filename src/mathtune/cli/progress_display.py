"""What long work says and how far it is, on standard error: standard output stays clean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mathtune import progress, ranks
from mathtune.cli.console import SafeConsole
from mathtune.visible import visible_line

MOST_CHARACTERS = 60
"""So much is shown of a bar's title."""


def show_progress() -> None:
    """Show log lines and progress bars from now on. Of several ranks only the first speaks."""
    console = SafeConsole(stderr=True, soft_wrap=True, quiet=not ranks.is_first())
    logger = logging.getLogger("mathtune")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.handlers = [_Lines(console)]
    progress.show_with(_Bars(console))


class _Lines(logging.Handler):
    """Prints log lines above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        self._console.print(self.format(record))


class _Bars:
    """Rich bars with a note, the time taken and the time left; nothing outside of a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @property
    def is_live(self) -> bool:
        """Whether standard error is a terminal."""
        return self._console.is_terminal

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[progress.Bar]:
        """Show a bar while the block runs."""
        if not self.is_live:
            with progress.Silent().bar(title, total) as silent:
                yield silent
            return
        shown = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}  {task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        with shown:
            yield _Bar(
                shown, shown.add_task(visible_line(title, 60), total=total, completed=done, note="")
            )


class _Bar:
    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def update(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._shown.update(self._task, completed=done, note=note)
