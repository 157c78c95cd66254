"""Generated problems as a file, with a note of how they were made."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mathtune.errors import DataError
from mathtune.problems.generate import generate, types_in
from mathtune.problems.given import as_json_lines
from mathtune.provenance import command_line, provenance
from mathtune.storage import write_json, write_text


@dataclass(frozen=True, slots=True)
class Generated:
    """A written file.

    Attributes:
        path: The file.
        note: Its ``.provenance.json``.
        problems: How many.
        types: Type → how many.
    """

    path: Path
    note: Path
    problems: int
    types: dict[str, int]


def generate_file(
    path: Path,
    n: int,
    *,
    seed: int = 0,
    types: Collection[str] = (),
    templates: Literal["train", "held_out", "all"] = "train",
    part: Literal["train", "test", "all"] = "train",
    overwrite: bool = False,
) -> Generated:
    """Write ``n`` generated problems as JSON lines, and how they were made beside them.

    Args:
        path: The file, which must end in ``.jsonl``.
        n: How many problems.
        seed: Seed of all random choices; the same arguments give the same bytes.
        types: Types of problems, or the groups ``base`` and ``new``; empty: all.
        templates: As in a recipe's source: those for training, the held-out ones, or all.
        part: As in a recipe's source: by numbers, so that test problems never occur in training.
        overwrite: Replace the file if it exists.

    Raises:
        DataError: The file exists or has another ending, a type is unknown, or there are not so
            many different problems.
        DiskError: The file cannot be written.
    """
    if path.suffix != ".jsonl":
        raise DataError(f"{path} must end in .jsonl, by which it is read again; rename it")
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists; give another name, or --overwrite to replace it")
    chosen = types_in(types)
    problems = generate(n, seed=seed, types=chosen or None, split=templates, part=part)
    text = as_json_lines(problems)
    counts: dict[str, int] = {}
    for problem in problems:
        counts[str(problem.type)] = counts.get(str(problem.type), 0) + 1
    note = path.with_suffix(".provenance.json")
    made: dict[str, Any] = {
        "generator": "mathtune.problems.generate",
        "n": n,
        "seed": seed,
        "types": chosen or "all",
        "templates": templates,
        "part": part,
        "problems_by_type": counts,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "command": command_line(),
        **provenance(),
    }
    write_text(path, text)
    write_json(note, made)
    return Generated(path, note, len(problems), counts)
