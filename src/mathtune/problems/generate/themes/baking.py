"""In kitchens and bakeries."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import BAKED, CONTAINERS

MIXES = (
    ("flour", "sugar"),
    ("oats", "nuts"),
    ("cocoa", "sugar"),
    ("raisins", "almonds"),
    ("butter", "flour"),
    ("rice", "milk"),
)
SUPPLIES = ("flour", "sugar", "butter", "rice", "oats", "cocoa", "cheese", "dough")


@template("fraction_part", steps=2)
def burnt_batch(d: Draw) -> Story:
    tom, cookie, share = d.person(), d.one_of(BAKED), d.fraction()
    baked = d.multiple(share.bottom, 3, 30)
    burnt = baked.times(share.top, share.bottom)
    good = baked - burnt
    return Story(
        facts=(
            d.pick(
                f"{tom} bakes {cookie(baked)}.",
                f"{cookie(baked)} come out of {tom}'s oven.",
                f"{tom} makes a batch of {cookie(baked)}.",
            ),
            d.pick(
                f"The guests eat {share} of the {cookie.many}.",
                f"{tom} gives {share} of the {cookie.many} to the neighbors.",
                f"Sadly {share} of the {cookie.many} are burnt.",
            ),
        ),
        question=d.pick(
            f"How many {cookie.many} can {tom} still serve?",
            f"How many {cookie.many} are left for {tom}?",
            f"What number of {cookie.many} does {tom} still have?",
        ),
        solution=(
            d.pick(
                f"{share} of the {cookie.many} is {burnt:=}.",
                f"The number that is gone is {burnt:=}.",
            ),
            d.pick(f"{tom} has {good:=} {cookie.word(good)} left.", f"What is left is {good:=}."),
        ),
        answer=good,
    )


@template("unit_convert", steps=3)
def grams_for_batches(d: Draw) -> Story:
    tom, flour = d.person(), d.one_of(SUPPLIES)
    bags, kilos = d.number(2, 9), d.number(1, 6)
    weight = bags * kilos
    grams = weight * 1000
    portion = d.pick(50, 100, 125, 200, 250, 500)
    batches = grams / portion
    return Story(
        facts=(
            d.pick(
                f"{tom} has {bags} bags of {flour} in the kitchen.",
                f"There are {bags} bags of {flour} on {tom}'s shelf.",
            ),
            d.pick(
                f"Each bag weighs {kilos} kg.",
                f"A bag holds {kilos} kg of {flour}.",
            ),
            d.pick(
                f"One batch takes {portion} g of {flour}.",
                f"The recipe needs {portion} g of {flour} a batch.",
            ),
        ),
        question=d.pick(
            f"How many batches can {tom} make?",
            f"How many batches are possible with {tom}'s {flour}?",
            f"What is the number of batches that {tom} can bake?",
        ),
        solution=(
            f"The bags weigh {weight:=} kg.",
            d.pick(f"In grams that is {grams:=} g.", f"That is {grams:=} g."),
            f"It is enough for {batches:=} batches.",
        ),
        answer=batches,
    )


@template("ratio_share", steps=3)
def dough_mix(d: Draw) -> Story:
    tom, (flour, water) = d.person(), d.one_of(MIXES)
    a, b = d.ratio()
    parts = a + b
    grams = d.multiple(parts, 10, 60)
    one = grams / parts
    amount = one * a
    return Story(
        facts=(
            d.pick(
                f"{tom} mixes {flour} and {water} in the ratio {a}:{b}.",
                f"{tom}'s recipe mixes {flour} and {water} in the ratio {a}:{b}.",
            ),
            d.pick(
                f"The mix weighs {grams} grams in all.",
                f"{tom} makes {grams} grams of the mix.",
            ),
        ),
        question=d.pick(
            f"How many grams of {flour} does {tom} use?",
            f"What weight of {flour} does {tom} need, in grams?",
            f"What is the weight of {tom}'s {flour} in grams?",
        ),
        solution=(
            f"There are {parts:=} parts.",
            f"Each part is {one:=} grams.",
            d.pick(
                f"{tom} uses {amount:=} grams of {flour}.", f"That is {amount:=} grams of {flour}."
            ),
        ),
        answer=amount,
    )


@template("profit", steps=3, held_out=True)
def bakery_day(d: Draw) -> Story:
    tom, muffin = d.person(), d.one_of(BAKED)
    n, cost = d.number(10, 80), d.price(1, 4)
    price = cost + d.price(1, 4)
    taken, spent = n * price, n * cost
    gain = taken - spent
    return Story(
        facts=(
            d.pick(
                f"{tom}'s bakery makes and sells {muffin(n)} in one day.",
                f"One morning {tom} bakes {muffin(n)} and sells them all.",
            ),
            d.pick(
                f"Each {muffin} costs {cost:$} to make.",
                f"{tom} spends {cost:$} on each {muffin}.",
            ),
            d.pick(
                f"Each {muffin} sells for {price:$}.",
                f"Customers pay {price:$} for {muffin.a}.",
            ),
        ),
        question=d.pick(
            f"How much profit does {tom} make on the {muffin.many}?",
            f"How many dollars does {tom} gain with the {muffin.many}?",
            f"What is the profit of {tom}'s bakery?",
        ),
        solution=(
            f"The {muffin.many} bring in {taken:=$}.",
            f"Making them costs {spent:=$}.",
            f"The profit is {gain:=$}.",
        ),
        answer=gain,
    )


@template("share_equally", steps=2)
def trays_into_boxes(d: Draw) -> Story:
    tom, roll, box = d.person(), d.one_of(BAKED), d.one_of(CONTAINERS[:3])
    boxes, each = d.number(2, 12), d.number(3, 16)
    kept = d.number(1, 20)
    baked = kept + boxes * each
    left = baked - kept
    share = left / boxes
    return Story(
        facts=(
            d.pick(
                f"{tom} takes {roll(baked)} from the oven.",
                f"{tom} has baked {roll(baked)}.",
            ),
            d.pick(
                f"{tom} keeps {kept} for the family.",
                f"{tom} puts {kept} aside for tomorrow.",
            ),
            d.pick(
                f"The rest go into {box(boxes)}, the same number in each.",
                f"The others are spread evenly over {box(boxes)}.",
            ),
        ),
        question=d.pick(
            f"How many {roll.many} are in each {box}?",
            f"How many {roll.many} does {tom} put in one {box}?",
            f"What is the number of {roll.many} in a single {box}?",
        ),
        solution=(
            d.pick(
                f"There are {left:=} {roll.many} to pack.", f"{tom} packs {left:=} {roll.many}."
            ),
            f"Each {box} gets {share:=} {roll.many}.",
        ),
        answer=share,
    )


@template("work_backward", steps=2)
def cookie_jar(d: Draw) -> Story:
    tom, cookie = d.person(), d.one_of(BAKED)
    left, ate, k = d.number(2, 40), d.number(1, 15), d.pick(2, 2, 3, 4)
    after = left + ate
    start = after * k
    share = {2: "half", 3: "1/3", 4: "1/4"}[k]
    return Story(
        facts=(
            d.pick(
                f"{tom} fills a jar with {cookie.many}.",
                f"There is a jar of {cookie.many} in {tom}'s kitchen.",
            ),
            d.pick(
                f"The guests leave only {share} of the {cookie.many} in the jar.",
                f"After a party only {share} of the {cookie.many} are left.",
            ),
            d.pick(
                f"Then {tom} eats {ate} more and {left} remain.",
                f"{tom} takes out {ate} more, and now {left} are in the jar.",
            ),
        ),
        question=d.pick(
            f"How many {cookie.many} were in {tom}'s jar at first?",
            f"How many {cookie.many} did {tom} start with?",
            f"What number of {cookie.many} did {tom} put in the jar?",
        ),
        solution=(
            d.pick(
                f"Before that {after:=} {cookie.many} were in the jar.",
                f"After the guests there were {after:=} {cookie.many}.",
            ),
            f"At first there were {start:=} {cookie.many}.",
        ),
        answer=start,
    )


TEMPLATES = (
    burnt_batch,
    grams_for_batches,
    dough_mix,
    bakery_day,
    trays_into_boxes,
    cookie_jar,
)
