"""The list of runs: found, sorted and summed up a page at a time.

A thousand folders are listed by their names and times alone. A summary is read for those that are
shown, and kept until one of its files changes.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from mathtune.report import facts, wording
from mathtune.report.reading import RunFiles, shown
from mathtune.run_paths import RunPaths
from mathtune.text.redaction import redacted_values
from mathtune.ui.folders import JOB, Root
from mathtune.ui.status import status_of

PER_PAGE = 25
SORTS = ("changed", "name", "difference")
_HEAD = 4096
"""Bytes at the start of a recipe that hold its name and model."""

_NAME = re.compile(r"^name: *(.+)$", re.MULTILINE)
_BASE = re.compile(r"^  name_or_path: *(.+)$", re.MULTILINE)


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
    run = RunFiles("", {}, {}, (), (), results, {}, ())
    rates: dict[str, str] = {}
    difference = low = high = None
    verdict = ""
    try:
        first = facts.headline(run)
        if first:
            for model, evaluation in first.evaluations.items():
                rates[model] = wording.percent(
                    facts.mapping(evaluation.get("exact_match")).get("value")
                )
            compared = facts.mapping(first.comparison)
            difference = compared.get("difference")
            low, high = compared.get("difference_low"), compared.get("difference_high")
            verdict = facts.verdict(run)
    except (AttributeError, TypeError, ValueError):
        verdict = "results.json is not as mathtune writes it."
    return Summary(
        id=root.id_of(paths.folder),
        name=shown(paths.folder.relative_to(root.folder).as_posix()),
        recipe=recipe,
        base=base,
        changed=_changed(paths.folder),
        rates=rates,
        difference=difference if wording.is_number(difference) else None,
        interval=wording.difference_interval(low, high),
        verdict=verdict,
    )


def _head(paths: RunPaths) -> tuple[str, str]:
    """Return the recipe's name and base model from the first lines of the file.

    A YAML parser needs some 20 ms a recipe, which a list of a thousand cannot spend.
    """
    try:
        with paths.recipe.open("rb") as file:
            text = file.read(_HEAD).decode("utf-8", "replace")
    except OSError:
        return "", ""
    found = [pattern.search(text) for pattern in (_NAME, _BASE)]
    name, base = (_scalar(match[1]) if match else "" for match in found)
    return name, base


def _scalar(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1]
    return str(shown(redacted_values("" if text == "null" else text[:200])))


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
