"""Pets, vets and zoos."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import DAY, KILOGRAM, WEEK, nouns

PETS = nouns("cat, dog, hamster, parrot, guinea pig, turtle, ferret")
ZOO = nouns("monkey, penguin, seal, flamingo, zebra, camel, meerkat, wolf/wolves, otter")
FISH_EATERS = nouns("seal, penguin, otter, pelican, sea lion, heron, dolphin, polar bear")
SUPPLIES = nouns("leash/leashes, toy mouse/toy mice, brush/brushes, bowl, blanket, collar")


@template("unit_convert", steps=3)
def dozens_of_fish(d: Draw) -> Story:
    seal = d.one_of(FISH_EATERS)
    dozens, each = d.number(2, 12), d.pick(2, 3, 4, 6)
    fish = dozens * 12
    fed = fish / each
    more = d.number(2, 15)
    animals = fed + more
    return Story(
        facts=(
            d.pick(
                f"A zoo keeper carries {dozens} dozen fish to the {seal.many}.",
                f"A bucket for the {seal.many} holds {dozens} dozen fish.",
            ),
            d.pick(
                f"Each {seal} that eats takes {each} fish until none are left.",
                f"Every {seal} at the meal gets {each} fish, and all the fish are eaten.",
            ),
            d.pick(
                f"Another {seal(more)} sleep and get no fish.",
                f"The {more} other {seal.many} of the zoo are not hungry.",
            ),
        ),
        question=d.pick(
            f"How many {seal.many} live in the zoo?",
            f"How many {seal.many} does the zoo have in all?",
            f"What is the number of {seal.many} in the zoo?",
        ),
        solution=(
            f"There are {fish:=} fish.",
            f"They feed {fed:=} {seal.many}.",
            d.pick(f"In all there are {animals:=} {seal.many}.", f"The zoo has {animals:=}."),
        ),
        answer=animals,
    )


@template("compare_total", steps=2)
def pets_of_two_keepers(d: Draw) -> Story:
    (tom, ann), pet = d.two_people(), d.one_of(PETS)
    n = d.number(6, 60)
    less = d.number(1, int(n) - 2)
    other = n - less
    both = n + other
    return Story(
        facts=(
            d.pick(
                f"{tom} takes care of {pet(n)} at an animal shelter.",
                f"In one wing of a shelter {tom} feeds {pet(n)}.",
            ),
            d.pick(
                f"{ann} takes care of {less} fewer {pet.many} than {tom}.",
                f"{ann} has {less} fewer of them to feed than {tom}.",
            ),
        ),
        question=d.pick(
            f"How many {pet.many} do {tom} and {ann} take care of together?",
            f"How many {pet.many} do {ann} and {tom} feed in all?",
            f"What is the total number of {pet.many} of {tom} and {ann}?",
        ),
        solution=(
            f"{ann} has {other:=} {pet.many}.",
            d.pick(f"Together that is {both:=} {pet.many}.", f"In all there are {both:=}."),
        ),
        answer=both,
    )


@template("ratio_share", steps=3, held_out=True)
def zoo_of_two_species(d: Draw) -> Story:
    seal, wolf = d.two_of(ZOO)
    a, b = d.ratio()
    parts = a + b
    animals = d.multiple(parts, 2, 15)
    size = animals / parts
    wolves = size * b
    return Story(
        facts=(
            d.pick(
                f"A zoo has {seal(a)} for every {wolf(b)}.",
                f"In a zoo the ratio of {seal.many} to {wolf.many} is {a}:{b}.",
            ),
            d.pick(
                f"Together there are {animals} of these animals.",
                f"The {seal.many} and {wolf.many} are {animals} animals in all.",
            ),
        ),
        question=d.pick(
            f"How many {wolf.many} are in the zoo?",
            f"How many {wolf.many} does the zoo have?",
            f"What is the number of {wolf.many}?",
        ),
        solution=(
            f"The ratio has {parts:=} parts.",
            f"Each part is {size:=} animals.",
            f"The zoo has {wolves:=} {wolf.many}.",
        ),
        answer=wolves,
    )


@template("total_cost", steps=4)
def shopping_for_a_pet(d: Draw) -> Story:
    tom, pet, leash = d.person(), d.one_of(PETS), d.one_of(SUPPLIES)
    n, p, bags, q = d.number(2, 6), d.price(2, 15), d.number(2, 9), d.price(5, 40)
    vet = d.number(20, 120)
    things, food = n * p, bags * q
    goods = things + food
    bill = goods + vet
    return Story(
        facts=(
            d.pick(
                f"{tom} gets a new {pet} and buys {leash(n)} for {p:$} each.",
                f"For a {pet} {tom} buys {leash(n)} at {p:$} each.",
            ),
            d.pick(
                f"{tom} also takes {bags} bags of food at {q:$} a bag.",
                f"The {pet} needs {bags} bags of food for {q:$} each.",
            ),
            d.pick(
                f"The vet charges {vet:$} for a check.",
                f"A visit to the vet costs {tom} {vet:$}.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} spend on the {pet}?",
            f"What does the {pet} cost {tom} in all?",
            f"How many dollars does {tom} pay altogether?",
        ),
        solution=(
            f"The {leash.many} cost {things:=$}.",
            f"The food costs {food:=$}.",
            f"Together that is {goods:=$}.",
            f"With the vet it is {bill:=$}.",
        ),
        answer=bill,
    )


@template("leftover", steps=3, held_out=True)
def shelter_in_a_week(d: Draw) -> Story:
    pet = d.one_of(PETS)
    start, came, homes, back = d.number(20, 60), d.number(2, 20), d.number(3, 12), d.number(2, 8)
    more = start + came
    fewer = more - homes
    now = fewer - back
    return Story(
        facts=(
            d.pick(
                f"An animal shelter houses {pet(start)}.",
                f"On Monday an animal shelter counts {pet(start)}.",
            ),
            d.pick(
                f"During the week {came} new {pet.many} arrive.",
                f"People bring {came} more {pet.many}.",
            ),
            d.pick(
                f"Families adopt {homes} {pet.many}, and {back} go back to their old owners.",
                f"New owners take {homes} {pet.many} home, and {back} move to another shelter.",
            ),
        ),
        question=d.pick(
            f"How many {pet.many} does the shelter have now?",
            f"How many {pet.many} are in the shelter after the week?",
            f"What is the number of {pet.many} in the shelter in the end?",
        ),
        solution=(
            f"With the new ones there are {more:=} {pet.many}.",
            f"After the adoptions there are {fewer:=}.",
            f"In the end there are {now:=}.",
        ),
        answer=now,
    )


@template("equal_groups", steps=2)
def food_for_the_cages(d: Draw) -> Story:
    tom, monkey = d.person(), d.one_of(ZOO)
    cages, each, food = d.number(2, 14), d.number(2, 9), d.number(2, 12)
    animals = cages * each
    kilos = animals * food
    unit = d.pick(DAY, WEEK)
    return Story(
        facts=(
            d.pick(
                f"A zoo has {cages} enclosures with {each} {monkey.many} in each.",
                f"In each of {cages} enclosures {tom} looks after {each} {monkey.many}.",
            ),
            d.pick(
                f"One {monkey} eats {KILOGRAM(food)} of food a {unit}.",
                f"Each {monkey} needs {KILOGRAM(food)} of food a {unit}.",
            ),
        ),
        question=d.pick(
            f"How many kilograms of food do the {monkey.many} need a {unit}?",
            f"How much food in kilograms do all the {monkey.many} eat in a {unit}?",
            f"What weight of food, in kilograms, is needed a {unit}?",
        ),
        solution=(
            f"There are {animals:=} {monkey.many}.",
            d.pick(f"They need {kilos:=} kilograms.", f"The food weighs {kilos:=} kilograms."),
        ),
        answer=kilos,
    )


TEMPLATES = (
    dozens_of_fish,
    pets_of_two_keepers,
    zoo_of_two_species,
    shopping_for_a_pet,
    shelter_in_a_week,
    food_for_the_cages,
)
