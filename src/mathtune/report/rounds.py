"""Rounds of rejection sampling: what each sampled, what it kept, and why it dropped the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mathtune.report import charts, facts, wording
from mathtune.report.panels import picture
from mathtune.report.reading import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Round:
    """One round as text.

    Attributes:
        name: ``1``, ``2``, …
        pass_rate: Share of this round's samples that are right.
        solved: How many problems were never, sometimes and always solved; empty if unknown.
        map: The same as a bar.
        samples: Samples of all rounds so far.
        kept: How many of them are trained on.
        problems: How many problems those are of.
        gold: Published solutions mixed in.
        dropped: Reason and count, the most frequent first.
    """

    name: str
    pass_rate: str
    solved: tuple[str, ...]
    map: Markup | None
    samples: str
    kept: str
    problems: str
    gold: str
    dropped: tuple[tuple[str, str], ...]


def rounds_of(run: RunFiles) -> list[Round]:
    """Return the rounds that the manifest has."""
    noted = run.manifest.get("rft")
    return [_round(facts.mapping(each)) for each in (noted if isinstance(noted, list) else ())]


def _round(noted: Mapping[str, Any]) -> Round:
    solved = facts.mapping(noted.get("solved"))
    counts = [
        (name, solved[name]) for name in wording.SOLVED if wording.is_number(solved.get(name))
    ]
    dropped = sorted(facts.mapping(noted.get("dropped")).items(), key=lambda item: -item[1])
    name = str(noted.get("round"))
    return Round(
        name=name,
        pass_rate=wording.percent(facts.mapping(noted.get("pass_rate")).get("value")),
        solved=tuple(wording.count(count) for _, count in counts),
        map=picture(charts.shares_bar(f"problems of round {name}", _named(counts)))
        if counts
        else None,
        samples=wording.count(noted.get("samples")),
        kept=wording.count(noted.get("kept")),
        problems=wording.count(noted.get("problems_with_a_sample_kept")),
        gold=wording.count(noted.get("gold")),
        dropped=tuple((str(why), wording.count(count)) for why, count in dropped),
    )


def _named(counts: list[tuple[str, int]]) -> list[tuple[str, str, int]]:
    return [(wording.SOLVED[name], name, count) for name, count in counts]
