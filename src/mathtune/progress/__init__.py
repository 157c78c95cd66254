"""How far long work has come, reported to whoever shows it.

What is said in words goes to Python's ``logging``, under the logger ``mathtune``. What moves goes
through the two protocols here. Nothing is shown until a surface, such as the command line, calls
``show_with``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Bar(Protocol):
    """One piece of work whose size is known."""

    def update(self, done: int, note: str = "") -> None:
        """Set how much is done, with a short note such as the loss or how many were right."""
        ...


class Reporter(Protocol):
    """Shows bars."""

    @property
    def is_live(self) -> bool:
        """Whether bars are seen as they move, as on a terminal; else lines have to say it."""
        ...

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Return a bar that is shown inside the block.

        Args:
            title: What is done.
            total: Units of the whole.
            done: Units that an earlier start has done, which say nothing about the rate.
        """
        ...


class Silent:
    """Shows nothing."""

    is_live = False

    def update(self, done: int, note: str = "") -> None:
        """Show nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Return a bar that nobody sees."""
        yield self


_reporter: Reporter = Silent()


def show_with(reporter: Reporter | None) -> None:
    """Let a reporter show all progress from now on; None shows nothing."""
    global _reporter
    _reporter = reporter or Silent()


def is_live() -> bool:
    """Return whether bars are seen as they move."""
    return _reporter.is_live


def bar(title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
    """Return a bar of the present reporter; see ``Reporter.bar``."""
    return _reporter.bar(title, total, done)
