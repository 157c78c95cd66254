"""The list of runs: found, sorted and summed up a page at a time.

A thousand folders are listed by their names and times alone. A summary is read for those that are
shown, and kept until one of its files changes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mathtune.report import facts, wording
from mathtune.report.reading import RunFiles, shown
from mathtune.run_list.facts import figures_of, head_of
from mathtune.run_paths import RunPaths
from mathtune.text.redaction import redacted_values
from mathtune.ui.folders import JOB, Root
from mathtune.ui.status import status_of

PER_PAGE = 25
SORTS = ("changed", "name", "difference")


@dataclass(frozen=True, slots=True)
class Summary:
    """One line of the list, each text ready to be shown."""

    id: str
    name: str
    recipe: str
    base: str
    changed: float
    rates: Mapping[str, str]
    difference: float | None
    interval: str
    verdict: str


class RunList:
    """Lists the runs below a root.

    Args:
        root: The root.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._kept: dict[Path, tuple[tuple[int, ...], Summary]] = {}
        self._lock = threading.Lock()

    def page(self, number: int = 0, *, query: str = "", sort: str = "changed") -> dict[str, Any]:
        """Return one page: ``runs``, ``number``, ``pages`` and ``total``.

        Args:
            number: From 0; beyond the last page the last is returned.
            query: Part of a folder's name; with words of ``recipe`` or base model, too.
            sort: One of ``SORTS``.
        """
        found = list(self._root.runs())
        words = query.lower().split()
        if words:
            found = [path for path in found if self._fits(path, words)]
        if sort == "name":
            found.sort(key=lambda path: path.as_posix())
        elif sort == "difference":
            found.sort(key=self._by_difference)
        else:
            found.sort(key=_changed, reverse=True)
        pages = max(1, -(-len(found) // PER_PAGE))
        number = min(max(0, number), pages - 1)
        part = found[number * PER_PAGE : (number + 1) * PER_PAGE]
        return {
            "runs": [self.line(path) for path in part],
            "number": number,
            "pages": pages,
            "total": len(found),
        }

    def line(self, folder: Path) -> dict[str, Any]:
        """Return one run as the list shows it, with what it is doing at this moment."""
        summary = self.summary(folder)
        now = status_of(RunPaths(folder), _json(RunPaths(folder).manifest_file))
        return {
            "id": summary.id,
            "name": summary.name,
            "recipe": summary.recipe,
            "base": summary.base,
            "changed": _moment(summary.changed),
            "rates": dict(summary.rates),
            "difference": wording.signed_points(summary.difference),
            "interval": summary.interval,
            "verdict": summary.verdict,
            "status": now.kind,
            "doing": now.text,
            "left": now.left,
            "share": now.share,
        }

    def summary(self, folder: Path) -> Summary:
        """Return a run's summary, read again only if one of its files has changed."""
        paths = RunPaths(folder)
        stamp = tuple(
            _stamp(path)
            for path in (paths.recipe, paths.manifest_file, paths.results, paths.metrics)
        )
        with self._lock:
            kept = self._kept.get(folder)
        if kept is None or kept[0] != stamp:
            kept = stamp, _summary(self._root, paths)
            with self._lock:
                self._kept[folder] = kept
        return kept[1]

    def _fits(self, folder: Path, words: list[str]) -> bool:
        name = folder.relative_to(self._root.folder).as_posix()
        head = " ".join(_head(RunPaths(folder)))
        text = f"{name} {head}".lower()
        return all(word in text for word in words)

    def _by_difference(self, folder: Path) -> tuple[bool, float, str]:
        difference = self.summary(folder).difference
        return difference is None, -(difference or 0.0), folder.as_posix()


def _summary(root: Root, paths: RunPaths) -> Summary:
    recipe, base = _head(paths)
    results = shown(_json(paths.results))
    figures: dict[str, float | None] = {}
    verdict = ""
    try:
        figures = figures_of(results)
        if any(figure is not None for figure in figures.values()):
            verdict = facts.verdict(RunFiles("", {}, {}, (), (), results, {}, ()))
    except (AttributeError, TypeError, ValueError):
        verdict = "results.json is not as mathtune writes it."
    return Summary(
        id=root.id_of(paths.folder),
        name=shown(paths.folder.relative_to(root.folder).as_posix()),
        recipe=recipe,
        base=base,
        changed=_changed(paths.folder),
        rates={
            model: wording.percent(figures[model])
            for model in wording.MODELS
            if figures.get(model) is not None
        },
        difference=figures.get("difference"),
        interval=wording.difference_interval(figures.get("low"), figures.get("high")),
        verdict=verdict,
    )


def _head(paths: RunPaths) -> tuple[str, str]:
    """Return the recipe's name and base model, short and without secrets, as texts to show."""
    name, base = (str(shown(redacted_values(text[:200]))) for text in head_of(paths.recipe))
    return name, base


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _changed(folder: Path) -> float:
    """Return when a run last wrote something, in seconds since 1970."""
    paths = RunPaths(folder)
    files = (paths.manifest_file, paths.metrics, paths.results, folder / JOB)
    return max(_stamp(path) for path in files) / 1e9


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
