"""Rows whose texts stay in the file: two files of a million rows compared in under 2 GB.

Figures and comparisons look at every verdict and at few texts. A ``LightRow`` holds what pairs and
counts problems, about 350 bytes, and reads its line of the file again when another field is asked
for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from mathtune.errors import DataError
from mathtune.evaluation.predictions.rows import Sharing, lines_of
from mathtune.records import PredictionRow

HELD = (
    "problem_id", "sample", "set", "gold", "type", "steps", "prompt_hash", "style", "decoding",
    "tokens", "inserted_tokens", "stop_reason", "outcome", "correct", "extracted", "method",
    "error", "published",
)  # fmt: skip
"""Fields that are held in memory."""

_HELD = frozenset(HELD)


class LightRow(Mapping[str, Any]):
    """A row of a predictions file, of which only the fields in ``HELD`` are in memory.

    Args:
        row: The row.
        path: Its file.
        at: Where its line begins there, in bytes.

    Raises:
        DataError: When another field is asked for, if the line is not there any more.
    """

    __slots__ = (*HELD, "_at", "_path")

    def __init__(self, row: PredictionRow, path: Path, at: int) -> None:
        intern = sys.intern  # one string for all rows that have it
        self.problem_id, self.sample = row["problem_id"], row["sample"]
        self.set, self.style = intern(row["set"]), intern(row["style"])
        self.type = row["type"] and intern(row["type"])
        self.gold, self.prompt_hash = intern(row["gold"]), row["prompt_hash"]
        self.outcome, self.correct = intern(row["outcome"]), row["correct"]
        self.extracted = row["extracted"] and intern(row["extracted"])
        self.decoding, self.published = row["decoding"], row["published"]
        self.steps, self.tokens = row["steps"], row["tokens"]
        self.inserted_tokens, self.stop_reason = row["inserted_tokens"], intern(row["stop_reason"])
        self.method = row["method"] and intern(row["method"])
        self.error = row["error"] and intern(row["error"])
        self._path, self._at = path, at

    def __getitem__(self, name: str) -> Any:
        return getattr(self, name) if name in _HELD else self._whole()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def _whole(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                line = file.readline()
        except OSError as error:
            raise DataError(f"{self._path} cannot be read ({error.strerror or error})") from error
        try:
            row: dict[str, Any] = json.loads(line)
            same = row["problem_id"] == self.problem_id and row["sample"] == self.sample
        except (ValueError, KeyError, TypeError):
            same = False
        if not same:
            raise DataError(
                f"{self._path} was changed while it was read; give the same command again"
            )
        return row


def read_light_rows(path: str | Path) -> list[PredictionRow]:
    """Return all rows of a file as ``LightRow``; raises like ``rows.iter_rows``."""
    rows: list[LightRow] = []
    path, sharing = Path(path), Sharing()
    for at, row in lines_of(path):
        light = LightRow(row, path, at)
        light.decoding = sharing.equal("decoding", light.decoding)
        light.published = sharing.equal("published", light.published)
        rows.append(light)
    return cast(list[PredictionRow], rows)
