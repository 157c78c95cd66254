"""Progress of long work, reported to whatever displays it.

Messages go to Python's ``logging``, under the logger ``mathtune``. Progress bars go through the two
protocols here. Nothing is shown until a front end, such as the command line, calls ``show_with``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One task of known size."""

    def update(self, done: int, note: str = "") -> None:
        """Set how much is done, with a short note such as the loss or how many were right."""
        ...


class Reporter(Protocol):
    """Shows bars."""

    @property
    def is_live(self) -> bool:
        """Whether bars move, as on a terminal; otherwise progress is logged in lines."""
        ...

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Return a bar that is shown inside the block.

        Args:
            title: Name of the task.
            total: Total units.
            done: Units done by an earlier start, which do not count towards the rate.
        """
        ...


class Silent:
    """Shows nothing."""

    is_live = False

    def update(self, done: int, note: str = "") -> None:
        """Show nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Return an invisible bar."""
        yield self


_reporter: Reporter = Silent()


def show_with(reporter: Reporter | None) -> None:
    """Let a reporter show all progress from now on; None shows nothing."""
    global _reporter
    _reporter = reporter or Silent()


def is_live() -> bool:
    """Return whether bars move."""
    return _reporter.is_live


def bar(title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
    """Return a bar of the current reporter; see ``Reporter.bar``."""
    return _reporter.bar(title, total, done)
