"""Messages and progress of long work: on standard error, or in the notebook's cell.

The command line shows it from the start. In Python the functions of ``mathtune`` do so when they
are first called (``show_by_default``), unless ``show_progress(False)`` was called before.
"""

from __future__ import annotations

import html
import importlib
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
from mathtune.progress.console import SafeConsole
from mathtune.text.visible import visible_line

MOST_CHARACTERS = 60
"""At most this many characters of a bar's title are shown."""

_chosen = False


def show_progress(shown: bool = True) -> None:
    """Turn log lines and progress bars on or off.

    Messages go to Python's ``logging`` in either case, under the logger ``mathtune``. Lines go to
    standard error, in a notebook to the cell's output. Of several ranks only the first prints.

    Args:
        shown: False leaves messages to your own ``logging`` configuration, without bars.
    """
    global _chosen
    _chosen = True
    logger = logging.getLogger("mathtune")
    logger.handlers = [each for each in logger.handlers if not isinstance(each, _Lines)]
    logger.propagate = not shown
    logger.setLevel(logging.INFO if shown else logging.NOTSET)
    if not shown:
        progress.show_with(None)
        return
    in_notebook = _is_notebook()
    console = SafeConsole(
        stderr=not in_notebook, force_jupyter=False, soft_wrap=True, quiet=not ranks.is_first()
    )
    logger.addHandler(_Lines(console))
    progress.show_with(_NotebookBars() if in_notebook and ranks.is_first() else _Bars(console))


def show_by_default() -> None:
    """Show progress, unless that was already decided or ``logging`` has a handler."""
    if not _chosen and not logging.getLogger("mathtune").handlers:
        show_progress()


def _is_notebook() -> bool:
    """Return whether this is a Jupyter kernel (Colab and VS Code have one), not just IPython."""
    ipython = sys.modules.get("IPython")
    shell: Any = ipython.get_ipython() if ipython else None
    return shell is not None and hasattr(shell, "kernel")


class _Lines(logging.Handler):
    """Prints log lines above the bars."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line."""
        self._console.print(self.format(record))


class _Bars:
    """Rich bars with a note, the time taken and the time left; nothing outside a terminal."""

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
            title = visible_line(title, MOST_CHARACTERS)
            yield _Bar(shown, shown.add_task(title, total=total, completed=done, note=""))


class _Bar:
    def __init__(self, shown: Progress, task: TaskID) -> None:
        self._shown, self._task = shown, task

    def update(self, done: int, note: str = "") -> None:
        """Move the bar."""
        self._shown.update(self._task, completed=done, note=note)


class _NotebookBars:
    """Plain HTML bars in the cell's output, removed when the work is done.

    They need no widgets, which not every notebook server has.
    """

    is_live = True

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[progress.Bar]:
        """Show a bar while the block runs."""
        shown = _NotebookBar(title, total, done)
        try:
            yield shown
        finally:
            shown.close()


class _NotebookBar:
    SECONDS_BETWEEN = 0.2
    """A browser falls behind if sent every step."""

    def __init__(self, title: str, total: int, done: int) -> None:
        shown: Any = importlib.import_module("IPython.display")
        self._html, self._title, self._total = shown.HTML, title, total
        self._shown_at = self._start = time.monotonic()
        self._handle = shown.display(shown.HTML(self._text(done, "")), display_id=True)

    def update(self, done: int, note: str = "") -> None:
        """Move the bar."""
        now = time.monotonic()
        if now - self._shown_at >= self.SECONDS_BETWEEN:
            self._shown_at = now
            self._handle.update(self._html(self._text(done, note)))

    def close(self) -> None:
        """Remove the bar."""
        self._handle.update(self._html(""))

    def _text(self, done: int, note: str) -> str:
        seconds = time.monotonic() - self._start
        return (
            f"{html.escape(self._title)} <progress value='{done}' max='{self._total}'></progress> "
            f"{done:,}/{self._total:,} {html.escape(note)} {seconds:.0f} s"
        )
