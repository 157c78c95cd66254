"""Which data was used: counts, sources, what was dropped, fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mathtune.report import wording
from mathtune.report.facts import mapping
from mathtune.report.reading import RunFiles


@dataclass(frozen=True, slots=True)
class Part:
    """One split of the data as it was used: training, validation or a test set."""

    name: str
    n: str
    sources: str
    dropped: str
    fingerprint: str


def data_parts(run: RunFiles) -> list[Part]:
    """List training, validation and test data with counts, sources and what was dropped."""
    data = mapping(run.manifest.get("data"))
    named = [(name.capitalize(), mapping(data.get(name))) for name in ("train", "validation")]
    tests = [(f"Test: {test.get('label', '')}", mapping(test)) for test in data.get("test") or ()]
    labels = {"Train": "Training"}
    configured = _configured_sources(run)
    too_long = mapping(mapping(run.manifest.get("training")).get("too_long"))
    return [
        Part(
            name=labels.get(name, name),
            n=wording.count(part.get("n")),
            sources=configured.get(name) or _sources(part.get("sources")),
            dropped=_dropped(part, too_long.get(name.lower())),
            fingerprint=str(part.get("fingerprint") or wording.MISSING),
        )
        for name, part in named + tests
        if part.get("n") or part.get("dropped")
    ]


def _configured_sources(run: RunFiles) -> dict[str, str]:
    """Return the recipe's sources of each split: they say more than the manifest's names."""
    data = mapping(run.recipe.get("data"))
    if not data:
        return {}
    held_out = wording.percent(data.get("validation_fraction"), 0)
    own_answers = mapping(run.recipe.get("rft")).get("rounds")
    found = {
        "Train": "" if own_answers else _sources(data.get("train")),
        "Validation": _sources(data.get("validation")) or f"{held_out} held out of training",
    }
    for test in data.get("test") or ():
        test = mapping(test)
        found[f"Test: {test.get('label', '')}"] = _sources(test.get("sources"))
    return found


def _sources(value: Any) -> str:
    return "; ".join(filter(None, (_source(item) for item in value or ())))


def _source(value: Any) -> str:
    """Name a source; a mapping becomes its name and ``(key=value)`` for what is set."""
    if not isinstance(value, Mapping):
        return str(value)
    name = next((value[key] for key in ("name", "path", "source", "label") if value.get(key)), "")
    if not name and value.get("generated"):
        name = f"generated {value['generated']}"
    skip = {"name", "path", "source", "label", "generated", "fields"}
    if not value.get("generated"):
        skip |= {"types", "templates", "part", "max_number"}  # knobs of the generator only
    given = {key: item for key, item in value.items() if item not in (None, False)}
    rest = [f"{key}={_written(item)}" for key, item in given.items() if key not in skip]
    return f"{name} ({', '.join(rest)})" if rest else str(name)


def _written(value: Any) -> str:
    return "/".join(map(str, value)) if isinstance(value, list) else str(value)


def _dropped(part: Mapping[str, Any], too_long: Any) -> str:
    """List what was dropped by reason, then what was kept despite a doubt."""
    reasons = {**mapping(part.get("dropped")), "longer than max_length": too_long}
    lost = [f"{reason}: {wording.count(n)}" for reason, n in reasons.items() if n]
    kept = [f"{why}: {wording.count(n)}" for why, n in mapping(part.get("kept")).items() if n]
    return "; ".join([*lost, *kept]) or "none"
