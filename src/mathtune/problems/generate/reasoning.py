"""The types of reasoning that templates ask for. A type has templates in several themes.

The two groups never overlap: the tiny base model is trained on solved problems of ``BASE_TYPES``
and only reads questions of ``NEW_TYPES``, so that tuning on the new types has something to teach.
"""

from __future__ import annotations

BASE_TYPES: dict[str, str] = {
    "total_cost": "several purchases, one sum",
    "leftover": "a start, gains and losses, what is left",
    "equal_groups": "groups of the same size, counted in all",
    "share_equally": "a total made or reduced, then split evenly",
    "rate_time": "a rate per hour, for a number of hours",
    "fraction_part": "a fraction of a whole is taken",
    "compare_total": "one has more, fewer or times as many as another; together",
    "profit": "takings minus costs",
}
"""Types that the tiny base model has seen solved, each with what it asks for."""

NEW_TYPES: dict[str, str] = {
    "percent_change": "a percentage off or on top",
    "change_back": "money paid minus a bill",
    "unit_convert": "hours to minutes, kilograms to grams, dozens, then a calculation",
    "average": "the mean of several values, or the value a mean needs",
    "work_backward": "the end is known, the start is asked",
    "ratio_share": "a total split in a ratio",
    "saving_goal": "a goal, a start and a rate; how long",
    "rectangle": "sides, perimeter and area",
}
"""Types that are left to teach, each with what it asks for."""

TYPES: dict[str, str] = {**BASE_TYPES, **NEW_TYPES}
"""Every type."""

GROUPS = {"base": BASE_TYPES, "new": NEW_TYPES}
"""Names that stand for all types of a group."""
