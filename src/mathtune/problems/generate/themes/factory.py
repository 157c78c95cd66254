"""Machines, output and orders."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import DAY, HOUR, WEEKDAYS, nouns

PRODUCTS = nouns(
    "bottle, chair, lamp, shoe, toy train, brick, umbrella, battery/batteries, bolt, cup"
)


@template("profit", steps=4)
def order_from_a_shop(d: Draw) -> Story:
    cup, n = d.one_of(PRODUCTS), d.number(10, 90)
    cost = d.number(2, 15)
    price = cost + d.number(2, 15)
    taken, spent = n * price, n * cost
    gross = taken - spent
    freight = d.number(5, int(gross) - 5)
    gain = gross - freight
    return Story(
        facts=(
            d.pick(
                f"A factory makes {cup(n)} for {cost:$} each.",
                f"It costs a factory {cost:$} to make {cup.a}, and it makes {n}.",
            ),
            d.pick(
                f"All {n} are sold to a shop at {price:$} each.",
                f"A shop buys all the {cup.many} for {price:$} each.",
            ),
            d.pick(
                f"The factory pays {freight:$} for the transport.",
                f"The transport costs the factory {freight:$}.",
            ),
        ),
        question=d.pick(
            f"How much profit does the factory make on the {cup.many}?",
            "What is the profit of the factory?",
            "How many dollars does the factory gain?",
        ),
        solution=(
            f"The shop pays {taken:=$}.",
            f"Making the {cup.many} costs {spent:=$}.",
            f"The difference is {gross:=$}.",
            f"After the transport {gain:=$} is left.",
        ),
        answer=gain,
    )


@template("rectangle", steps=3, held_out=True)
def tiles_on_the_floor(d: Draw) -> Story:
    width, each, price = d.number(3, 30), d.pick(2, 4, 5, 8, 9, 10, 16, 25), d.number(1, 9)
    length = width + d.number(1, 15)
    area = length * width
    tiles = area * each
    cost = tiles * price
    return Story(
        facts=(
            d.pick(
                f"The floor of a factory hall is a rectangle of {length} m by {width} m.",
                f"A factory hall is {length} m long and {width} m wide.",
            ),
            d.pick(
                f"Each square meter takes {each} tiles.",
                f"The floor gets {each} tiles on each square meter.",
            ),
            d.pick(f"Each tile costs {price:$}.", f"One tile is sold for {price:$}."),
        ),
        question=d.pick(
            "How much do the tiles for the hall cost?",
            "What is the price of all the tiles?",
            "How many dollars does the factory pay for tiles?",
        ),
        solution=(
            f"The floor has {area:=} square meters.",
            f"It takes {tiles:=} tiles.",
            f"They cost {cost:=$}.",
        ),
        answer=cost,
    )


@template("percent_change", steps=3)
def output_goes_up(d: Draw) -> Story:
    cup, rate, old = (
        d.one_of(PRODUCTS),
        d.pick(5, 10, 15, 20, 25, 30, 40, 50),
        d.number(20, 500, 20),
    )
    days = d.number(2, 7)
    more = old.percent(rate)
    new = old + more
    made = new * days
    return Story(
        facts=(
            d.pick(
                f"A machine made {cup(old)} a day.",
                f"The output of a machine was {cup(old)} a day.",
            ),
            d.pick(
                f"After a repair the machine makes {rate}% more each day.",
                f"With a new motor the daily output is {rate}% higher.",
            ),
        ),
        question=d.pick(
            f"How many {cup.many} does the machine make in {DAY(days)} now?",
            f"What does the machine make in {DAY(days)} now?",
            f"How many {cup.many} leave the machine in {DAY(days)} from now on?",
        ),
        solution=(
            d.pick(f"The rise is {more:=} {cup.many}.", f"{rate}% more is {more:=} more a day."),
            f"Now the machine makes {new:=} a day.",
            f"In {days} days it makes {made:=} {cup.many}.",
        ),
        answer=made,
    )


@template("average", steps=4, held_out=True)
def missing_day_of_output(d: Draw) -> Story:
    cup, mean, missing = d.one_of(PRODUCTS), d.number(40, 150), d.one_of(WEEKDAYS[3:])
    a, b, c, _ = d.values(4, mean, 12)
    needed, first = mean * 4, a + b
    done = first + c
    last = needed - done
    return Story(
        facts=(
            d.pick(
                f"A factory makes {a}, {b} and {c} {cup.many} on three days.",
                f"On three days a factory turns out {a}, {b} and {c} {cup.many}.",
            ),
            d.pick(
                f"With {missing} as the fourth day the average must be {mean} a day.",
                f"The average over four days, {missing} included, has to be {mean}.",
            ),
        ),
        question=d.pick(
            f"How many {cup.many} must the factory make on {missing}?",
            f"How many {cup.many} are needed on {missing}?",
            f"What must the output be on {missing}?",
        ),
        solution=(
            f"Four days need {needed:=} {cup.many}.",
            f"The first two days make {first:=}.",
            f"Three days make {done:=}.",
            f"On {missing} the factory must make {last:=}.",
        ),
        answer=last,
    )


@template("saving_goal", steps=4, held_out=True)
def order_to_fill(d: Draw) -> Story:
    cup, machines, rate = d.one_of(PRODUCTS), d.number(2, 8), d.number(3, 25)
    hours, stock = d.number(2, 12), d.number(10, 150)
    hourly = machines * rate
    order = stock + hourly * hours
    missing = order - stock
    needed = missing / hourly
    pause = d.number(1, 4)
    whole = needed + pause
    return Story(
        facts=(
            d.pick(
                f"A factory has an order for {cup(order)} and {stock} in stock.",
                f"Of {cup(order)} on order a factory has {stock} in stock.",
            ),
            d.pick(
                f"{machines} machines make {rate} {cup.many} an hour each.",
                f"Each of {machines} machines makes {rate} {cup.many} an hour.",
            ),
            d.pick(
                f"The machines also stand still for {HOUR(pause)} to be cleaned.",
                f"Cleaning stops the machines for {HOUR(pause)} on the way.",
            ),
        ),
        question=d.pick(
            "How many hours does it take to fill the order?",
            "How many hours pass until the order is filled?",
            f"How many hours does the factory need for the {cup.many}?",
        ),
        solution=(
            f"The machines make {hourly:=} {cup.many} an hour.",
            f"There are {missing:=} to make.",
            f"That takes {needed:=} hours of work.",
            f"With the cleaning it takes {whole:=} hours.",
        ),
        answer=whole,
    )


@template("leftover", steps=2)
def broken_on_the_way(d: Draw) -> Story:
    cup, day = d.one_of(PRODUCTS), d.one_of(WEEKDAYS)
    made, sent, broken = d.number(100, 900), d.number(20, 90), d.number(2, 9)
    stored = made - sent
    good = stored - broken
    return Story(
        facts=(
            d.pick(
                f"On {day} a factory makes {cup(made)}.",
                f"A factory makes {cup(made)} on {day}.",
            ),
            d.pick(
                f"A truck takes {sent} of the {cup.many} away at once.",
                f"The factory sends {sent} of the {cup.many} to a customer.",
            ),
            d.pick(
                f"In the store room {broken} of the others are found to be broken.",
                f"Of the rest {broken} turn out to be broken.",
            ),
        ),
        question=d.pick(
            f"How many good {cup.many} are left in the factory?",
            f"How many good {cup.many} does the factory have in store?",
            f"What is the number of good {cup.many} that remain?",
        ),
        solution=(
            f"The factory keeps {stored:=} {cup.many}.",
            d.pick(f"Of these {good:=} are good.", f"The good ones are {good:=}."),
        ),
        answer=good,
    )


TEMPLATES = (
    order_from_a_shop,
    tiles_on_the_floor,
    output_goes_up,
    missing_day_of_output,
    order_to_fill,
    broken_on_the_way,
)
