"""On the road, on rails and on the water."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.numbers import total
from mathtune.problems.generate.words import DAY, HOUR, KM, MINUTE, WEEKDAYS, nouns

VEHICLES = nouns("car, bus/buses, train, truck, van, motorcycle")
ATTRACTIONS = nouns("museum, castle, zoo, boat tour, cable car, aquarium, lighthouse")


@template("rate_time", steps=1)
def steady_drive(d: Draw) -> Story:
    car, speed, hours = d.one_of(VEHICLES), d.number(30, 120, 5), d.number(2, 14)
    distance = speed * hours
    return Story(
        facts=(
            d.pick(
                f"A {car} goes {speed} kilometers an hour.",
                f"The speed of a {car} is {speed} kilometers per hour.",
                f"Every hour a {car} covers {speed} kilometers.",
            ),
            d.pick(
                f"The trip takes {HOUR(hours)}.",
                f"The {car} is on the way for {HOUR(hours)}.",
                f"The {car} does not stop for {HOUR(hours)}.",
            ),
        ),
        question=d.pick(
            f"How far does the {car} go?",
            f"How many kilometers does the {car} travel?",
            f"What distance does the {car} cover?",
        ),
        solution=(
            d.pick(
                f"The {car} travels {distance:=} kilometers.",
                f"The distance is {distance:=} kilometers.",
            ),
        ),
        answer=distance,
        aside=f"The {car} is {d.number(2, 15)} years old.",
    )


@template("rate_time", steps=3)
def two_parts_of_a_ride(d: Draw) -> Story:
    tom = d.person()
    v, w, s, t = d.number(6, 30), d.number(6, 30), d.number(2, 8), d.number(2, 8)
    first, second = v * s, w * t
    distance = first + second
    return Story(
        facts=(
            d.pick(
                f"{tom} rides a bicycle for {HOUR(s)} at {v} kilometers an hour.",
                f"In the first {s} hours of a bicycle tour {tom} rides {v} kilometers an hour.",
            ),
            d.pick(
                f"After lunch {tom} rides {HOUR(t)} more at {w} kilometers an hour.",
                f"{tom} then goes on for {HOUR(t)} at {w} kilometers an hour.",
            ),
        ),
        question=d.pick(
            f"How many kilometers does {tom} ride in all?",
            f"What is the length of {tom}'s whole ride?",
            f"How far does {tom} ride that day?",
        ),
        solution=(
            d.pick(
                f"The first part is {first:=} kilometers.",
                f"First {tom} rides {first:=} kilometers.",
            ),
            d.pick(
                f"The second part is {second:=} kilometers.",
                f"Then {tom} rides {second:=} kilometers.",
            ),
            f"In all that is {distance:=} kilometers.",
        ),
        answer=distance,
    )


@template("unit_convert", steps=2)
def minutes_of_driving(d: Draw) -> Story:
    tom, hours, more = d.person(), d.number(2, 15), d.number(5, 55)
    whole = hours * 60
    minutes = whole + more
    return Story(
        facts=(
            d.pick(
                f"{tom} sits in a train for {HOUR(hours)} and then in a bus for {MINUTE(more)}.",
                f"{tom}'s journey takes {HOUR(hours)} by train and {MINUTE(more)} by bus.",
                f"A flight of {HOUR(hours)} and a taxi ride of {MINUTE(more)} bring {tom} home.",
            ),
        ),
        question=d.pick(
            f"How many minutes does {tom} travel?",
            f"What is the length of {tom}'s journey in minutes?",
            f"How long is {tom} on the way, in minutes?",
        ),
        solution=(
            d.pick(f"The hours are {whole:=} minutes.", f"{HOUR(hours)} are {whole:=} minutes."),
            d.pick(
                f"In all it takes {minutes:=} minutes.", f"Together that is {minutes:=} minutes."
            ),
        ),
        answer=minutes,
        aside=f"{tom} carries {d.number(2, 5)} bags.",
    )


@template("average", steps=2)
def kilometers_a_day(d: Draw) -> Story:
    tom = d.person()
    a, b, c = d.values(3, d.number(20, 60), 8)
    walked = total(a, b, c)
    average = walked / 3
    return Story(
        facts=(
            d.pick(
                f"{tom} is on a cycling trip that takes 3 days.",
                f"{tom} goes on a trip by bicycle for 3 days.",
            ),
            d.pick(
                f"{tom} rides {KM(a)} on the first day, then {b} and then {c}.",
                f"The distances are {a}, {b} and {c} kilometers.",
            ),
        ),
        question=d.pick(
            f"How many kilometers does {tom} ride a day on average?",
            f"What is {tom}'s average distance a day?",
            f"What is the mean of {tom}'s daily distances?",
        ),
        solution=(
            f"In all {tom} rides {walked:=} kilometers.",
            d.pick(f"On average it is {average:=} kilometers a day.", f"The mean is {average:=}."),
        ),
        answer=average,
    )


@template("change_back", steps=4, held_out=True)
def family_tickets(d: Draw) -> Story:
    tom, zoo = d.person(), d.one_of(ATTRACTIONS)
    adults, children, p, q = d.number(2, 5), d.number(2, 8), d.number(8, 30), d.number(3, 15)
    first, second = adults * p, children * q
    bill = first + second
    low = int(bill) // 50 * 50 + 50
    paid = d.number(low, low + 50, 50)
    change = paid - bill
    return Story(
        facts=(
            d.pick(
                f"A ticket for the {zoo} costs {p:$} for an adult and {q:$} for a child.",
                f"The {zoo} charges adults {p:$} and children {q:$}.",
            ),
            d.pick(
                f"{tom} gets tickets for {adults} adults and {children} children.",
                f"{tom}'s group has {adults} adults and {children} children.",
            ),
            d.pick(f"{tom} puts {paid:$} on the counter.", f"{tom} pays with {paid:$}."),
        ),
        question=d.pick(
            f"How much money does {tom} get back?",
            f"What is the change for {tom}'s group?",
            f"How many dollars are returned to {tom}?",
        ),
        solution=(
            f"The adults pay {first:=$}.",
            f"The children pay {second:=$}.",
            f"The tickets cost {bill:=$}.",
            f"{tom} gets back {change:=$}.",
        ),
        answer=change,
    )


@template("fraction_part", steps=2)
def rest_of_the_way(d: Draw) -> Story:
    tom, share = d.person(), d.fraction()
    way = d.multiple(share.bottom, 5, 60)
    done = way.times(share.top, share.bottom)
    left = way - done
    day = d.one_of(WEEKDAYS)
    return Story(
        facts=(
            d.pick(
                f"{tom} has to drive {KM(way)}.",
                f"A town is {KM(way)} away and {tom} drives there.",
                f"{tom} plans a hike of {KM(way)}.",
            ),
            d.pick(
                f"By noon on {day} {share} of the way is done.",
                f"{tom} finishes {share} of the way before lunch.",
            ),
        ),
        question=d.pick(
            f"How many kilometers are left for {tom}?",
            f"How far must {tom} still go?",
            f"What distance remains for {tom}?",
        ),
        solution=(
            d.pick(
                f"{tom} has done {done:=} kilometers.", f"The first part is {done:=} kilometers."
            ),
            d.pick(f"There are {left:=} kilometers left.", f"What remains is {left:=} kilometers."),
        ),
        answer=left,
    )


@template("leftover", steps=3)
def bus_stops(d: Draw) -> Story:
    start, off, on = d.number(15, 50), d.number(2, 12), d.number(2, 20)
    first = start - off
    second = first + on
    out = d.number(2, min(14, int(second) - 2))
    left = second - out
    return Story(
        facts=(
            d.pick(
                f"A bus leaves the station with {start} passengers.",
                f"There are {start} passengers on a bus.",
            ),
            d.pick(
                f"At the first stop {off} get off and {on} get on.",
                f"At the market {off} passengers get off and {on} get on.",
            ),
            d.pick(
                f"At the next stop {out} passengers get off.",
                f"At the hospital {out} more leave.",
            ),
        ),
        question=d.pick(
            "How many passengers are on the bus now?",
            "How many passengers stay on the bus?",
            "What is the number of passengers left on the bus?",
        ),
        solution=(
            f"After the first ones get off there are {first:=} passengers.",
            f"With the new ones there are {second:=}.",
            d.pick(f"In the end there are {left:=}.", f"At last {left:=} stay on the bus."),
        ),
        answer=left,
        aside=f"A bus like this runs {d.number(3, 20)} times each {d.pick(DAY, HOUR)}.",
    )


TEMPLATES = (
    steady_drive,
    two_parts_of_a_ride,
    minutes_of_driving,
    kilometers_a_day,
    family_tickets,
    rest_of_the_way,
    bus_stops,
)
