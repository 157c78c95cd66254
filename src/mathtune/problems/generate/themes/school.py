"""At school."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.numbers import total
from mathtune.problems.generate.words import STATIONERY, TOYS, nouns

CLUBS = ("chess", "drama", "music", "robotics", "art", "science")
PRIZES = nouns("sticker, badge, bookmark, ribbon, postcard, stamp")


@template("share_equally", steps=3)
def supplies_for_groups(d: Draw) -> Story:
    tom, pen = d.person(), d.one_of(STATIONERY)
    boxes, per_box, groups = d.number(2, 8), d.number(12, 40), d.number(3, 8)
    have = boxes * per_box
    each = d.number(2, (int(have) - 2) // int(groups))
    used = have - groups * each
    left = have - used
    share = left / groups
    return Story(
        facts=(
            d.pick(
                f"A teacher opens {boxes} boxes with {pen(per_box)} each.",
                f"There are {boxes} boxes of {pen.many} in class, with {per_box} in each box.",
            ),
            d.pick(
                f"The teacher keeps {used} of the {pen.many}.",
                f"{tom} takes {used} of the {pen.many} for the school paper.",
            ),
            d.pick(
                f"The rest are shared equally by {groups} groups.",
                f"{groups} groups split the others evenly.",
            ),
        ),
        question=d.pick(
            f"How many {pen.many} does each group get?",
            f"How many {pen.many} are there for one group?",
            f"What is each group's share of the {pen.many}?",
        ),
        solution=(
            f"There are {have:=} {pen.many}.",
            f"After that {left:=} {pen.many} are left.",
            f"Each group gets {share:=} {pen.word(share)}.",
        ),
        answer=share,
    )


@template("compare_total", steps=2)
def sticker_collections(d: Draw) -> Story:
    (tom, ann), sticker = d.two_people(), d.one_of(TOYS)
    n, k = d.number(3, 40), d.number(2, 9)
    other = n * k
    both = n + other
    return Story(
        facts=(
            d.pick(
                f"{tom} has {sticker(n)}.",
                f"{tom} brings {sticker(n)} to school.",
                f"There are {sticker(n)} in {tom}'s locker.",
            ),
            d.pick(
                f"{ann} has {k} times as many as {tom}.",
                f"{ann}'s collection is {k} times the size of {tom}'s.",
            ),
        ),
        question=d.pick(
            f"How many {sticker.many} do {tom} and {ann} have together?",
            f"How many {sticker.many} do {ann} and {tom} own in all?",
            f"What is the total number of {sticker.many} of {tom} and {ann}?",
        ),
        solution=(
            f"{ann} has {other:=} {sticker.many}.",
            d.pick(f"Together they have {both:=}.", f"{tom} and {ann} have {both:=} in all."),
        ),
        answer=both,
    )


@template("average", steps=3)
def score_still_needed(d: Draw) -> Story:
    tom, mean = d.person(), d.number(68, 92)
    a, b = d.number(int(mean) - 8, int(mean) + 7), d.number(int(mean) - 8, int(mean) + 7)
    needed, have = mean * 3, a + b
    last = needed - have
    return Story(
        facts=(
            d.pick(
                f"{tom} has {a} and {b} points in the first two tests.",
                f"In two tests {tom} scored {a} and {b} points.",
            ),
            d.pick(
                f"There is one more test, and {tom} wants an average of {mean}.",
                f"{tom} wants a mean of {mean} points after the third test.",
            ),
        ),
        question=d.pick(
            f"How many points does {tom} need in the third test?",
            f"What must {tom} score in the third test?",
            f"How many points must {tom} get in the last of the 3 tests?",
        ),
        solution=(
            f"Three tests need {needed:=} points.",
            f"{tom} has {have:=} points.",
            d.pick(f"The third test must bring {last:=} points.", f"{tom} needs {last:=} points."),
        ),
        answer=last,
    )


@template("percent_change", steps=2)
def club_grows(d: Draw) -> Story:
    club, rate, members = d.one_of(CLUBS), d.pick(10, 20, 25, 50, 5, 75), d.number(20, 400, 20)
    more = members.percent(rate)
    now = members + more
    return Story(
        facts=(
            d.pick(
                f"Last year the {club} club of a school had {members} members.",
                f"A school's {club} club began with {members} members.",
            ),
            d.pick(
                f"This year the club has {rate}% more members.",
                f"Since then the number of members has grown by {rate}%.",
            ),
        ),
        question=d.pick(
            f"How many members does the {club} club have now?",
            f"How many students are in the {club} club this year?",
            f"What is the {club} club's number of members now?",
        ),
        solution=(
            d.pick(f"The club gained {more:=} members.", f"{rate}% of the members is {more:=}."),
            f"Now it has {now:=} members.",
        ),
        answer=now,
    )


@template("total_cost", steps=3)
def class_trip(d: Draw) -> Story:
    club, n = d.one_of(CLUBS), d.number(8, 35)
    ticket, meal, bus = d.number(3, 25), d.number(3, 15), d.number(60, 300, 10)
    each = ticket + meal
    students = n * each
    bill = students + bus
    return Story(
        facts=(
            d.pick(
                f"The {club} class goes on a trip with {n} students.",
                f"{n} students of the {club} class go on a trip.",
            ),
            d.pick(
                f"Each student needs a ticket for {ticket:$} and a lunch for {meal:$}.",
                f"A ticket is {ticket:$} and a lunch is {meal:$} for each student.",
            ),
            d.pick(f"The bus costs {bus:$} for the day.", f"A bus is rented for {bus:$}."),
        ),
        question=d.pick(
            "How much does the whole trip cost?",
            "What is the total cost of the trip?",
            f"How many dollars does the {club} class need for the trip?",
        ),
        solution=(
            f"One student needs {each:=$}.",
            f"All students need {students:=$}.",
            d.pick(f"The whole trip costs {bill:=$}.", f"With the bus it is {bill:=$}."),
        ),
        answer=bill,
    )


@template("leftover", steps=2)
def prizes_given_out(d: Draw) -> Story:
    tom, badge = d.person(), d.one_of(PRIZES)
    a, b = d.number(3, 40), d.number(3, 40)
    given = a + b
    start = given + d.number(2, 60)
    rest = start - given
    return Story(
        facts=(
            d.pick(
                f"{tom} has {badge(start)} to give out at school.",
                f"A school gives {tom} {badge(start)} to hand out as prizes.",
            ),
            d.pick(
                f"The younger classes get {a} and the older ones {b}.",
                f"{tom} hands out {a} in the morning and {b} in the afternoon.",
                f"{tom} gives {a} to the dancers and {b} to the singers.",
            ),
        ),
        question=d.pick(
            f"How many {badge.many} does {tom} have left?",
            f"How many {badge.many} remain for {tom}?",
            f"What number of {badge.many} does {tom} still hold?",
        ),
        solution=(
            d.pick(f"{tom} gives away {given:=} {badge.many}.", f"In all {given:=} are gone."),
            f"There are {rest:=} {badge.many} left.",
        ),
        answer=rest,
    )


@template("average", steps=2)
def mean_of_four_grades(d: Draw) -> Story:
    tom = d.person()
    a, b, c, last = d.values(4, d.number(60, 82), 6)
    points = total(a, b, c, last)
    average = points / 4
    return Story(
        facts=(
            d.pick(
                f"{tom}'s grades in four subjects are {a}, {b}, {c} and {last}.",
                f"In four subjects {tom} gets grades of {a}, {b}, {c} and {last}.",
                f"{tom}'s report card shows four grades: {a}, {b}, {c} and {last}.",
            ),
        ),
        question=d.pick(
            f"What is {tom}'s average grade?",
            f"What is the mean of {tom}'s grades?",
            f"How high is {tom}'s average grade?",
        ),
        solution=(
            d.pick(f"The grades add up to {points:=}.", f"The sum is {points:=}."),
            f"The average is {average:=}.",
        ),
        answer=average,
    )


@template("compare_total", steps=3)
def three_friends(d: Draw) -> Story:
    (tom, ann), pen = d.two_people(), d.one_of(STATIONERY)
    n, k, more = d.number(2, 25), d.number(2, 6), d.number(1, 20)
    second = n * k
    third = second + more
    everyone = total(n, second, third)
    return Story(
        facts=(
            d.pick(
                f"{tom} has {pen(n)} in a school bag.",
                f"For the new school year {tom} gets {pen(n)}.",
            ),
            d.pick(
                f"{ann} has {k} times as many {pen.many} as {tom}.",
                f"{ann} owns {k} times that number.",
            ),
            d.pick(
                f"The teacher has {more} more {pen.many} than {ann}.",
                f"The teacher's desk holds {more} more than {ann} has.",
            ),
        ),
        question=d.pick(
            f"How many {pen.many} do {tom}, {ann} and the teacher have in all?",
            f"How many {pen.many} do the teacher, {tom} and {ann} own together?",
            f"What is the total of the {pen.many} of {tom}, {ann} and the teacher?",
        ),
        solution=(
            f"{ann} has {second:=} {pen.many}.",
            f"The teacher has {third:=} {pen.many}.",
            d.pick(f"Together they have {everyone:=}.", f"In all there are {everyone:=}."),
        ),
        answer=everyone,
    )


@template("total_cost", steps=1)
def art_supplies(d: Draw) -> Story:
    tom, (pen, ruler) = d.person(), d.two_of(STATIONERY)
    n, m, p, q = d.number(2, 9), d.number(2, 9), d.number(1, 9), d.number(1, 9)
    bill = (n * p).inline + (m * q).inline
    return Story(
        facts=(
            d.pick(
                f"{tom} needs {pen(n)} at {p:$} each and {ruler(m)} at {q:$} each for art class.",
                f"For art class {tom} buys {pen(n)} for {p:$} each and {ruler(m)} for {q:$} each.",
                f"{tom}'s art supplies are {pen(n)} at {p:$} each and {ruler(m)} at {q:$} each.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} spend?",
            f"What do {tom}'s art supplies cost?",
            f"How many dollars does {tom} pay for everything?",
        ),
        solution=(d.pick(f"{tom} pays {bill:=$}.", f"In all it costs {bill:=$}."),),
        answer=bill,
    )


TEMPLATES = (
    supplies_for_groups,
    sticker_collections,
    score_still_needed,
    club_grows,
    class_trip,
    prizes_given_out,
    mean_of_four_grades,
    three_friends,
    art_supplies,
)
