"""Where each row of a predictions file begins, and what a filter asks about it.

A file of 100,000 rows is read once; then a page of it costs as much as its 25 rows. Of a file that
grows only what is new is read.
"""

from __future__ import annotations

import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mathtune.errors import RunError

MOST_FILES = 16
"""Most files whose index is kept."""

Key = tuple[str, int]
"""Problem id and sample."""


@dataclass
class PredictionIndex:
    """The rows of one file.

    Attributes:
        path: The file.
        keys: Problem and sample of each row.
        offsets: Where each row begins, in bytes.
        correct: 1 for a right answer.
        otherwise: For each row a bit per published grader that decides otherwise than mathtune's.
        graders: Names of the published graders, in the order of their bits.
        outcomes: Position in ``names`` of each row's outcome.
        errors: Position in ``names`` of each row's kind of error; ``""`` if it has none.
        names: Every outcome and kind of error.
        unreadable: Lines that are not rows, left out.
    """

    path: Path
    keys: list[Key] = field(default_factory=list)
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    correct: bytearray = field(default_factory=bytearray)
    otherwise: bytearray = field(default_factory=bytearray)
    graders: list[str] = field(default_factory=list)
    _accepting: int = 0
    outcomes: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    names: list[str] = field(default_factory=lambda: [""])
    unreadable: int = 0
    stamp: tuple[int, int, int] = (0, 0, 0)
    """Inode, size and time of the file as read."""
    _end: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    def outcome(self, row: int) -> str:
        """Return the outcome of a row."""
        return self.names[self.outcomes[row]]

    def error(self, row: int) -> str:
        """Return the kind of error of a row, or ``""``."""
        return self.names[self.errors[row]]

    def disagree(self, row: int) -> bool:
        """Return whether a published grader decides otherwise than mathtune's.

        Graders that accept no answer of the file do not count: they look for another format.
        """
        return bool(self.otherwise[row] & self._accepting)

    def row(self, row: int) -> dict[str, Any]:
        """Read one row."""
        return self.rows([row])[0]

    def rows(self, rows: Sequence[int]) -> list[dict[str, Any]]:
        """Read some rows.

        Raises:
            RunError: The file has changed meanwhile.
        """
        try:
            with self.path.open("rb") as file:
                return [self._read(file, row) for row in rows]
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(
                f"{self.path.name} has changed while it was read; load the page again"
            ) from error

    def _read(self, file: Any, row: int) -> dict[str, Any]:
        file.seek(self.offsets[row])
        value = json.loads(file.readline())
        if not isinstance(value, dict):
            raise ValueError("not a row")
        return value

    def search(self, words: str, wanted: Callable[[int], bool]) -> set[int]:
        """Return the rows whose question, type, answer or completion holds a text.

        Case does not matter. Lines are compared as bytes first; only those that hold the text
        somewhere are parsed.
        """
        needle, found = words.lower(), set[int]()
        as_json = json.dumps(needle, ensure_ascii=False)[1:-1].encode()
        ascii_only = as_json.isascii()
        with self.path.open("rb") as file:
            for row, start in enumerate(self.offsets):
                if not wanted(row):
                    continue
                file.seek(start)
                line = file.readline()
                # Bytes are lower-cased in ASCII only; another text may hide in any line.
                if ascii_only and as_json not in line.lower() and b"\\u" not in line:
                    continue
                if needle in _haystack(json.loads(line)):
                    found.add(row)
        return found

    def refresh(self) -> None:
        """Read what is new in the file, or all of it if it is another file now.

        Raises:
            RunError: It cannot be read.
        """
        try:
            now = self.path.stat()
            stamp = (now.st_ino, now.st_size, now.st_mtime_ns)
            if stamp == self.stamp:
                return
            if now.st_ino != self.stamp[0] or now.st_size <= self.stamp[1]:
                self._forget()
            with self.path.open("rb") as file:
                file.seek(self._end)
                while (line := file.readline()).endswith(b"\n"):
                    self._add(self._end, line)
                    self._end += len(line)
        except OSError as error:
            raise RunError(f"{self.path} cannot be read ({error.strerror or error})") from error
        self.stamp = stamp

    def _forget(self) -> None:
        fresh = PredictionIndex(self.path)
        self.__dict__.update(fresh.__dict__)

    def _add(self, start: int, line: bytes) -> None:
        try:
            row = json.loads(line)
            key = str(row["problem_id"]), int(row.get("sample") or 0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            self.unreadable += bool(line.strip())
            return
        right, published = row.get("correct") is True, row.get("published")
        verdicts = published if isinstance(published, Mapping) else {}
        self.keys.append(key)
        self.offsets.append(start)
        self.correct.append(right)
        self.otherwise.append(self._otherwise(right, verdicts))
        self.outcomes.append(self._name(row.get("outcome")))
        self.errors.append(self._name(row.get("error")))

    def _otherwise(self, right: bool, verdicts: Mapping[str, Any]) -> int:
        bits = 0
        for grader, verdict in list(verdicts.items())[:8]:  # the byte holds eight
            if grader not in self.graders and len(self.graders) < 8:
                self.graders.append(grader)
            bit = 1 << self.graders.index(grader) if grader in self.graders else 0
            self._accepting |= bit if verdict else 0
            bits |= bit if bool(verdict) != right else 0
        return bits

    def _name(self, value: Any) -> int:
        name = value if isinstance(value, str) else ""
        if name not in self.names:
            if len(self.names) > 200:  # not a file of ours; the byte holds 256
                return 0
            self.names.append(name)
        return self.names.index(name)


def _haystack(row: Mapping[str, Any]) -> str:
    parts = (row.get(key) for key in ("question", "type", "gold", "completion"))
    return "\n".join(part for part in parts if isinstance(part, str)).lower()


class Indexes:
    """Keeps the indexes of the files that were looked at last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Path, PredictionIndex] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, path: Path) -> PredictionIndex:
        """Return a file's index, up to date.

        Raises:
            RunError: The file cannot be read.
        """
        with self._lock:
            index = self._kept.setdefault(path, PredictionIndex(path))
            self._kept.move_to_end(path)
            while len(self._kept) > MOST_FILES:
                self._kept.popitem(last=False)
            index.refresh()
        return index
