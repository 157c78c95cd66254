"""People and things: who a story is about, and what is counted in it."""

from __future__ import annotations

from typing import NamedTuple

from mathtune.problems.generate.numbers import Num


class Person(NamedTuple):
    """Someone in a story. ``f"{tom}"`` is the name; the pronouns start a sentence: He, His."""

    name: str
    subject: str
    possessive: str

    def __format__(self, spec: str) -> str:
        return self.name


class Noun(NamedTuple):
    """A countable thing: ``f"{apple}"`` is ``apple``, ``apple(n)`` ``1 apple`` or ``3 apples``."""

    one: str
    many: str

    def __call__(self, count: Num | int) -> str:
        """Return the number and the form that agrees with it."""
        number = f"{count}"
        return f"1 {self.one}" if number == "1" else f"{number} {self.many}"

    def __format__(self, spec: str) -> str:
        return self.one

    def word(self, count: Num | int) -> str:
        """Return only the form that agrees with ``count``."""
        return self.one if f"{count}" == "1" else self.many

    @property
    def a(self) -> str:
        """The noun with its article: ``an apple``."""
        return f"{'an' if self.one[0] in 'aeiou' else 'a'} {self.one}"


def nouns(words: str) -> tuple[Noun, ...]:
    """Read ``"apple, box/boxes"``: a plural is written out where it is not just one with an s."""
    pairs = (word.strip().partition("/") for word in words.split(","))
    return tuple(Noun(one, many or f"{one}s") for one, _, many in pairs)


def _people(names: str, subject: str, possessive: str) -> tuple[Person, ...]:
    return tuple(Person(name, subject, possessive) for name in names.split())


PEOPLE = _people(
    "Tom Omar Ben Luis Ivan Raj Leo Kofi Hugo Finn Diego Amir Noah Paul Kenji Marco Felix Sami "
    "Victor Jonas Theo Rafael Otto Arjun",
    "He",
    "His",
) + _people(
    "Anna Maya Zoe Lin Sofia Nora Priya Ella Ruth Carmen Aisha Greta Hana Ines Julia Kira Lucy "
    "Mina Olga Rosa Tara Vera Wendy Yara",
    "She",
    "Her",
)
"""Everyone a story can be about."""

PEOPLE_BY_NAME = {person.name: person for person in PEOPLE}

HOUR, MINUTE, DAY, WEEK, MONTH = nouns("hour, minute, day, week, month")
KM, METER, KILOGRAM, LITER = nouns("kilometer, meter, kilogram, liter")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

FRUIT = nouns("apple, pear, orange, peach/peaches, mango/mangoes, melon, lemon, banana, plum, kiwi")
VEGETABLES = nouns(
    "carrot, potato/potatoes, tomato/tomatoes, onion, cabbage, pumpkin, cucumber, beet"
)
STATIONERY = nouns("pen, pencil, notebook, ruler, eraser, marker, folder, glue stick, sketchbook")
TOYS = nouns("marble, sticker, toy car, puzzle, kite, doll, yo-yo, toy robot, card game, balloon")
CLOTHES = nouns("shirt, scarf/scarves, cap, sweater, jacket, dress/dresses, belt, hoodie, raincoat")
BAKED = nouns("muffin, cookie, bagel, pie, bread roll, brownie, cupcake, waffle, scone, pretzel")
FLOWERS = nouns(
    "tulip, rose, daisy/daisies, lily/lilies, sunflower, pansy/pansies, orchid, marigold"
)
CONTAINERS = nouns("box/boxes, bag, basket, crate, tray")
