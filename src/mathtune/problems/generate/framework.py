"""What a template is made of: ``Draw`` hands out numbers and words, ``Story`` is what comes back.

``Template.write`` puts the story's sentences in order. That is where question positions,
distractor facts and the GSM8K answer format come from, so that no template has to care.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, TypeVar

from mathtune.errors import DataError, did_you_mean
from mathtune.problems.generate.asides import ASIDES
from mathtune.problems.generate.numbers import Num
from mathtune.problems.generate.reasoning import TYPES
from mathtune.problems.generate.words import PEOPLE, PEOPLE_BY_NAME, Person
from mathtune.records import Problem, content_id

T = TypeVar("T")

QUESTION_FIRST = 0.12  # share of problems with the question before the facts
QUESTION_IF = 0.2  # share that may fold the last fact into the question: "If ..., how many ...?"
DISTRACTED = 0.2  # share with one fact that the answer does not need
PRONOUNS = 0.8  # share that says "he" or "she" where the name was just used

# First words that may follow "If" in lower case. Names may follow it as they are.
_LOWERED = frozenset(
    ("The", "Each", "Every", "One", "He", "She", "It", "They", "A", "An", "Both", "His", "Her")
)


class Fractional(NamedTuple):
    """A proper fraction as it is read aloud in a story: ``f"{share}"`` is ``3/4``."""

    top: int
    bottom: int

    def __format__(self, spec: str) -> str:
        return f"{self.top}/{self.bottom}"


_FRACTIONS = tuple(
    Fractional(*pair)
    for pair in ((1, 2), (1, 3), (1, 4), (1, 5), (2, 3), (3, 4), (2, 5), (3, 5), (1, 6), (1, 10))
)
_RATIOS = tuple(
    (a, b) for a in range(1, 10) for b in range(1, 10) if a != b and math.gcd(a, b) == 1
)


class Draw:
    """Random choices for one stream of problems.

    Built on ``random.Random.random`` alone: it is the one method whose sequence Python promises to
    keep for a seed in every version.
    """

    __slots__ = ("_random",)

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def unit(self) -> float:
        """A number from 0 up to, not including, 1."""
        return self._random()

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return self._random() < probability

    def pick(self, *choices: T) -> T:
        """One of the choices."""
        return choices[int(self._random() * len(choices))]

    def one_of(self, pool: Sequence[T]) -> T:
        """One member of a pool of words."""
        return pool[int(self._random() * len(pool))]

    def two_of(self, pool: Sequence[T]) -> tuple[T, T]:
        """Two different members of a pool of words."""
        first = int(self._random() * len(pool))
        second = int(self._random() * (len(pool) - 1))
        return pool[first], pool[second + (second >= first)]

    def number(self, low: int, high: int, step: int = 1) -> Num:
        """A whole number ``low, low + step, ...`` up to ``high``, both ends included."""
        return Num(low + step * int(self._random() * ((high - low) // step + 1)))

    def multiple(self, of: Num | int, low: int, high: int) -> Num:
        """A number that ``of`` divides: ``of`` times a whole number from ``low`` to ``high``."""
        return Num(int(of) * (low + int(self._random() * (high - low + 1))))

    def price(self, low: int, high: int) -> Num:
        """An amount of money from ``low`` to ``high`` dollars, in two of five cases with cents."""
        if self._random() < 0.6:
            return self.number(low, high)
        coin = self.pick(4, 4, 10, 20)  # quarters, dimes, nickels
        return Num(Fraction(low * coin + int(self._random() * ((high - low) * coin + 1)), coin))

    def values(self, count: int, mean: Num, spread: int) -> tuple[Num, ...]:
        """``count`` numbers with this mean, all but the last at most ``spread`` away from it."""
        offsets = [int(self._random() * (2 * spread + 1)) - spread for _ in range(count - 1)]
        return tuple(Num(int(mean) + offset) for offset in (*offsets, -sum(offsets)))

    def ratio(self) -> tuple[Num, Num]:
        """Two different numbers below 10 without a common factor."""
        first, second = self.one_of(_RATIOS)
        return Num(first), Num(second)

    def fraction(self) -> Fractional:
        """A common proper fraction."""
        return self.one_of(_FRACTIONS)

    def person(self) -> Person:
        """Someone."""
        return self.one_of(PEOPLE)

    def two_people(self) -> tuple[Person, Person]:
        """Two people with different names."""
        return self.two_of(PEOPLE)


class Story(NamedTuple):
    """A template's story.

    Attributes:
        facts: The sentences before the question, in order. Each names its own subject (``Each
            box``, not ``Each``), because a distractor may come between two. Write names; where a
            name was just used the framework may turn it into a pronoun.
        question: One sentence that starts with ``How`` or ``What`` and reads well before the facts
            too: it uses names, not pronouns.
        solution: One sentence per step, each with one calculation.
        answer: What the last step computes.
        aside: A distractor that suits the story; one of its theme's ``ASIDES`` is used where it is
            empty.
    """

    facts: tuple[str, ...]
    question: str
    solution: tuple[str, ...]
    answer: Num
    aside: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """One family of texts.

    Attributes:
        name: The function's name, unique over all themes.
        theme: The module that defines it.
        type: Kind of reasoning, a key of ``TYPES``.
        steps: Calculations in its solution, 1 to 5.
        held_out: Left out of training data, so that generalisation to new texts can be measured.
        tell: Draws one story.
    """

    name: str
    theme: str
    type: str
    steps: int
    held_out: bool
    tell: Callable[[Draw], Story]

    def write(self, draw: Draw) -> Problem:
        """Draw one story and write it as a problem."""
        story = self.tell(draw)
        facts = _with_pronouns(story.facts) if draw.chance(PRONOUNS) else list(story.facts)
        question = story.question
        position = draw.unit()
        if position < QUESTION_FIRST:
            parts = [question, *facts]
        else:
            if position < QUESTION_FIRST + QUESTION_IF:
                condition = _as_condition(facts[-1])
                if condition:
                    question = f"If {condition}, {question[0].lower()}{question[1:]}"
                    facts.pop()
            parts = [*facts, question]
        if draw.chance(DISTRACTED):
            # Between two sentences: a story opens with its own subject and ends with its own fact.
            place = draw.one_of(range(1, len(parts))) if len(parts) > 1 else 0
            parts.insert(place, story.aside or self._aside(draw))
        text = " ".join(parts)
        gold = story.answer.text
        answer = "\n".join((*story.solution, f"#### {gold}"))
        return Problem(
            content_id(text, answer), text, answer, gold, "generated", self.type, self.steps
        )

    def _aside(self, draw: Draw) -> str:
        return draw.one_of(ASIDES[self.theme]).replace("#", str(draw.number(3, 30)))


def template(
    type: str, *, steps: int, held_out: bool = False
) -> Callable[[Callable[[Draw], Story]], Template]:
    """Make a ``Template`` of the function below it; its theme is the module that defines it.

    Raises:
        DataError: The type is not one of ``TYPES``.
    """
    if type not in TYPES:
        raise DataError(f"No problem type {type!r}{did_you_mean(type, TYPES)}; add it to TYPES.")

    def make(tell: Callable[[Draw], Story]) -> Template:
        theme = tell.__module__.rpartition(".")[2]
        return Template(tell.__name__, theme, type, steps, held_out, tell)

    return make


def _as_condition(fact: str) -> str:
    """``"He eats 3."`` as ``"he eats 3"``; empty where the sentence cannot follow "If"."""
    first, _, rest = fact.partition(" ")
    if ". " in rest:
        return ""
    if first in _LOWERED:
        return f"{first.lower()} {rest[:-1]}"
    return fact[:-1] if first.removesuffix("'s") in PEOPLE_BY_NAME else ""


def _with_pronouns(facts: Sequence[str]) -> list[str]:
    """``["Tom has 3.", "Tom eats 1."]`` as ``["Tom has 3.", "He eats 1."]``.

    A name becomes a pronoun only right after a sentence that starts with the same name, so that
    nobody else can be meant.
    """
    written, before = [], ""
    for fact in facts:
        first, _, rest = fact.partition(" ")
        name = first.removesuffix("'s")
        if name == before:
            person = PEOPLE_BY_NAME[name]
            fact = f"{person.subject if first == name else person.possessive} {rest}"
        before = name if name in PEOPLE_BY_NAME else ""
        written.append(fact)
    return written
