"""How changes since a stage was done are named in messages."""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.binding.inputs import Difference, Inputs

_EVENTS = {"base": "base was measured", "train": "training began", "tuned": "tuned was measured"}

Stale = list[tuple[str, Difference]]
"""Stages with what changed since; the stage is empty for what changed since the folder was made."""


def short_difference(key: str, now: Inputs) -> Difference:
    """Return an item of the short form that has changed."""
    whose = f" of {now.model}" if key in ("weights", "configuration", "tokenizer") else ""
    names = {
        "template": f"the chat template of {now.model}",
        "shots": "the solved examples in the prompts",
        "n": "the number of problems",
        "knobs": "the settings",
    }
    return Difference(names.get(key, f"the {key}{whose}"), "", "", key)


def unchecked(stage: str) -> str:
    """Return that a stage has no record."""
    what = "training" if stage == "train" else f"the measurement of {stage}"
    return f"{what} was begun by an earlier version and cannot be checked against its inputs"


def changes(stale: Stale) -> str:
    """Return what changed, and since when, as one clause for each such event."""
    events: dict[Difference, list[str]] = {}
    for stage, difference in stale:
        events.setdefault(difference, []).append(_EVENTS.get(stage, "the run folder was made"))
    clauses: dict[str, list[Difference]] = {}
    for difference, since in events.items():
        clauses.setdefault(listed(since), []).append(difference)
    return listed([_clause(each, since) for since, each in clauses.items()])


def _clause(changed: Sequence[Difference], since: str) -> str:
    details = [f" ({each.detail})" if each.detail else "" for each in changed]
    if len(changed) == 1:
        return f"{changed[0].what} changed{changed[0].how} since {since}{details[0]}"
    pairs = zip(changed, details, strict=True)
    return f"{listed([f'{e.what} changed{e.how}{detail}' for e, detail in pairs])} since {since}"


def listed(names: Sequence[str]) -> str:
    """Return names as in "a, b and c"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
