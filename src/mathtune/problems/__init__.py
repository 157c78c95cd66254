"""Problems: where they come from, which are trained on and which are held out."""

from mathtune.problems.given import as_json_lines, given_problems
from mathtune.problems.load import (
    check_local,
    describe,
    load,
    load_local,
    load_tests,
    local_training,
    read_as_lines,
    summary_lines,
)
from mathtune.problems.shots import check_shots, draw_shots, file_shots

__all__ = [
    "as_json_lines",
    "check_local",
    "check_shots",
    "describe",
    "draw_shots",
    "file_shots",
    "given_problems",
    "load",
    "load_local",
    "load_tests",
    "local_training",
    "read_as_lines",
    "summary_lines",
]
