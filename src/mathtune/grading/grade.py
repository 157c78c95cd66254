r"""mathtune's own grader: is the final answer of a completion the gold answer?

One function serves evaluation, sample filtering and rewards. Its rules, in order:

1. The text is cut where the model goes on to a question of its own (``extract.cut_next_question``).
2. The answer is taken from the last ``\boxed{…}``, else the last ``####``, else the last "answer
   is", else it is the last number of the text. A place without a number is passed over.
3. Numbers are read exactly (``numbers``). What follows one is a unit: ``3 hours and 20 minutes``
   reads 3. A range, a time, a list or an unevaluated expression is an answer, and never right.
4. They are compared exactly. Where the gold is written with decimals, an answer that rounds to it
   at as many (halves away from zero) is equal too: ``"18.0"`` takes 17.96, ``"18"`` does not. A
   percentage stands for either of its values.
5. A gold answer that is no number goes to math-verify in a process of its own (``symbolic``).
6. No number at all is ``NO_ANSWER``; a completion that hit the token limit and marks no answer is
   ``TRUNCATED``: the last number of an unfinished text is an intermediate result.
"""

from __future__ import annotations

from fractions import Fraction

from mathtune.grading import symbolic
from mathtune.grading.extract import candidates, cut_next_question, grade_no_answer
from mathtune.grading.numbers import Number, read_number
from mathtune.records import Grade, Outcome

GRADER_VERSION = "2"
"""Changes whenever a verdict may change; saved results name the version that graded them."""


def grade(completion: str, gold: str | Fraction, *, finished: bool = True) -> Grade:
    """Grade one completion against the gold answer.

    Safe from several threads. Linear in the length of the completion.

    Args:
        completion: What the model wrote after the prompt.
        gold: The final answer: an exact number, or as written in the source (``"1,450"``,
            ``"$5.00"``, ``"33.33"``). Text that is no number is taken for LaTeX or words; a gold
            answer without content makes every grade ``UNGRADABLE``.
        finished: False where the completion ended because it hit the token limit.

    Returns:
        The outcome with the text it rests on. ``value`` of a percentage is the number before the
        sign (50 for ``50%``).
    """
    text, was_cut = cut_next_question(completion)
    # A model that goes on to the next question has finished its answer to this one.
    finished = finished or was_cut
    if isinstance(gold, str):
        gold = gold.strip()
        wanted = read_number(gold)
        if wanted is None:
            return symbolic.grade_symbolic(text, gold, finished=finished)
    else:
        wanted = Number(str(gold), Fraction(gold), False, 0, 0, 0)
    for candidate in candidates(text):
        number = candidate.number
        if number is None:
            continue
        if candidate.method == "last_number" and not finished:
            break
        if number.value is None:
            outcome = Outcome.WRONG
            reason = f"{number.text} is not a single plain number"
        elif _equal(number, wanted):
            outcome, reason = Outcome.CORRECT, f"{number.text} equals the gold answer {wanted.text}"
        else:
            outcome, reason = Outcome.WRONG, f"{number.text} is not the gold answer {wanted.text}"
        return Grade(outcome, number.text, number.value, candidate.method, reason)
    return grade_no_answer(text, finished=finished)


def _equal(answer: Number, gold: Number) -> bool:
    """Compare exactly, or at the gold's decimals; one percent sign stands for either value."""
    if answer.value is None or gold.value is None:
        return False
    values = [answer.value]
    golds = [gold.value]
    # Two percentages are compared as such: of 50% and 5000% neither means the other.
    if answer.percent and not gold.percent:
        values.append(answer.value / 100)
    elif gold.percent and not answer.percent:
        golds.append(gold.value / 100)
    if any(value == wanted for value in values for wanted in golds):
        return True
    return gold.decimals > 0 and any(
        _rounded(value, gold.decimals) == gold.value for value in values
    )


def _rounded(value: Fraction, decimals: int) -> Fraction:
    """Round to so many decimals, halves away from zero."""
    scale = 10**decimals
    units = (2 * abs(value.numerator) * scale + value.denominator) // (2 * value.denominator)
    return Fraction(-units if value < 0 else units, scale)
