"""A predictions file written by several ranks: one part each, joined by the first.

Each rank appends to a file of its own, ``FILE.rank-N``, with a timing file next to it. Parts are
joined into the file when all ranks are done, or else at the next start, with any number of ranks:
each row says what it answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from mathtune import ranks
from mathtune.evaluation.predictions.rows import complete_rows, cut_torn_line, write_rows
from mathtune.evaluation.predictions.timing import add_timings, timing_path
from mathtune.records import PredictionRow


def own_part(path: Path) -> Path:
    """Return the file that this rank appends to: the predictions file itself where it is alone."""
    return path if ranks.world_size() == 1 else path.with_name(f"{path.name}.rank-{ranks.rank()}")


def join_parts(path: Path) -> int:
    """Move the rows of all parts into the file; return how many torn lines were dropped.

    A crash meanwhile leaves rows in both places, never in neither.
    """
    name = re.compile(re.escape(path.name) + r"\.rank-\d+")
    parts = sorted(part for part in path.parent.glob("*.rank-*") if name.fullmatch(part.name))
    torn = sum(cut_torn_line(each) for each in (path, *parts))
    if parts:
        write_rows(path, _each_once((path, *parts)))
        add_timings(path, parts)
        for part in parts:
            part.unlink()
            timing_path(part).unlink(missing_ok=True)
    return torn


def _each_once(paths: Sequence[Path]) -> Iterator[PredictionRow]:
    seen: set[tuple[str, int]] = set()
    for path in paths:
        for row in complete_rows(path):
            key = (row["problem_id"], row["sample"])
            if key not in seen:
                seen.add(key)
                yield row
