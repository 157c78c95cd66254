"""Errors a user can act on.

Each message is one clear sentence with the fact, the value and the remedy. Every class also
inherits the standard exception a caller would expect, so ``except ValueError`` keeps working. The
command line prints the message without a traceback and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class MathtuneError(Exception):
    """Base of every error that mathtune raises on purpose.

    Attributes:
        faults: One sentence per fault: all that were found, not only the first.
        told: Whether another process of the run reports it, so that it is not reported twice.
    """

    exit_code = 2
    told = False

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults: list[str] = [faults] if isinstance(faults, str) else list(faults)
        super().__init__("\n".join(self.faults))


class ConfigError(MathtuneError, ValueError):
    """A recipe or an option is wrong."""


class DataError(MathtuneError, ValueError):
    """Problems could not be read or cannot be used."""


class ModelError(MathtuneError, ValueError):
    """A model or tokenizer could not be loaded, or does not fit the request."""


class RunError(MathtuneError, RuntimeError):
    """A run folder cannot be used for the request."""


class DiskError(MathtuneError, OSError):
    """Something could not be written; what was saved before is still intact."""


class MissingPackage(MathtuneError, ImportError):
    """An optional package is not installed."""


class TrainingStopped(MathtuneError, RuntimeError):
    """Training ended early: a signal, or a loss that is not finite."""

    def __init__(self, message: str, exit_code: int = 2) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ValidationInterrupted(Exception):
    """A signal came while a model in training was solving validation problems."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known word closest to ``word``, or ``""``."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""
