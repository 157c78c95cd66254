"""Ways to choose one of several answers to a problem: the vote, a verifier, both together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mathtune.report import facts, wording
from mathtune.report.reading import RunFiles

WAYS = {
    "greedy": "one greedy answer",
    "sample": "one sample, on average",
    "majority": "majority vote (maj@{n})",
    "best": "best of {n} by the verifier",
    "weighted": "vote weighted by the verifier",
    "any": "any of {n} right (pass@{n})",
}


@dataclass(frozen=True, slots=True)
class Way:
    """One way to choose, as text.

    Attributes:
        name: What is chosen.
        rate: Share of problems where that is right.
        interval: Its interval.
        difference: Points against the vote, with its interval and McNemar's p, plain and adjusted
            for the tests made together; empty for the vote itself and where nothing is compared.
    """

    name: str
    rate: str
    interval: str
    difference: tuple[str, str, str, str] | None


@dataclass(frozen=True, slots=True)
class Choices:
    """What one verifier chose among the answers of one predictions file.

    Attributes:
        file: The predictions file.
        verifier: The verifier's run folder.
        problems: Number of problems.
        samples: Answers per problem.
        ways: One line each.
    """

    file: str
    verifier: str
    problems: str
    samples: str
    ways: tuple[Way, ...]


def choices_of(run: RunFiles) -> list[Choices]:
    """Return what ``mathtune rerank`` found in a run folder."""
    return [choices(name, found) for name, found in run.reranked.items()]


def choices(name: str, found: Mapping[str, Any]) -> Choices:
    """Return the figures of ``mathtune rerank`` as text."""
    rates, tests = facts.mapping(found.get("rates")), facts.mapping(found.get("against_majority"))
    samples = wording.count(found.get("samples"))
    return Choices(
        file=name,
        verifier=str(found.get("verifier", "")),
        problems=wording.count(found.get("n")),
        samples=samples,
        ways=tuple(
            Way(
                text.format(n=samples),
                wording.percent(facts.mapping(rates[way]).get("value")),
                wording.rate_interval(facts.mapping(rates[way])),
                _difference(facts.mapping(tests[way])) if way in tests else None,
            )
            for way, text in WAYS.items()
            if way in rates
        ),
    )


def _difference(test: Mapping[str, Any]) -> tuple[str, str, str, str]:
    return (
        wording.signed_points(test.get("difference")),
        wording.difference_interval(test.get("low"), test.get("high")),
        wording.p_value(test.get("mcnemar_p")),
        wording.p_value(test.get("holm_p")),
    )
