"""Units that measure the same thing: ``1 hour`` and ``60 minutes``, ``$1`` and ``100 cents``.

Only what word problems mix is listed, in the customary values. A word that names different
quantities (a fluid ounce, an ounce of weight) is listed where it is used more.
"""

from __future__ import annotations

from fractions import Fraction

_QUANTITIES: tuple[dict[str, int], ...] = (
    {"second sec s": 1, "minute min": 60, "hour hr h": 3_600, "day": 86_400, "week": 604_800},
    {"month": 1, "year yr": 12, "decade": 120, "century centurie": 1_200},
    {"cent penny pennie ¢": 1, "nickel": 5, "dime": 10, "quarter": 25, "dollar usd buck $": 100},
    {"inch inche": 1, "foot feet ft": 12, "yard yd": 36, "mile mi": 63_360},
    {"millimeter millimetre mm": 1, "centimeter centimetre cm": 10, "meter metre m": 1_000}
    | {"kilometer kilometre km": 1_000_000},
    {"ounce oz": 1, "pound lb": 16, "ton": 32_000},
    {"milligram mg": 1, "gram g": 1_000, "kilogram kilo kg": 1_000_000, "tonne": 10**9},
    {"teaspoon tsp": 1, "tablespoon tbsp": 3, "cup": 48, "pint": 96, "quart": 192, "gallon": 768},
    {"milliliter millilitre ml": 1, "centiliter cl": 10, "liter litre l": 1_000},
)

Unit = tuple[int, Fraction]
"""Which quantity it measures, and how many of the quantity's smallest listed unit it is."""

_UNITS: dict[str, Unit] = {
    name: (quantity, Fraction(size))
    for quantity, units in enumerate(_QUANTITIES)
    for names, size in units.items()
    for name in names.split()
}


def unit_of(word: str) -> Unit | None:
    """Look up a unit by its name or symbol, singular or plural, in any case."""
    word = word.strip(".,;:*()").lower()
    found = _UNITS.get(word)
    return found if found or not word.endswith("s") else _UNITS.get(word[:-1])
