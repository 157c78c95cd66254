"""Plain arithmetic as questions and answers, to teach a small model digits before stories."""

from __future__ import annotations

from fractions import Fraction

from mathtune.problems.generate.framework import Draw
from mathtune.problems.generate.numbers import Num
from mathtune.records import Problem, content_id


def facts(n: int, seed: int = 0) -> list[Problem]:
    """Write ``n`` arithmetic questions with worked answers; type ``"facts"``, 1 or 2 steps.

    Sums and differences of up to three digits, products of up to two by three digits, exact
    division, amounts with cents, and expressions of two operations solved in two steps. Results
    are positive. Small facts come more than once, as in practice.
    """
    draw = Draw(seed)
    return [_fact(draw) for _ in range(n)]


def _fact(draw: Draw) -> Problem:
    steps = draw.one_of(_KINDS)(draw)
    # The whole expression: the last step, with the step before it written out.
    text = steps[-1].expression
    if len(steps) == 2:
        text = f"{steps[0].expression}{text.removeprefix(steps[0].text)}"
    for sign in "+-*/":
        text = text.replace(sign, f" {sign} ")
    question = draw.pick(
        f"What is {text}?",
        f"Calculate {text}.",
        f"{text} = ?",
        f"Work out {text}.",
        f"Find {text}.",
    )
    lines = [_spaced(step) for step in steps]
    gold = steps[-1].text
    answer = "\n".join([*lines, f"#### {gold}"])
    return Problem(
        content_id(question, answer), question, answer, gold, "generated", "facts", len(steps)
    )


def _spaced(step: Num) -> str:
    """``47 + 85 = <<47+85=132>>132``."""
    shown = step.expression
    for sign in "+-*/":
        shown = shown.replace(sign, f" {sign} ")
    return f"{shown} = <<{step.expression}={step.text}>>{step.text}"


def _sum(d: Draw) -> tuple[Num, ...]:
    high = d.pick(9, 99, 99, 999)
    return (d.number(1, high) + d.number(1, high),)


def _difference(d: Draw) -> tuple[Num, ...]:
    high = d.pick(9, 99, 99, 999)
    low = d.number(1, high)
    return (Num(low.value + d.number(1, high).value) - low,)


def _product(d: Draw) -> tuple[Num, ...]:
    return (d.number(2, d.pick(9, 12, 99)) * d.number(2, d.pick(9, 12, 99, 999)),)


def _quotient(d: Draw) -> tuple[Num, ...]:
    divisor, result = d.number(2, d.pick(9, 12, 50)), d.number(2, d.pick(12, 99, 250))
    return (Num(divisor.value * result.value) / divisor,)


def _cents(d: Draw) -> tuple[Num, ...]:
    amount, other = _amount(d), _amount(d)
    if d.chance(0.4):
        return (amount * d.number(2, 12),)
    if d.chance(0.5) and amount.value > other.value:
        return (amount - other,)
    return (amount + other,)


def _amount(d: Draw) -> Num:
    coin = d.pick(2, 4, 10, 20)
    return Num(Fraction(d.number(1, 40 * coin).value, coin))


def _share(d: Draw) -> tuple[Num, ...]:
    """A fraction or a percentage of a whole, as word problems need it."""
    if d.chance(0.5):
        bottom = d.number(2, 10)
        top = d.number(1, int(bottom.value) - 1)
        return (Num(bottom.value * d.number(2, 40).value).times(top, bottom),)
    return (d.number(20, 400, 20).percent(d.number(5, 75, 5)),)


def _product_then_sum(d: Draw) -> tuple[Num, ...]:
    product = d.number(2, d.pick(12, 99)) * d.number(2, d.pick(9, 30))
    if d.chance(0.4):
        return product, product - d.number(1, int(product.value) - 1)
    return product, product + d.number(1, d.pick(99, 999))


def _quotient_then_sum(d: Draw) -> tuple[Num, ...]:
    divisor, result = d.number(2, 12), d.number(2, 60)
    quotient = Num(divisor.value * result.value) / divisor
    return quotient, quotient + d.number(1, 99)


def _three_terms(d: Draw) -> tuple[Num, ...]:
    first = d.number(2, 500) + d.number(2, 500)
    if d.chance(0.5):
        return first, first - d.number(1, int(first.value) - 1)
    return first, first + d.number(2, 500)


_KINDS = (
    _sum,
    _difference,
    _product,
    _product,
    _quotient,
    _cents,
    _share,
    _product_then_sum,
    _quotient_then_sum,
    _three_terms,
)
