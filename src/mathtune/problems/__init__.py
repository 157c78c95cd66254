"""Problems: where they come from, which of them train, and which of them are kept apart."""

from mathtune.problems.load import describe, load, load_tests, summary_lines

__all__ = ["describe", "load", "load_tests", "summary_lines"]
