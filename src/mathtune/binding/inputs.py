"""What a result is made from, by content: problems, weights, tokenizer, chat template, knobs.

A path does not say what is there today. Two ``Inputs`` are compared item by item, so that
what changed can be named (``differences``). Torch is not needed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mathtune.config.identity import in_words

_HIDDEN = "hash "

KEEPS_ANSWERS = ("grader", "eval.confidence", "eval.perplexity", "eval.example")
"""Knobs that change the figures of a measurement but none of its answers."""


@dataclass(frozen=True)
class Inputs:
    """Everything that the output of one stage depends on.

    Attributes:
        model: Its name, for messages; not compared.
        weights: Name of each file with weights → SHA-256; an adapter's base under ``base/``. Empty
            where they are not on this machine, or random.
        configuration: Hash of ``config.json`` and its like; empty where it is not here.
        tokenizer: Hash of the tokenizer's files without the chat template.
        template: Hash of the chat template.
        problems: What a set is to the stage, as in ``"test problems of gsm8k"`` → one fingerprint
            per problem, in order.
        ordered: Whether the order of the problems matters; it does in training.
        shots: Fingerprints of the solved examples in the prompts.
        knobs: Dotted key → value of each knob of the recipe that matters to the stage.
        grader: Version of the grader; empty where nothing is graded.
    """

    model: str = ""
    weights: Mapping[str, str] = field(default_factory=dict)
    configuration: str = ""
    tokenizer: str = ""
    template: str = ""
    problems: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ordered: bool = False
    shots: Sequence[str] = ()
    knobs: Mapping[str, Any] = field(default_factory=dict)
    grader: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it for a file, a set of problems on one line."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        joined = {name: " ".join(prints) for name, prints in self.problems.items()}
        return {**values, "problems": joined, "shots": list(self.shots)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Inputs:
        """Return the inputs that ``to_json`` wrote.

        Raises:
            TypeError: A value has a different type than was written.
        """
        empty = cls()
        for each in dataclasses.fields(cls):
            kind = type(getattr(empty, each.name)) if each.name != "shots" else list
            if not isinstance(values.get(each.name), kind):
                raise TypeError(f"{each.name} is not {kind.__name__}")
        problems = {name: text.split() for name, text in values["problems"].items()}
        names = [each.name for each in dataclasses.fields(cls)]
        return cls(**{**{name: values[name] for name in names}, "problems": problems})

    def in_short(self) -> dict[str, str]:
        """Return one short hash per item, for the manifest and for predictions."""
        return {
            "problems": digest({name: sorted(each) for name, each in self.problems.items()})[:16],
            "weights": digest(dict(self.weights))[:16] if self.weights else "",
            "configuration": self.configuration,
            "tokenizer": self.tokenizer,
            "template": self.template,
            "shots": digest(list(self.shots))[:16] if self.shots else "",
            "knobs": digest(dict(self.knobs))[:16],
            "grader": self.grader,
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """An item that has changed.

    Attributes:
        what: The item, as in ``"the test problems of gsm8k"`` or ``"eval.max_new_tokens"``.
        how: The change itself, as in ``" from 32 to 64"``, or empty.
        detail: More about it, or empty.
        key: ``problems``, ``weights``, … or the knob.
    """

    what: str
    how: str
    detail: str
    key: str


def differences(
    then: Inputs, now: Inputs, questions: Mapping[str, str] | None = None
) -> list[Difference]:
    """Return what differs. What is empty on one side was unknown there and is left out.

    Args:
        then: What the stage was made from.
        now: What it would be made from.
        questions: Fingerprint → question of today's problems, to name the first that differs.
    """
    found = list(_problem_differences(then, now, questions or {}))
    if now.problems and list(then.shots) != list(now.shots):
        found.append(Difference("the solved examples in the prompts", "", "", "shots"))
    if names := _differing_files(then.weights, now.weights):
        shown = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        found.append(Difference(f"the weights of {now.model}", "", shown, "weights"))
    for key, what in (
        ("configuration", f"the configuration of {now.model}"),
        ("tokenizer", f"the tokenizer of {now.model}"),
        ("template", f"the chat template of {now.model}"),
    ):
        before, after = getattr(then, key), getattr(now, key)
        if before and after and before != after:
            found.append(Difference(what, "", "", key))
    if then.grader != now.grader:
        change = f" from version {then.grader or 'none'} to {now.grader or 'none'}"
        found.append(Difference("the grader", change, "", "grader"))
    return found + list(_knob_differences(then.knobs, now.knobs))


def short_differences(then: Mapping[str, Any], now: Inputs, short: Mapping[str, str]) -> list[str]:
    """Return the items of ``in_short`` that differ; what is empty on one side is left out.

    Args:
        then: The short form noted when the stage began.
        now: What the stage would be made from.
        short: The short form of that.
    """
    unknown = () if now.problems else ("problems", "shots", "n")
    return [
        key
        for key, after in short.items()
        if key not in unknown
        and key in then
        and (key == "shots" or (then[key] and after))
        and then[key] != after
    ]


def _knob_differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Difference]:
    for key, before in then.items():
        if key not in now or before == now[key]:  # a knob that one version lacks cannot be compared
            continue
        if key.startswith("adapter.") and then.get("adapter") != now.get("adapter"):
            continue  # with and without an adapter is one difference
        secret = str(before or now[key]).startswith(_HIDDEN)
        change = "" if secret else f" from {in_words(before)} to {in_words(now[key])}"
        yield Difference(key, change, "", key)


def _problem_differences(
    then: Inputs, now: Inputs, questions: Mapping[str, str]
) -> Iterator[Difference]:
    if not now.problems:  # not on this machine any more
        return
    if list(then.problems) != list(now.problems):
        named = ", ".join(then.problems), ", ".join(now.problems)
        yield Difference(
            "the choice of problem sets", f" from {named[0]} to {named[1]}", "", "data"
        )
        return
    for name, before in then.problems.items():
        after = now.problems[name]
        came, gone = Counter(after) - Counter(before), Counter(before) - Counter(after)
        if not (came or gone):
            if then.ordered and list(before) != list(after):
                yield Difference(f"the order of the {name}", "", "", "problems")
            continue
        first = next((questions[each] for each in came if each in questions), "")
        example = f", first: {_shortened(first)!r}" if first else ""
        if len(before) == len(after):
            detail = f"{came.total():,} of {len(after):,} differ{example}"
        else:
            detail = f"{len(before):,} then, {len(after):,} now{example}"
        yield Difference(f"the {name}", "", detail, "problems")


def _differing_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the files that differ; a model or base of which no file is here is left out."""
    here = {name.startswith("base/") for name in now}
    known = {name.startswith("base/") for name in then}
    return [
        name
        for name in dict.fromkeys([*then, *now])
        if name.startswith("base/") in here & known and then.get(name) != now.get(name)
    ]


def hidden(value: str) -> str:
    """Return a stand-in for a knob that may hold a password: it differs where the knob does."""
    return _HIDDEN + digest(value)[:16]


def digest(value: Any) -> str:
    """Return the SHA-256 of a JSON value, in hex."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"
