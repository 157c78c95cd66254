"""Beds, seeds and harvests."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import DAY, FLOWERS, METER, VEGETABLES, nouns

TREES = nouns("oak, birch/birches, maple, fir, cherry tree, willow, palm")


@template("rectangle", steps=1)
def area_of_a_lawn(d: Draw) -> Story:
    tom, width = d.person(), d.number(3, 40)
    length = width + d.number(1, 20)
    area = length * width
    return Story(
        facts=(
            d.pick(
                f"{tom} has a rectangular lawn.",
                f"Behind {tom}'s house is a rectangular lawn.",
                f"{tom} mows a lawn in the shape of a rectangle.",
            ),
            d.pick(
                f"The lawn is {METER(length)} long and {METER(width)} wide.",
                f"The lawn measures {METER(length)} by {METER(width)}.",
            ),
        ),
        question=d.pick(
            f"How many square meters does {tom}'s lawn have?",
            f"What is the area of {tom}'s lawn in square meters?",
            f"How large is {tom}'s lawn, in square meters?",
        ),
        solution=(
            d.pick(f"The lawn has {area:=} square meters.", f"The area is {area:=} square meters."),
        ),
        answer=area,
        aside=f"{tom} bought the lawn mower {d.number(2, 9)} years ago.",
    )


@template("equal_groups", steps=2)
def seeds_that_sprout(d: Draw) -> Story:
    tom, rose = d.person(), d.one_of(FLOWERS)
    pots, each = d.number(3, 30), d.number(3, 20)
    seeds = pots * each
    lost = d.number(1, int(seeds) // 2)
    sprouts = seeds - lost
    return Story(
        facts=(
            d.pick(
                f"{tom} fills {pots} pots with soil.",
                f"On {tom}'s balcony stand {pots} pots.",
                f"{tom} has {pots} pots for flowers.",
            ),
            d.pick(
                f"Each pot gets {each} {rose} seeds.",
                f"{tom} plants {each} {rose} seeds in every pot.",
            ),
            d.pick(
                f"In the end {lost} of the seeds do not sprout.",
                f"Birds eat {lost} of the seeds and all others sprout.",
            ),
        ),
        question=d.pick(
            f"How many {rose} seeds sprout?",
            f"How many of {tom}'s seeds sprout?",
            f"What is the number of seeds that sprout in {tom}'s pots?",
        ),
        solution=(
            d.pick(f"{tom} plants {seeds:=} seeds.", f"The pots hold {seeds:=} seeds."),
            d.pick(f"Of these {sprouts:=} sprout.", f"The number that sprout is {sprouts:=}."),
        ),
        answer=sprouts,
    )


@template("ratio_share", steps=3)
def two_colors_of_flowers(d: Draw) -> Story:
    tom, flower = d.person(), d.one_of(FLOWERS)
    red, white = d.pick(("red", "white"), ("yellow", "pink"), ("orange", "purple"))
    a, b = d.ratio()
    parts = a + b
    plants = d.multiple(parts, 3, 25)
    one = plants / parts
    reds = one * a
    return Story(
        facts=(
            d.pick(
                f"{tom} plants {flower(plants)}, and each one is {red} or {white}.",
                f"A bed in {tom}'s garden has {plants} {red} and {white} {flower.many}.",
            ),
            d.pick(
                f"The ratio of {red} to {white} {flower.many} is {a}:{b}.",
                f"The {red} and the {white} {flower.many} are in the ratio {a}:{b}.",
            ),
        ),
        question=d.pick(
            f"How many {red} {flower.many} does {tom} have?",
            f"How many of {tom}'s {flower.many} are {red}?",
            f"What is the number of {red} {flower.many} in {tom}'s garden?",
        ),
        solution=(
            d.pick(f"There are {parts:=} parts.", f"The ratio has {parts:=} parts."),
            f"One part is {one:=} {flower.many}.",
            f"There are {reds:=} {red} {flower.many}.",
        ),
        answer=reds,
    )


@template("fraction_part", steps=4, held_out=True)
def harvest_in_two_steps(d: Draw) -> Story:
    tom, onion, share = d.person(), d.one_of(VEGETABLES), d.fraction()
    rest = d.number(2, 20)
    k = d.number(2, 4)
    picked = rest * k * share.bottom  # so that k divides what the first fraction leaves
    sold = picked.times(share.top, share.bottom)
    left = picked - sold
    given = left / k
    kept = left - given
    return Story(
        facts=(
            d.pick(
                f"{tom} harvests {onion(picked)}.",
                f"In {tom}'s garden {onion(picked)} are ripe and get picked.",
            ),
            d.pick(
                f"At a market {share} of the {onion.many} are sold.",
                f"{tom} sells {share} of the {onion.many}.",
            ),
            d.pick(
                f"A friend gets 1/{k} of what is left.",
                f"{tom} gives 1/{k} of the remaining {onion.many} to a friend.",
            ),
        ),
        question=d.pick(
            f"How many {onion.many} does {tom} keep?",
            f"How many {onion.many} are left for {tom}?",
            f"What number of {onion.many} stays with {tom}?",
        ),
        solution=(
            f"{tom} sells {sold:=} {onion.word(sold)}.",
            f"Then {left:=} {onion.many} are left.",
            f"The friend gets {given:=} {onion.word(given)}.",
            f"{tom} keeps {kept:=} {onion.word(kept)}.",
        ),
        answer=kept,
    )


@template("compare_total", steps=3, held_out=True)
def three_gardeners(d: Draw) -> Story:
    (tom, ann), tree = d.two_people(), d.one_of(TREES)
    n, k, fewer = d.number(4, 30), d.number(2, 5), d.number(1, 3)
    twice = n * k
    other = twice - fewer
    both = n + other
    return Story(
        facts=(
            d.pick(
                f"{tom} plants {tree(n)} in a park.",
                f"A city asks {tom} to plant {tree(n)}.",
            ),
            d.pick(
                f"{ann} plants {fewer} less than {k} times as many as {tom}.",
                f"{ann} plants {k} times as many {tree.many} as {tom}, less {fewer}.",
            ),
        ),
        question=d.pick(
            f"How many {tree.many} do {tom} and {ann} plant together?",
            f"How many {tree.many} do {ann} and {tom} plant in all?",
            f"What is the total of {tree.many} that {tom} and {ann} plant?",
        ),
        solution=(
            f"{k} times as many is {twice:=}.",
            f"{ann} plants {other:=} {tree.many}.",
            f"Together they plant {both:=}.",
        ),
        answer=both,
    )


@template("unit_convert", steps=3)
def watering_cans(d: Draw) -> Story:
    tom, rose = d.person(), d.one_of(FLOWERS)
    plants, each, days = d.number(2, 16), d.pick(50, 100, 150, 200, 250, 400, 500), d.number(2, 14)
    daily = plants * each
    water = daily * days
    liters = water / 1000
    return Story(
        facts=(
            d.pick(
                f"{tom} waters {rose(plants)} every day.",
                f"There are {rose(plants)} in {tom}'s garden that need water every day.",
            ),
            d.pick(
                f"Each {rose} gets {each} ml of water.",
                f"One {rose} takes {each} ml a day.",
            ),
        ),
        question=d.pick(
            f"How many liters of water does {tom} use in {DAY(days)}?",
            f"How much water in liters does {tom} need for {DAY(days)}?",
            f"What amount of water, in liters, is that for {tom} in {DAY(days)}?",
        ),
        solution=(
            f"{tom} uses {daily:=} ml a day.",
            f"In {days} days that is {water:=} ml.",
            f"It is {liters:=} liters.",
        ),
        answer=liters,
    )


TEMPLATES = (
    area_of_a_lawn,
    seeds_that_sprout,
    two_colors_of_flowers,
    harvest_in_two_steps,
    three_gardeners,
    watering_cans,
)
