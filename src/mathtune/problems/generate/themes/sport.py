"""Matches, training and races."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.numbers import total
from mathtune.problems.generate.words import DAY, KM, METER, MINUTE, WEEK, nouns

EXERCISES = nouns("push-up, squat, sit-up, jump, serve, free throw")
GAMES = ("soccer", "basketball", "handball", "hockey", "rugby", "volleyball")


@template("compare_total", steps=2)
def points_of_two_players(d: Draw) -> Story:
    (tom, ann), game = d.two_people(), d.one_of(GAMES)
    n, more = d.number(4, 60), d.number(2, 30)
    other = n + more
    both = n + other
    return Story(
        facts=(
            d.pick(
                f"{tom} scores {n} points in a {game} season.",
                f"In a {game} season {tom} makes {n} points.",
            ),
            d.pick(
                f"{ann} scores {more} more points than {tom}.",
                f"{ann} is {more} points ahead of {tom}.",
            ),
        ),
        question=d.pick(
            f"How many points do {tom} and {ann} have together?",
            f"How many points do {ann} and {tom} make in all?",
            f"What is the sum of the points of {tom} and {ann}?",
        ),
        solution=(
            f"{ann} has {other:=} points.",
            d.pick(f"Together they have {both:=} points.", f"In all that is {both:=} points."),
        ),
        answer=both,
    )


@template("average", steps=2)
def lap_times(d: Draw) -> Story:
    tom = d.person()
    a, b, c = d.values(3, d.number(40, 95), 9)
    seconds = total(a, b, c)
    average = seconds / 3
    return Story(
        facts=(
            d.pick(
                f"{tom} runs three laps in {a}, {b} and {c} seconds.",
                f"{tom}'s times for three laps are {a}, {b} and {c} seconds.",
                f"A coach stops {tom}'s three laps at {a}, {b} and {c} seconds.",
            ),
        ),
        question=d.pick(
            f"What is {tom}'s average time for a lap, in seconds?",
            f"How many seconds does {tom} need for a lap on average?",
            f"What is the mean of {tom}'s lap times in seconds?",
        ),
        solution=(
            d.pick(
                f"The three laps take {seconds:=} seconds.", f"In all it is {seconds:=} seconds."
            ),
            d.pick(f"The average is {average:=} seconds.", f"The mean is {average:=} seconds."),
        ),
        answer=average,
    )


@template("rate_time", steps=3, held_out=True)
def training_week(d: Draw) -> Story:
    tom, squat = d.person(), d.one_of(EXERCISES)
    a, b, minutes, days = d.number(3, 15), d.number(2, 12), d.number(4, 12), d.number(2, 6)
    rate = a + b
    daily = rate * minutes
    week = daily * days
    return Story(
        facts=(
            d.pick(
                f"{tom} used to do {squat(a)} a minute and now does {b} more a minute.",
                f"A minute was enough for {squat(a)}, but now {tom} does {b} more in a minute.",
            ),
            d.pick(
                f"{tom} trains {MINUTE(minutes)} a day on {days} days of the week.",
                f"On {days} days of the week {tom} trains for {MINUTE(minutes)}.",
            ),
        ),
        question=d.pick(
            f"How many {squat.many} does {tom} do in a week now?",
            f"How many {squat.many} is that for {tom} in one week?",
            f"What is {tom}'s weekly number of {squat.many}?",
        ),
        solution=(
            f"{tom} does {rate:=} {squat.many} a minute.",
            f"A day of training has {daily:=} {squat.many}.",
            f"In a week {tom} does {week:=} {squat.many}.",
        ),
        answer=week,
    )


@template("percent_change", steps=4, held_out=True)
def season_ticket(d: Draw) -> Story:
    tom, game = d.person(), d.one_of(GAMES)
    rate, games = d.number(10, 40, 10), d.number(4, 20)
    ticket, food = d.number(10, 50, 5), d.number(3, 12)
    seats = games * ticket
    off = seats.percent(rate)
    paid = seats - off
    bill = paid + food
    return Story(
        facts=(
            d.pick(
                f"{tom} orders tickets for {games} {game} matches.",
                f"There are {games} {game} matches, and {tom} buys a ticket for each one.",
            ),
            d.pick(f"One ticket costs {ticket:$}.", f"The price of a ticket is {ticket:$}."),
            d.pick(
                f"Members like {tom} save {rate}% on tickets.",
                f"{tom}'s club card takes {rate}% off all tickets.",
            ),
            d.pick(
                f"A printed season program costs {tom} {food:$} more.",
                f"{tom} adds a scarf of the team for {food:$}.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} spend in all?",
            f"What does {tom} pay in total?",
            f"How many dollars does {tom} pay altogether?",
        ),
        solution=(
            f"The tickets cost {seats:=$} at first.",
            f"The discount is {off:=$}.",
            f"The tickets then cost {paid:=$}.",
            f"In all {tom} pays {bill:=$}.",
        ),
        answer=bill,
    )


@template("rectangle", steps=2)
def laps_around_the_pitch(d: Draw) -> Story:
    tom, game = d.person(), d.pick("soccer", "hockey", "rugby", "football")
    width, laps = d.number(10, 60), d.number(2, 12)
    length = width + d.number(5, 50, 5)
    around = 2 * (length + width).inline
    run = around * laps
    return Story(
        facts=(
            d.pick(
                f"A {game} field is {METER(length)} long and {METER(width)} wide.",
                f"The length of a {game} field is {METER(length)} and its width is {METER(width)}.",
            ),
            d.pick(
                f"{tom} runs around the field {laps} times.",
                f"{tom} does {laps} laps around the edge of the field.",
            ),
        ),
        question=d.pick(
            f"How many meters does {tom} run?",
            f"How far does {tom} run, in meters?",
            f"What distance in meters does {tom} cover?",
        ),
        solution=(
            d.pick(f"One lap is {around:=} meters.", f"Around the field it is {around:=} meters."),
            f"{tom} runs {run:=} meters.",
        ),
        answer=run,
    )


@template("saving_goal", steps=2)
def distance_goal(d: Draw) -> Story:
    tom, rate, count = d.person(), d.number(2, 20), d.number(2, 30)
    done = d.number(3, 80)
    goal = done + rate * count
    missing = goal - done
    needed = missing / rate
    unit = d.pick(DAY, WEEK)
    return Story(
        facts=(
            d.pick(
                f"{tom} wants to swim {KM(goal)} this year.",
                f"{tom}'s goal is to run {KM(goal)}.",
            ),
            d.pick(
                f"{tom} has done {KM(done)} so far.",
                f"The first {KM(done)} are already done.",
            ),
            d.pick(
                f"From now on {tom} does {KM(rate)} a {unit}.",
                f"Each {unit} {tom} adds {KM(rate)}.",
            ),
        ),
        question=d.pick(
            f"How many {unit.many} does {tom} need to reach the goal?",
            f"How many more {unit.many} will it take {tom}?",
            f"In how many {unit.many} is {tom} done?",
        ),
        solution=(
            d.pick(
                f"There are {missing:=} kilometers left.",
                f"{tom} still needs {missing:=} kilometers.",
            ),
            f"It takes {needed:=} {unit.word(needed)}.",
        ),
        answer=needed,
    )


@template("unit_convert", steps=1)
def run_in_meters(d: Draw) -> Story:
    tom, km = d.person(), d.number(4, 400) / 10
    meters = km * 1000
    return Story(
        facts=(
            d.pick(
                f"{tom} runs {KM(km)} before breakfast.",
                f"{tom}'s way through the park is {km} km long.",
                f"The race that {tom} enters is {km} km long.",
                f"{tom} skates {km} km along a river.",
            ),
        ),
        question=d.pick(
            f"How many meters is that for {tom}?",
            f"What distance in meters does {tom} cover?",
            f"How far does {tom} go, in meters?",
        ),
        solution=(d.pick(f"{tom} covers {meters:=} meters.", f"It is {meters:=} meters."),),
        answer=meters,
        aside=f"{tom} drinks {d.number(2, 8)} cups of water.",
    )


TEMPLATES = (
    points_of_two_players,
    lap_times,
    training_week,
    season_ticket,
    laps_around_the_pitch,
    distance_goal,
    run_in_meters,
)
