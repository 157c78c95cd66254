"""Pocket money, bank accounts and bills."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.numbers import total
from mathtune.problems.generate.words import CLOTHES, MONTH, WEEK, nouns

DREAMS = nouns("guitar, skateboard, camera, telescope, drum, tablet, bicycle, tent, sewing machine")
CRAFTS = nouns("bracelet, candle, key ring, clay mug, greeting card, wooden bowl")
BILLS = ("food", "power", "the phone", "a bus pass", "insurance", "the gym")


@template("saving_goal", steps=2)
def pocket_money_goal(d: Draw) -> Story:
    tom, guitar, unit = d.person(), d.one_of(DREAMS), d.pick(WEEK, MONTH)
    rate, count, have = d.number(3, 40), d.number(2, 24), d.number(5, 90)
    price = have + rate * count
    missing = price - have
    needed = missing / rate
    return Story(
        facts=(
            d.pick(
                f"{tom} wants {guitar.a} that costs {price:$}.",
                f"{tom} dreams of {guitar.a} for {price:$}.",
            ),
            d.pick(f"{tom} already has {have:$}.", f"There is {have:$} in {tom}'s piggy bank."),
            d.pick(
                f"Each {unit} {tom} puts aside {rate:$}.",
                f"{tom} can save {rate:$} a {unit}.",
            ),
        ),
        question=d.pick(
            f"How many {unit.many} must {tom} save for the {guitar}?",
            f"How many {unit.many} does it take until {tom} can buy the {guitar}?",
            f"In how many {unit.many} can {tom} pay for the {guitar}?",
        ),
        solution=(
            d.pick(f"{tom} still needs {missing:=$}.", f"The missing money is {missing:=$}."),
            f"It takes {needed:=} {unit.many}.",
        ),
        answer=needed,
    )


@template("saving_goal", steps=4)
def earn_and_spend_a_week(d: Draw) -> Story:
    tom, guitar = d.person(), d.one_of(DREAMS)
    walks, pay = d.number(3, 9), d.number(4, 15)
    earned = walks * pay
    spent = d.number(3, int(earned) - 4)
    saved = earned - spent
    count, have = d.number(2, 12), d.number(5, 60)
    price = have + saved * count
    missing = price - have
    weeks = missing / saved
    return Story(
        facts=(
            d.pick(
                f"{tom} walks dogs {walks} times a week and gets {pay:$} each time.",
                f"Each week {tom} does {walks} small jobs for {pay:$} each.",
            ),
            d.pick(
                f"{tom} spends {spent:$} a week and saves the rest.",
                f"Of that money {tom} uses {spent:$} a week and saves what is left.",
            ),
            d.pick(
                f"{tom} has {have:$} and wants {guitar.a} for {price:$}.",
                f"{tom} owns {have:$} now, and the {guitar} in the window costs {price:$}.",
            ),
        ),
        question=d.pick(
            f"How many weeks does {tom} need to afford the {guitar}?",
            f"How many weeks must {tom} save for the {guitar}?",
            f"How many weeks pass until {tom} can buy the {guitar}?",
        ),
        solution=(
            f"{tom} earns {earned:=$} a week.",
            f"{tom} saves {saved:=$} a week.",
            f"The missing money is {missing:=$}.",
            f"It takes {weeks:=} weeks.",
        ),
        answer=weeks,
    )


@template("percent_change", steps=2)
def interest_for_a_year(d: Draw) -> Story:
    tom, rate, start = d.person(), d.number(1, 12), d.number(50, 2000, 50)
    interest = start.percent(rate)
    now = start + interest
    return Story(
        facts=(
            d.pick(
                f"{tom} has {start:$} in a bank account.",
                f"{tom} brings {start:$} to the bank.",
                f"A bank keeps {start:$} for {tom}.",
            ),
            d.pick(
                f"The bank pays {rate}% interest a year.",
                f"After one year {rate}% interest is added.",
            ),
        ),
        question=d.pick(
            f"How much money does {tom} have after one year?",
            f"What is in {tom}'s account after a year?",
            f"How many dollars does the account of {tom} hold a year later?",
        ),
        solution=(
            d.pick(f"The interest is {interest:=$}.", f"The bank adds {interest:=$}."),
            f"After a year {tom} has {now:=$}.",
        ),
        answer=now,
    )


@template("change_back", steps=2)
def coins_in_the_purse(d: Draw) -> Story:
    tom, (scarf, cap) = d.person(), d.two_of(CLOTHES)
    p, q = d.price(4, 45), d.price(4, 45)
    bill = p + q
    low = int(bill) // 20 * 20 + 20
    paid = d.number(low, low + 60, 20)
    change = paid - bill
    return Story(
        facts=(
            d.pick(
                f"{tom} wants {scarf.a} for {p:$} and {cap.a} for {q:$}.",
                f"In a shop {tom} sees {scarf.a} for {p:$} and {cap.a} for {q:$} and takes both.",
            ),
            d.pick(
                f"{tom} pays with {paid:$}.",
                f"{tom} takes {paid:$} from a purse to pay.",
                f"{tom} lays {paid:$} in cash on the table.",
            ),
        ),
        question=d.pick(
            f"How much change does {tom} receive?",
            f"How many dollars does {tom} get back?",
            f"What amount does {tom} get in return?",
        ),
        solution=(
            d.pick(f"Both things cost {bill:=$}.", f"The bill is {bill:=$}."),
            f"The change is {change:=$}.",
        ),
        answer=change,
    )


@template("work_backward", steps=3, held_out=True)
def wallet_before_shopping(d: Draw) -> Story:
    tom, (a, b) = d.person(), d.two_of(BILLS)
    p, q, left = d.number(5, 80), d.number(5, 80), d.number(3, 60)
    spent = p + q
    before = left + spent
    gift = d.number(1, int(before) - 1)
    start = before - gift
    return Story(
        facts=(
            d.pick(
                f"{tom} has some money and gets {gift:$} from an aunt.",
                f"An aunt adds {gift:$} to {tom}'s money.",
            ),
            d.pick(
                f"{tom} pays {p:$} for {a} and {q:$} for {b}.",
                f"Then {p:$} go to {a} and {q:$} to {b}.",
            ),
            d.pick(f"{tom} has {left:$} left.", f"What remains in {tom}'s wallet is {left:$}."),
        ),
        question=d.pick(
            f"How much money did {tom} have at the start?",
            f"How many dollars did {tom} have before the gift?",
            f"What was in {tom}'s wallet before the aunt came?",
        ),
        solution=(
            f"{tom} spent {spent:=$}.",
            f"Before that {tom} had {before:=$}.",
            f"Without the gift it was {start:=$}.",
        ),
        answer=start,
    )


@template("profit", steps=3)
def craft_fair(d: Draw) -> Story:
    tom, mug = d.person(), d.one_of(CRAFTS)
    n, price, table = d.number(4, 40), d.price(3, 20), d.number(2, 10)
    taken = n * price
    material = d.number(1, int(taken) - int(table) - 1)
    costs = material + table
    gain = taken - costs
    return Story(
        facts=(
            d.pick(
                f"{tom} makes {mug(n)} and sells each for {price:$}.",
                f"At a fair {tom} sells {mug(n)} at {price:$} each.",
            ),
            d.pick(
                f"The material costs {material:$} and the table at the fair {table:$}.",
                f"{tom} pays {material:$} for material and {table:$} for a table.",
            ),
        ),
        question=d.pick(
            f"How much profit does {tom} make?",
            f"What does {tom} earn after the costs?",
            f"How many dollars does {tom} gain?",
        ),
        solution=(
            f"The {mug.many} bring in {taken:=$}.",
            f"The costs are {costs:=$}.",
            d.pick(f"The profit is {gain:=$}.", f"{tom} gains {gain:=$}."),
        ),
        answer=gain,
    )


@template("leftover", steps=2)
def money_after_bills(d: Draw) -> Story:
    tom, (a, b) = d.person(), d.two_of(BILLS)
    p, q, r = d.number(200, 900, 5), d.number(20, 200, 5), d.number(10, 90)
    bills = total(p, q, r)
    wage = bills + d.number(20, 900)
    rest = wage - bills
    return Story(
        facts=(
            d.pick(
                f"{tom} earns {wage:$} a month.",
                f"{tom}'s wage is {wage:$} a month.",
                f"Every month {tom} takes home {wage:$}.",
            ),
            d.pick(
                f"The bills are {p:$} for rent, {q:$} for {a} and {r:$} for {b}.",
                f"{tom} pays {p:$} for rent, {q:$} for {a} and {r:$} for {b}.",
            ),
        ),
        question=d.pick(
            f"How much money does {tom} have left each month?",
            f"How many dollars are left of {tom}'s wage?",
            f"What is left for {tom} after these bills?",
        ),
        solution=(
            d.pick(f"The bills add up to {bills:=$}.", f"In all {tom} pays {bills:=$}."),
            f"{tom} has {rest:=$} left.",
        ),
        answer=rest,
    )


TEMPLATES = (
    pocket_money_goal,
    earn_and_spend_a_week,
    interest_for_a_year,
    coins_in_the_purse,
    wallet_before_shopping,
    craft_fair,
    money_after_bills,
)
