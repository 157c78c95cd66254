"""Facts that no answer needs, a few for each theme; ``#`` is replaced by a number.

None is about a person or about anything that templates count, so they fit between any two
sentences.
"""

from __future__ import annotations

ASIDES: dict[str, tuple[str, ...]] = {
    "animals": (
        "The gate opens # minutes before noon.",
        "The place is # years old.",
        "There are # benches near the entrance.",
        "Yesterday there were # visitors.",
    ),
    "baking": (
        "The oven is # years old.",
        "The kitchen has # drawers.",
        "The radio has played # songs so far.",
        "The oven needs # minutes to get hot.",
    ),
    "factory": (
        "The factory is # years old.",
        "There are # cars in the parking lot.",
        "The lunch room has # tables.",
        "The main gate is # meters wide.",
    ),
    "farm": (
        "The barn is # years old.",
        "The next village is # kilometers away.",
        "It is # degrees outside.",
        "The tractor has run for # years.",
    ),
    "garden": (
        "The garden gate is # years old.",
        "It is # degrees in the shade.",
        "The garden shed has # shelves.",
        "The last rain was # days ago.",
    ),
    "library": (
        "The building has # windows.",
        "The library opened # years ago.",
        "The entrance is # steps from the street.",
        "There are # lamps on the ceiling.",
    ),
    "money": (
        "The bank is # minutes away.",
        "The nearest cash machine is # years old.",
        "The calendar on the wall shows day #.",
        "There are # houses on the street.",
    ),
    "school": (
        "The school has # classrooms.",
        "The break lasts # minutes.",
        "The bell is # years old.",
        "There are # bikes in front of the school.",
    ),
    "shopping": (
        "The store opened # years ago.",
        "There are # people in the line.",
        "The parking lot has # free spots.",
        "The bus to the store takes # minutes.",
    ),
    "sport": (
        "The club is # years old.",
        "There are # people in the stands.",
        "It is # degrees outside.",
        "The locker room has # benches.",
    ),
    "travel": (
        "It is # degrees outside.",
        "The map is # years old.",
        "The weather report lasts # minutes.",
        "The last gas station had # pumps.",
    ),
    "work": (
        "The building has # floors.",
        "There are # plants near the door.",
        "The coffee machine is # years old.",
        "The bus to town comes every # minutes.",
    ),
}
