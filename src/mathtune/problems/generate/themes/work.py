"""Jobs, wages and hours."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.numbers import total
from mathtune.problems.generate.words import DAY, HOUR, MINUTE, WEEKDAYS, nouns

TASKS = nouns("letter, form, window, call, report, photo, order, invoice")
TRADES = ("painter", "plumber", "gardener", "mechanic", "roofer", "locksmith", "carpenter")


@template("rate_time", steps=2)
def wage_for_days(d: Draw) -> Story:
    tom, wage, hours, days = d.person(), d.price(8, 40), d.number(2, 9), d.number(2, 24)
    daily = wage * hours
    pay = daily * days
    return Story(
        facts=(
            d.pick(
                f"{tom} earns {wage:$} an hour.",
                f"{tom}'s job pays {wage:$} an hour.",
                f"For each hour of work {tom} gets {wage:$}.",
            ),
            d.pick(
                f"{tom} works {HOUR(hours)} a day for {DAY(days)}.",
                f"{tom} works on {days} days, {HOUR(hours)} each.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} earn?",
            f"What is {tom}'s pay for these days?",
            f"How many dollars does {tom} make in that time?",
        ),
        solution=(
            d.pick(f"A day brings {daily:=$}.", f"{tom} earns {daily:=$} a day."),
            d.pick(f"In all {tom} earns {pay:=$}.", f"The pay is {pay:=$}."),
        ),
        answer=pay,
    )


@template("rate_time", steps=2)
def two_workers_side_by_side(d: Draw) -> Story:
    (tom, ann), letter = d.two_people(), d.one_of(TASKS)
    a, b, hours = d.number(2, 30), d.number(2, 30), d.number(2, 9)
    rate = a + b
    done = rate * hours
    return Story(
        facts=(
            d.pick(
                f"{tom} finishes {letter(a)} an hour.",
                f"In one hour {tom} is done with {letter(a)}.",
            ),
            d.pick(
                f"{ann} finishes {b} an hour.",
                f"{ann} gets {letter(b)} done an hour.",
            ),
            d.pick(
                f"They work side by side for {HOUR(hours)}.",
                f"Both work for {HOUR(hours)}.",
            ),
        ),
        question=d.pick(
            f"How many {letter.many} do {tom} and {ann} finish together?",
            f"How many {letter.many} do {ann} and {tom} get done in all?",
            f"What number of {letter.many} do {tom} and {ann} finish?",
        ),
        solution=(
            f"Together they finish {rate:=} {letter.many} an hour.",
            d.pick(f"In all they finish {done:=}.", f"That makes {done:=} {letter.many}."),
        ),
        answer=done,
    )


@template("unit_convert", steps=3, held_out=True)
def tasks_in_minutes(d: Draw) -> Story:
    tom, form, each = d.person(), d.one_of(TASKS), d.pick(2, 3, 4, 5, 6, 10, 12, 15)
    hours, pause = d.number(2, 9), d.multiple(each, 1, 60 // each)
    whole = hours * 60
    minutes = whole - pause
    done = minutes / each
    return Story(
        facts=(
            d.pick(
                f"{tom} is at work for {HOUR(hours)} with a break of {MINUTE(pause)}.",
                f"{tom}'s shift lasts {HOUR(hours)}, with a break of {MINUTE(pause)}.",
            ),
            d.pick(
                f"Each {form} takes {tom} {MINUTE(each)}.",
                f"{tom} needs {MINUTE(each)} for {form.a}.",
            ),
        ),
        question=d.pick(
            f"How many {form.many} can {tom} finish?",
            f"How many {form.many} does {tom} get done?",
            f"What number of {form.many} can {tom} do in that time?",
        ),
        solution=(
            f"{hours} hours are {whole:=} minutes.",
            f"Without the break that is {minutes:=} minutes.",
            f"{tom} can finish {done:=} {form.many}.",
        ),
        answer=done,
    )


@template("saving_goal", steps=3)
def savings_for_a_tool(d: Draw) -> Story:
    tom, trade = d.person(), d.one_of(TRADES)
    jobs, pay, weeks, have = d.number(2, 9), d.number(5, 40), d.number(2, 12), d.number(10, 200)
    weekly = jobs * pay
    price = have + weekly * weeks
    missing = price - have
    needed = missing / weekly
    return Story(
        facts=(
            d.pick(
                f"{tom} is a {trade} and needs a new machine for {price:$}.",
                f"The machine that {tom} needs at work costs {price:$}.",
            ),
            d.pick(
                f"{tom} has set {have:$} aside so far.",
                f"So far {have:$} are saved.",
            ),
            d.pick(
                f"Each week {tom} does {jobs} extra jobs and saves {pay:$} from each job.",
                f"{tom} saves {pay:$} from each of {jobs} extra jobs a week.",
            ),
        ),
        question=d.pick(
            f"How many weeks does {tom} need to pay for the machine?",
            f"How many weeks must {tom} wait for the machine?",
            f"How many weeks of extra jobs does {tom} need?",
        ),
        solution=(
            f"{tom} saves {weekly:=$} a week.",
            f"The missing money is {missing:=$}.",
            f"It takes {needed:=} weeks.",
        ),
        answer=needed,
    )


@template("average", steps=2)
def calls_on_average(d: Draw) -> Story:
    tom, call, day = d.person(), d.one_of(TASKS), d.one_of(WEEKDAYS[:2])
    a, b, c, last = d.values(4, d.number(20, 60), 5)
    done = total(a, b, c, last)
    average = done / 4
    return Story(
        facts=(
            d.pick(
                f"From {day} on {tom} counts the {call.many} of four days at work.",
                f"{tom} writes down the number of {call.many} on four days.",
            ),
            d.pick(
                f"The numbers are {a}, {b}, {c} and {last}.",
                f"{tom} gets {a}, {b}, {c} and {last}.",
            ),
        ),
        question=d.pick(
            f"How many {call.many} does {tom} have a day on average?",
            f"What is {tom}'s average number of {call.many} a day?",
            f"What is the mean number of {call.many} a day for {tom}?",
        ),
        solution=(
            d.pick(f"In all there are {done:=} {call.many}.", f"The sum is {done:=}."),
            f"The average is {average:=} a day.",
        ),
        answer=average,
    )


@template("total_cost", steps=3)
def repair_bill(d: Draw) -> Story:
    tom, trade, hours = d.person(), d.one_of(TRADES), d.number(2, 9)
    wage, parts, visit = d.price(15, 80), d.number(10, 200), d.number(5, 60)
    labor = hours * wage
    extras = parts + visit
    bill = labor + extras
    return Story(
        facts=(
            d.pick(
                f"{tom} calls the {trade}, who works for {HOUR(hours)}.",
                f"The {trade} works at {tom}'s house for {HOUR(hours)}.",
            ),
            d.pick(
                f"The {trade} charges {wage:$} an hour.",
                f"An hour of work costs {wage:$}.",
            ),
            d.pick(
                f"The material costs {parts:$} and the visit {visit:$}.",
                f"The bill also lists {parts:$} for material and {visit:$} for the visit.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} pay the {trade}?",
            f"What is {tom}'s whole bill?",
            f"How many dollars must {tom} pay the {trade}?",
        ),
        solution=(
            f"The work costs {labor:=$}.",
            f"Material and visit cost {extras:=$}.",
            d.pick(f"The bill is {bill:=$}.", f"{tom} pays {bill:=$}."),
        ),
        answer=bill,
    )


@template("share_equally", steps=3, held_out=True)
def tips_for_the_team(d: Draw) -> Story:
    day = d.one_of(WEEKDAYS)
    staff, each = d.number(3, 9), d.number(5, 40)
    fund = d.number(2, 30)
    pot = fund + staff * each
    lunch = d.number(5, int(pot) - 5)
    dinner = pot - lunch
    tips = lunch + dinner
    rest = tips - fund
    share = rest / staff
    return Story(
        facts=(
            d.pick(
                f"On {day} {staff} waiters get {lunch:$} in tips by day and {dinner:$} at dinner.",
                f"The tips of {staff} waiters are {lunch:$} at lunch and {dinner:$} at dinner.",
                f"A team of {staff} waiters gets {lunch:$} in tips by day and {dinner:$} by night.",
            ),
            d.pick(
                f"First {fund:$} go into a fund for parties.",
                f"The waiters put {fund:$} aside for flowers.",
            ),
            d.pick(
                "The rest is split evenly among the waiters.",
                "Each waiter gets the same part of the rest.",
            ),
        ),
        question=d.pick(
            "How much money does each waiter get?",
            "How many dollars are there for each waiter?",
            "What is the share of one waiter?",
        ),
        solution=(
            f"The tips are {tips:=$}.",
            f"To split there is {rest:=$}.",
            f"Each waiter gets {share:=$}.",
        ),
        answer=share,
    )


@template("rate_time", steps=5)
def month_with_overtime(d: Draw) -> Story:
    tom, trade, wage = d.person(), d.one_of(TRADES), d.number(8, 30, 2)
    hours, extra, bonus = d.number(10, 40), d.number(2, 9), d.number(2, 15)
    regular = hours * wage
    rate = wage + bonus
    late = extra * rate
    week = regular + late
    month = week * 4
    return Story(
        facts=(
            d.pick(
                f"{tom} works {HOUR(hours)} a week as a {trade} for {wage:$} an hour.",
                f"{tom} is a {trade} and gets {wage:$} an hour for {HOUR(hours)} a week.",
            ),
            d.pick(
                f"{tom} also works {HOUR(extra)} a week at night for {bonus:$} more an hour.",
                f"For {HOUR(extra)} more a week, at night, the pay is {bonus:$} higher an hour.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} earn in 4 weeks?",
            f"What is {tom}'s pay for 4 weeks?",
            f"How many dollars does {tom} make in 4 such weeks?",
        ),
        solution=(
            f"The day hours bring {regular:=$} a week.",
            f"A night hour is paid {rate:=$}.",
            f"The night hours bring {late:=$} a week.",
            f"That is {week:=$} a week.",
            f"In 4 weeks {tom} earns {month:=$}.",
        ),
        answer=month,
    )


TEMPLATES = (
    wage_for_days,
    two_workers_side_by_side,
    tasks_in_minutes,
    savings_for_a_tool,
    calls_on_average,
    repair_bill,
    tips_for_the_team,
    month_with_overtime,
)
