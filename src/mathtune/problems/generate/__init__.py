"""Word problems of our own: short, exact, solved step by step, as many as you like.

    >>> problem = generate(1, seed=7)[0]

A *theme* (shopping, farm, ...) is a setting and a module under ``themes/``. A *type* is a kind of
reasoning (``total_cost``, ``average``, ...) that occurs in several themes; ``BASE_TYPES`` and
``NEW_TYPES`` split the types in two groups. A *template* is one family of texts with a theme, a
type and a number of steps.

To add a template, write a function in a theme's module and name it in the ``TEMPLATES`` at its
end::

    @template("equal_groups", steps=1)
    def eggs_in_nests(d: Draw) -> Story:
        hens, each = d.number(2, 12), d.number(2, 6)
        eggs = hens * each
        return Story(
            facts=(f"{hens} hens sit on their nests.", f"Each nest has {each} eggs."),
            question=d.pick("How many eggs are there?", "What is the number of eggs?"),
            solution=(f"There are {eggs:=} eggs.",),
            answer=eggs,
        )

The framework does the rest: it puts the question last, first or behind an "If", adds a fact that
is not needed to one problem in five, writes ``<<3*4=12>>`` and ``#### 12``, and refuses a result
that is not positive or has no short exact decimal. Draw numbers so that they work out (a quotient
first, then its multiple). A new theme is a module, listed below, with a few lines in
``asides.py``. Tests check every template, also against the GSM8K test questions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable
from typing import Literal

from mathtune.errors import DataError, did_you_mean
from mathtune.problems.generate.facts import facts
from mathtune.problems.generate.framework import Draw, Story, Template, template
from mathtune.problems.generate.reasoning import BASE_TYPES, GROUPS, NEW_TYPES, TYPES
from mathtune.problems.generate.themes import (
    animals,
    baking,
    factory,
    farm,
    garden,
    library,
    money,
    school,
    shopping,
    sport,
    travel,
    work,
)
from mathtune.records import Problem

TEMPLATES: dict[str, Template] = {
    entry.name: entry
    for theme in (
        animals,
        baking,
        factory,
        farm,
        garden,
        library,
        money,
        school,
        shopping,
        sport,
        travel,
        work,
    )
    for entry in theme.TEMPLATES
}
"""Every template by its name."""

HELD_OUT: frozenset[str] = frozenset(name for name, t in TEMPLATES.items() if t.held_out)
"""Templates that ``split="train"`` never uses; every type has at least one."""

_MISSES = 2000  # draws in a row with nothing new before a template counts as exhausted
_ANNOTATION = re.compile(r"<<[^>]*>>")
_NUMBER = re.compile(r"[\d.]+")


def generate(
    n: int,
    *,
    seed: int = 0,
    types: Collection[str] | None = None,
    templates: Collection[str] | None = None,
    split: Literal["train", "held_out", "all"] = "train",
    part: Literal["train", "test", "all"] = "all",
    max_number: int | None = None,
    exclude: Collection[str] = (),
) -> list[Problem]:
    """Write ``n`` different word problems, the same ones for the same arguments everywhere.

    A shorter call returns the start of a longer one. All templates are equally likely, but with
    ``max_number`` those that have no such problem, or no further one, are passed over.

    Args:
        n: How many.
        seed: Seed of all random choices.
        types: Only templates of these types or groups of types (``base``, ``new``); None: of all.
        templates: Only these templates; all where None.
        split: ``"train"`` leaves out the ``HELD_OUT`` templates, ``"held_out"`` uses only them.
        part: A fixed split by numbers: a problem is ``"test"`` if the CRC-32 of its calculations is
            divisible by 10, else ``"train"``. Wording and names play no role, so a test problem's
            calculations occur in no training problem of any template. ``"all"`` does not split.
        max_number: Only problems whose calculations have whole numbers up to this, results
            included.
        exclude: Question texts or problem ids to leave out.

    Raises:
        DataError: A type or template is unknown, none is left to choose from, or one has no new
            question left to give; with ``max_number``, if none has.
    """
    chosen = list(choose_templates(types=types, templates=templates, split=split))
    if part not in ("train", "test", "all"):
        raise DataError(f"part is {part!r}; use 'train', 'test' or 'all'.")
    if n < 0:
        raise DataError(f"{n} problems were asked for; ask for 0 or more.")
    draw, used, problems = Draw(seed), set(exclude), list[Problem]()
    while len(problems) < n:
        entry = draw.one_of(chosen)
        for _ in range(_MISSES):
            problem = entry.write(draw)
            new = problem.question not in used and problem.id not in used
            if new and _is_wanted(problem, part, max_number):
                used.add(problem.question)
                problems.append(problem)
                break
        else:
            if max_number is not None and len(chosen) > 1:
                chosen.remove(entry)
                continue
            limit = "" if max_number is None else f" or raise max_number={max_number}"
            raise DataError(
                f"Template {entry.name!r} gave no new question in {_MISSES} draws, with "
                f"{len(problems)} of {n} problems made; ask for fewer or allow more templates"
                f"{limit}."
            )
    return problems


def _is_wanted(problem: Problem, part: str, max_number: int | None) -> bool:
    if max_number is not None and not _within(problem, max_number):
        return False
    return part == "all" or (part == "test") == _is_test(problem)


def choose_templates(
    *,
    types: Collection[str] | None = None,
    templates: Collection[str] | None = None,
    split: Literal["train", "held_out", "all"] = "train",
) -> tuple[Template, ...]:
    """Return the templates that fit all three conditions; see ``generate``.

    Raises:
        DataError: A type or template is unknown, or none fits.
    """
    wanted = TYPES if types is None else types_in(types)
    for word in templates or ():
        if word not in TEMPLATES:
            raise DataError(f"No template {word!r}{did_you_mean(word, TEMPLATES)}.")
    if split not in ("train", "held_out", "all"):
        raise DataError(f"split is {split!r}; use 'train', 'held_out' or 'all'.")
    chosen = tuple(
        entry
        for entry in TEMPLATES.values()
        if entry.type in wanted
        and (templates is None or entry.name in templates)
        and (split == "all" or entry.held_out == (split == "held_out"))
    )
    if not chosen:
        raise DataError(
            f"No template has types={types}, templates={templates} and split={split!r}; "
            "widen one of them."
        )
    return chosen


def types_in(given: Iterable[str]) -> list[str]:
    """Return the types that names of types and groups stand for, each once.

    Raises:
        DataError: A name is unknown.
    """
    found: dict[str, None] = {}
    for word in given:
        if word not in TYPES and word not in GROUPS:
            raise DataError(
                f"no problem type is called {word!r}; give base, new or some of "
                f"{', '.join(sorted(TYPES))}{did_you_mean(word, [*GROUPS, *TYPES])}"
            )
        found |= dict.fromkeys(sorted(GROUPS.get(word, [word])))
    return list(found)


def _within(problem: Problem, max_number: int) -> bool:
    """Return whether all numbers in the calculations are whole and at most ``max_number``."""
    numbers = _NUMBER.findall("".join(_ANNOTATION.findall(problem.answer)))
    return all("." not in number and int(number) <= max_number for number in numbers)


def _is_test(problem: Problem) -> bool:
    calculations = "".join(_ANNOTATION.findall(problem.answer))
    return zlib.crc32(calculations.encode()) % 10 == 0


__all__ = [
    "BASE_TYPES",
    "HELD_OUT",
    "NEW_TYPES",
    "TEMPLATES",
    "TYPES",
    "Draw",
    "Story",
    "Template",
    "choose_templates",
    "facts",
    "generate",
    "template",
]
