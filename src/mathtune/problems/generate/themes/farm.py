"""On a farm."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import DAY, FRUIT, METER, VEGETABLES, WEEK, nouns

HERDS = nouns("cow, goat, sheep/sheep, pig, donkey, alpaca")
LIVESTOCK = nouns("cow, goat, sheep/sheep, duck, hen, pig, goose/geese, rabbit")


@template("equal_groups", steps=1)
def rows_in_a_field(d: Draw) -> Story:
    tom, carrot = d.person(), d.one_of(VEGETABLES)
    rows, each = d.number(3, 40), d.number(4, 60)
    plants = rows * each
    return Story(
        facts=(
            d.pick(
                f"A field on {tom}'s farm has {rows} rows of {carrot.many}.",
                f"{tom} plants {carrot.many} in {rows} rows.",
                f"There are {rows} rows of {carrot.many} behind {tom}'s barn.",
            ),
            d.pick(
                f"Each row has {carrot(each)}.",
                f"Every row holds {carrot(each)}.",
                f"In every row {tom} counts {carrot(each)}.",
            ),
        ),
        question=d.pick(
            f"How many {carrot.many} are in all the rows?",
            f"How many {carrot.many} does {tom} grow?",
            f"What is the number of {carrot.many} on {tom}'s field?",
        ),
        solution=(
            d.pick(
                f"There are {plants:=} {carrot.many}.", f"The rows have {plants:=} {carrot.many}."
            ),
        ),
        answer=plants,
        aside=f"The field is {d.number(20, 90)} meters wide.",
    )


@template("leftover", steps=2)
def herd_changes(d: Draw) -> Story:
    tom, goat = d.person(), d.one_of(HERDS)
    start, born = d.number(12, 120), d.number(2, 25)
    grown = start + born
    sold = d.number(2, int(start) - 2)
    left = grown - sold
    return Story(
        facts=(
            d.pick(
                f"{tom} keeps {goat(start)} on a farm.",
                f"{tom}'s farm starts the year with {goat(start)}.",
            ),
            d.pick(
                f"In spring {born} young {goat.many} are born.",
                f"The herd grows by {born} in spring.",
            ),
            d.pick(
                f"{tom} sells {sold} of the {goat.many} in fall.",
                f"At the fall market {tom} sells {goat(sold)}.",
            ),
        ),
        question=d.pick(
            f"How many {goat.many} does {tom} have at the end?",
            f"How many {goat.many} are left on {tom}'s farm?",
            f"How many {goat.many} does {tom} still own after the fall?",
        ),
        solution=(
            d.pick(
                f"After the spring there are {grown:=} {goat.many}.",
                f"First the herd grows to {grown:=} {goat.many}.",
            ),
            f"After the sale {left:=} {goat.many} are left.",
        ),
        answer=left,
    )


@template("profit", steps=5)
def roadside_stand(d: Draw) -> Story:
    tom, (apple, pear) = d.person(), d.two_of(FRUIT)
    n, m = d.number(5, 30), d.number(5, 30)
    p, q = d.number(2, 9), d.number(2, 9)
    first, second = n * p, m * q
    taken = first + second
    days = d.number(2, 5)
    rent = d.number(1, (int(taken) - 1) // int(days))
    fees = days * rent
    gain = taken - fees
    return Story(
        facts=(
            d.pick(
                f"{tom} rents a roadside stand for {days} days at {rent:$} a day.",
                f"A roadside stand costs {tom} {rent:$} a day for {days} days.",
            ),
            d.pick(
                f"{tom} sells {n} bags of {apple.many} and {m} bags of {pear.many}.",
                f"There {tom} sells {n} bags of {apple.many} and {m} bags of {pear.many}.",
            ),
            d.pick(
                f"A bag of {apple.many} brings {p:$} and a bag of {pear.many} brings {q:$}.",
                f"The {apple.many} are {p:$} a bag and the {pear.many} are {q:$} a bag.",
            ),
        ),
        question=d.pick(
            f"How much money does {tom} make after paying the rent?",
            f"What is {tom}'s profit?",
            f"How many dollars does {tom} earn once the stand is paid for?",
        ),
        solution=(
            f"The {apple.many} bring {first:=$}.",
            f"The {pear.many} bring {second:=$}.",
            f"Together that is {taken:=$}.",
            f"The rent is {fees:=$}.",
            d.pick(f"The profit is {gain:=$}.", f"{tom} keeps {gain:=$}."),
        ),
        answer=gain,
    )


@template("ratio_share", steps=3)
def hens_and_ducks(d: Draw) -> Story:
    tom, (hen, duck) = d.person(), d.two_of(LIVESTOCK)
    a, b = d.ratio()
    parts = a + b
    count = d.multiple(parts, 2, 20)
    one = count / parts
    ducks = one * b
    return Story(
        facts=(
            d.pick(
                f"{tom} keeps {hen.many} and {duck.many}, {count} animals in all.",
                f"There are {count} animals on {tom}'s farm, only {hen.many} and {duck.many}.",
            ),
            d.pick(
                f"The ratio of {hen.many} to {duck.many} is {a}:{b}.",
                f"For every {hen(a)} there are {duck(b)}.",
            ),
        ),
        question=d.pick(
            f"How many {duck.many} does {tom} have?",
            f"How many of {tom}'s animals are {duck.many}?",
            f"What is the number of {duck.many} on {tom}'s farm?",
        ),
        solution=(
            f"There are {parts:=} parts.",
            f"One part is {one:=} animals.",
            d.pick(f"{tom} has {ducks:=} {duck.many}.", f"That makes {ducks:=} {duck.many}."),
        ),
        answer=ducks,
    )


@template("work_backward", steps=2)
def hay_bales_before(d: Draw) -> Story:
    tom = d.person()
    left, eaten = d.number(5, 90), d.number(20, 150)
    before = left + eaten
    bought = d.number(3, min(60, int(before) - 2))
    start = before - bought
    return Story(
        facts=(
            d.pick(
                f"{tom} has some bales of hay in the barn and buys {bought} more.",
                f"To the hay in the barn {tom} adds {bought} new bales.",
            ),
            d.pick(
                f"Over the winter the animals eat {eaten} bales.",
                f"The cows eat {eaten} bales during the winter.",
            ),
            d.pick(
                f"In March {left} bales are left.", f"{tom} counts {left} bales when spring comes."
            ),
        ),
        question=d.pick(
            f"How many bales did {tom} have at first?",
            f"How many bales were in {tom}'s barn before the purchase?",
            f"What number of bales did {tom} start with?",
        ),
        solution=(
            f"Before the winter there were {before:=} bales.",
            d.pick(f"{tom} started with {start:=} bales.", f"At first there were {start:=}."),
        ),
        answer=start,
    )


@template("rectangle", steps=3)
def pasture_fence(d: Draw) -> Story:
    tom, price = d.person(), d.price(2, 20)
    width = d.number(8, 60)
    length = width + d.number(2, 40)
    half = length + width
    around = half * 2
    cost = around * price
    return Story(
        facts=(
            d.pick(
                f"{tom} fences a rectangular pasture.",
                f"A rectangular pasture on {tom}'s farm needs a fence.",
            ),
            d.pick(
                f"The pasture is {METER(length)} long and {METER(width)} wide.",
                f"The sides of the pasture measure {length} and {METER(width)}.",
            ),
            d.pick(f"Each meter of fence costs {price:$}.", f"The fence is {price:$} a meter."),
        ),
        question=d.pick(
            f"How much does {tom} pay for the fence?",
            f"What does the fence around {tom}'s pasture cost?",
            f"How many dollars does {tom} need for the fence?",
        ),
        solution=(
            d.pick(f"Two sides are {half:=} meters.", f"Length plus width is {half:=} meters."),
            f"The fence is {around:=} meters long.",
            d.pick(f"The fence costs {cost:=$}.", f"{tom} pays {cost:=$}."),
        ),
        answer=cost,
    )


@template("share_equally", steps=2)
def feed_for_days(d: Draw) -> Story:
    tom, goat = d.person(), d.one_of(LIVESTOCK)
    animals, each = d.number(3, 20), d.number(2, 9)
    daily = animals * each
    stock = daily * d.number(2, 20)
    lasts = stock / daily
    unit = d.pick(DAY, WEEK)
    return Story(
        facts=(
            d.pick(
                f"{tom} feeds {goat(animals)}.",
                f"There are {goat(animals)} in {tom}'s barn.",
            ),
            d.pick(
                f"Each {goat} eats {each} kilograms of feed a {unit}.",
                f"Every {unit} each {goat} needs {each} kilograms of feed.",
            ),
            d.pick(
                f"The barn holds {stock} kilograms of feed.",
                f"{tom} has {stock} kilograms of feed in store.",
            ),
        ),
        question=d.pick(
            f"How many {unit.many} will {tom}'s feed last?",
            f"For how many {unit.many} does {tom} have enough feed?",
            f"How many {unit.many} can {tom} feed all the {goat.many}?",
        ),
        solution=(
            f"The {goat.many} eat {daily:=} kilograms a {unit}.",
            d.pick(
                f"The feed lasts {lasts:=} {unit.many}.",
                f"That is enough for {lasts:=} {unit.many}.",
            ),
        ),
        answer=lasts,
    )


TEMPLATES = (
    rows_in_a_field,
    herd_changes,
    roadside_stand,
    hens_and_ducks,
    hay_bales_before,
    pasture_fence,
    feed_for_days,
)
