"""Live training curves of one or several runs, drawn as the report draws them."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from mathtune.report import charts, wording
from mathtune.run_paths import RunPaths

MOST_RUNS = 6
"""Most runs in one drawing: more colours could not be told apart."""

CHARTS = (
    ("Training loss", "loss", "loss", False),
    ("Validation loss", "loss", "eval_loss", True),
    ("Validation perplexity", "perplexity", "eval_perplexity", True),
    ("Validation exact match", "exact match", "eval_exact_match", True),
    ("Reward", "reward", "reward", False),
    ("Learning rate", "learning rate", "learning_rate", False),
    ("Gradient norm", "gradient norm", "grad_norm", False),
)
"""Title, name of the value, its key in ``metrics.jsonl``, whether each point gets a dot."""


@dataclass
class _Read:
    """What has been read of a growing file."""

    inode: int = 0
    end: int = 0
    steps: dict[float, dict[str, Any]] = field(default_factory=dict)


class Metrics:
    """Reads ``metrics.jsonl`` of runs; of a file that has grown only what is new."""

    def __init__(self) -> None:
        self._read: dict[Path, _Read] = {}
        self._lock = threading.Lock()

    def points(self, path: Path, key: str) -> tuple[charts.Point, ...]:
        """Return ``(step, value)`` of one figure. A step that is logged twice has the later."""
        with self._lock:
            steps = self._refreshed(path).steps
            return tuple(
                (step, line[key])
                for step, line in sorted(steps.items())
                if wording.is_number(line.get(key))
            )

    def _refreshed(self, path: Path) -> _Read:
        try:
            now = path.stat()
        except OSError:
            return _Read()
        read = self._read.get(path)
        if read is None or now.st_ino != read.inode or now.st_size < read.end:
            read = self._read[path] = _Read(now.st_ino)
        if now.st_size > read.end:
            with path.open("rb") as file:
                file.seek(read.end)
                whole, newline, _ = file.read(now.st_size - read.end).rpartition(b"\n")
            read.end += len(whole) + len(newline)
            for text in whole.splitlines():
                _add(read.steps, text)
        return read


def _add(steps: dict[float, dict[str, Any]], text: bytes) -> None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(line, dict) and wording.is_number(line.get("step")):
        steps.setdefault(line["step"], {}).update(line)


def drawings(metrics: Metrics, runs: Mapping[str, RunPaths]) -> list[dict[str, Any]]:
    """Return one drawing per figure that any of the runs has: ``title`` and ``svg`` as a tree.

    Args:
        metrics: Where they are read.
        runs: Name for the curve → run folder; the first has the first colour.
    """
    found = []
    for title, label, key, dots in CHARTS:
        series = [
            charts.Series(name, f"run-{number}", metrics.points(paths.metrics, key), dots)
            for number, (name, paths) in enumerate(runs.items(), 1)
        ]
        svg = charts.line_chart(
            f"{title} by step", series, y_label=label, linear=key == "learning_rate", legend=False
        )
        if svg:
            found.append({"title": title, "svg": tree(ElementTree.fromstring(svg))})
    return found


def tree(element: ElementTree.Element) -> list[Any]:
    """Return an element as ``[tag, attributes, text, children]``.

    The page builds it node by node: no text of a run is ever parsed as markup there.
    """
    children: Sequence[ElementTree.Element] = list(element)
    return [
        element.tag,
        dict(element.attrib),
        element.text or "",
        [tree(each) for each in children],
    ]
