"""In shops and at the market."""

from __future__ import annotations

from mathtune.problems.generate.framework import Draw, Story, template
from mathtune.problems.generate.words import CLOTHES, CONTAINERS, FRUIT, STATIONERY, TOYS, nouns

FURNITURE = nouns("lamp, chair, desk, shelf/shelves, sofa, mirror, rug, bicycle, tent, radio")


@template("total_cost", steps=3)
def two_kinds_of_fruit(d: Draw) -> Story:
    tom, (apple, pear) = d.person(), d.two_of(FRUIT)
    n, m, p, q = d.number(2, 15), d.number(2, 15), d.price(1, 6), d.price(1, 6)
    first, second = n * p, m * q
    bill = first + second
    return Story(
        facts=(
            d.pick(
                f"{tom} buys {apple(n)} and {pear(m)} at the market.",
                f"At the market {tom} picks {apple(n)} and {pear(m)}.",
                f"{tom}'s basket holds {apple(n)} and {pear(m)}.",
            ),
            d.pick(
                f"Each {apple} costs {p:$} and each {pear} costs {q:$}.",
                f"The price is {p:$} for {apple.a} and {q:$} for {pear.a}.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} pay in all?",
            f"What is the total price of {tom}'s fruit?",
            f"How many dollars does {tom} spend on fruit?",
        ),
        solution=(
            f"The {apple.many} cost {first:=$}.",
            f"The {pear.many} cost {second:=$}.",
            d.pick(f"In all {tom} pays {bill:=$}.", f"Together that is {bill:=$}."),
        ),
        answer=bill,
    )


@template("total_cost", steps=2, held_out=True)
def parcel_with_shipping(d: Draw) -> Story:
    tom, toy = d.person(), d.one_of(TOYS)
    n, p, fee = d.number(2, 20), d.price(2, 30), d.price(3, 12)
    goods = n * p
    bill = goods + fee
    return Story(
        facts=(
            d.pick(
                f"{tom} orders {toy(n)} from an online shop.",
                f"An online shop packs {toy(n)} for {tom}.",
            ),
            d.pick(f"One {toy} is sold for {p:$}.", f"The shop asks {p:$} for each {toy}."),
            d.pick(f"Shipping adds {fee:$} to the order.", f"The parcel costs {fee:$} to send."),
        ),
        question=d.pick(
            f"How much is {tom}'s whole order?",
            f"What does the order cost {tom} with shipping?",
            f"How many dollars must {tom} pay for the order?",
        ),
        solution=(
            d.pick(
                f"The {toy.many} alone cost {goods:=$}.", f"{tom} pays {goods:=$} for the goods."
            ),
            f"With shipping it is {bill:=$}.",
        ),
        answer=bill,
    )


@template("change_back", steps=2)
def one_bill_one_item(d: Draw) -> Story:
    tom, pen = d.person(), d.one_of(STATIONERY)
    n, p = d.number(2, 9), d.price(1, 9)
    cost = n * p
    low = int(cost) // 10 * 10 + 10
    paid = d.number(low, low + 40, 10)
    change = paid - cost
    return Story(
        facts=(
            d.pick(
                f"{tom} takes {pen(n)} to the till.",
                f"{tom} needs {pen(n)} for class.",
                f"{tom} chooses {pen(n)} in a store.",
            ),
            d.pick(f"Each {pen} costs {p:$}.", f"The {pen.many} are {p:$} each."),
            d.pick(f"{tom} pays with {paid:$}.", f"{tom} hands over {paid:$}."),
        ),
        question=d.pick(
            f"How much change does {tom} get?",
            f"How many dollars does {tom} get back?",
            f"What is {tom}'s change?",
        ),
        solution=(
            f"The {pen.many} cost {cost:=$}.",
            d.pick(f"The change is {change:=$}.", f"{tom} gets back {change:=$}."),
        ),
        answer=change,
    )


@template("change_back", steps=4)
def shirts_and_caps(d: Draw) -> Story:
    tom, (shirt, cap) = d.person(), d.two_of(CLOTHES)
    n, m, p, q = d.number(2, 6), d.number(2, 6), d.price(5, 25), d.price(5, 25)
    first, second = n * p, m * q
    bill = first + second
    low = int(bill) // 50 * 50 + 50
    paid = d.number(low, low + 100, 50)
    change = paid - bill
    return Story(
        facts=(
            d.pick(
                f"A store sells {shirt.many} at {p:$} and {cap.many} at {q:$}.",
                f"In a store {shirt.a} costs {p:$} and {cap.a} costs {q:$}.",
            ),
            d.pick(
                f"{tom} buys {shirt(n)} and {cap(m)}.",
                f"{tom} wants {shirt(n)} and {cap(m)} for the family.",
            ),
            d.pick(f"{tom} gives the clerk {paid:$}.", f"{tom} pays with {paid:$} in cash."),
        ),
        question=d.pick(
            f"How much money does the clerk return to {tom}?",
            f"What change should {tom} get?",
            f"How many dollars does {tom} get back from the clerk?",
        ),
        solution=(
            f"The {shirt.many} cost {first:=$}.",
            f"The {cap.many} cost {second:=$}.",
            f"Together they cost {bill:=$}.",
            d.pick(f"{tom} gets back {change:=$}.", f"The change is {change:=$}."),
        ),
        answer=change,
    )


@template("percent_change", steps=2)
def sale_tag(d: Draw) -> Story:
    tom, lamp = d.person(), d.one_of(FURNITURE)
    rate, price = d.number(5, 60, 5), d.number(20, 400, 4)
    off = price.percent(rate)
    paid = price - off
    return Story(
        facts=(
            d.pick(
                f"{tom} finds {lamp.a} that normally costs {price:$}.",
                f"{tom} wants {lamp.a} with a price tag of {price:$}.",
                f"The regular price of {tom}'s new {lamp} is {price:$}.",
            ),
            d.pick(
                f"The store takes {rate}% off today.",
                f"The {lamp} is on sale at {rate}% off.",
                f"A coupon lowers the price by {rate}%.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} pay for the {lamp}?",
            f"What is the sale price of the {lamp}?",
            f"How many dollars does the {lamp} cost {tom} now?",
        ),
        solution=(
            d.pick(f"The discount is {off:=$}.", f"{rate}% of the price is {off:=$}."),
            d.pick(f"The {lamp} costs {paid:=$} now.", f"{tom} pays {paid:=$}."),
        ),
        answer=paid,
    )


@template("equal_groups", steps=2)
def packs_on_offer(d: Draw) -> Story:
    tom, ball, box = d.person(), d.one_of(TOYS), d.one_of(CONTAINERS)
    n, each, extra = d.number(2, 25), d.number(3, 30), d.number(2, 20)
    packed = n * each
    count = packed + extra
    return Story(
        facts=(
            d.pick(
                f"{tom} buys {box(n)} of {ball.many}.",
                f"{tom} carries home {box(n)} of {ball.many}.",
            ),
            d.pick(
                f"Each {box} holds {ball(each)}.",
                f"There are {ball(each)} in every {box}.",
                f"Every {box} comes with {ball(each)}.",
            ),
            d.pick(
                f"The shop adds {extra} more {ball.many} for free.",
                f"{tom} gets {extra} loose {ball.many} as a gift.",
            ),
        ),
        question=d.pick(
            f"How many {ball.many} does {tom} have?",
            f"How many {ball.many} does {tom} take home in all?",
            f"What is the total number of {tom}'s {ball.many}?",
        ),
        solution=(
            d.pick(
                f"The {box.many} hold {packed:=} {ball.many}.",
                f"There are {packed:=} {ball.many} in the {box.many}.",
            ),
            f"With the free ones {tom} has {count:=} {ball.many}.",
        ),
        answer=count,
    )


@template("percent_change", steps=5)
def discount_then_tax(d: Draw) -> Story:
    tom, shirt = d.person(), d.one_of(CLOTHES)
    n, price = d.number(2, 9), d.number(20, 80, 20)
    rate, tax_rate = d.number(5, 50, 5), d.pick(5, 10, 20)
    goods = n * price
    off = goods.percent(rate)
    reduced = goods - off
    tax = reduced.percent(tax_rate)
    paid = reduced + tax
    return Story(
        facts=(
            d.pick(
                f"{tom} buys {shirt(n)} that cost {price:$} each.",
                f"{tom} picks {shirt(n)} at {price:$} each.",
            ),
            d.pick(
                f"The shop gives {rate}% off.",
                f"A coupon takes {rate}% off the goods.",
            ),
            d.pick(
                f"After that a tax of {tax_rate}% is added.",
                f"Then a tax of {tax_rate}% is added to the lower price.",
            ),
        ),
        question=d.pick(
            f"How much does {tom} pay at the end?",
            f"What does {tom} pay with the tax?",
            f"How many dollars does {tom} pay for the {shirt.many}?",
        ),
        solution=(
            f"The {shirt.many} cost {goods:=$} at first.",
            f"The discount is {off:=$}.",
            f"The lower price is {reduced:=$}.",
            f"The tax is {tax:=$}.",
            d.pick(f"{tom} pays {paid:=$}.", f"With the tax it is {paid:=$}."),
        ),
        answer=paid,
    )


TEMPLATES = (
    two_kinds_of_fruit,
    parcel_with_shipping,
    one_bill_one_item,
    shirts_and_caps,
    sale_tag,
    packs_on_offer,
    discount_then_tax,
)
