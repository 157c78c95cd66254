r"""mathtune's own grader: is the final answer of a completion the gold answer?

One function serves evaluation, sample filtering and rewards. Its rules, in order:

1. A thought is skipped, and the text is cut where the model, having answered, goes on to a
   question of its own (``visible``).
2. The answer is taken from the last ``<answer>``, else the last ``\boxed{…}``, else the last
   ``####``, else the last "answer is", else it is the last number of the text (``extract``). A
   marked place without an answer is skipped; words there are an answer.
3. What is marked is read completely (``values``). Two values, a relation, a range, a time or an
   unevaluated sum are an answer, and never right; roots, powers and the like go to math-verify.
4. Numbers are compared exactly. Where the gold is written with decimals, an answer that rounds to
   it at as many (halves away from zero) is equal too: ``"18.0"`` takes 17.96, ``"18"`` does not.
   Twelve or more decimals are float noise and compared at twelve. A percentage matches either of
   its values.
5. A gold answer that is not a number is compared as text, then by math-verify in its own process
   (``symbolic``).
6. No answer at all is ``NO_ANSWER``; a completion that hit the token limit and marks no answer is
   ``TRUNCATED``: the last number of an unfinished text is an intermediate result.
"""

from __future__ import annotations

from fractions import Fraction

from mathtune.errors import DataError
from mathtune.grading import symbolic
from mathtune.grading.extract import candidates
from mathtune.grading.numbers import Kind, Number, ascii_digits, read_number
from mathtune.grading.visible import cut_next_question, find_visible, without_thoughts
from mathtune.records import Grade, Outcome

GRADER_VERSION = "2"
"""Changes whenever a verdict may change; saved results name the version that graded them."""

_NOISE_DECIMALS = 12


def grade(completion: str, gold: str | Fraction, *, finished: bool = True) -> Grade:
    """Grade one completion against the gold answer.

    Safe from several threads. Linear in the length of the completion.

    Args:
        completion: What the model wrote after the prompt.
        gold: The final answer: an exact number, or as written in the source (``"1,450"``,
            ``"$5.00"``, ``"33.33"``). Text that is not a number is treated as LaTeX or words; a
            gold answer without content makes every grade ``UNGRADABLE``.
        finished: False where the completion ended because it hit the token limit.

    Returns:
        The outcome with the text it is based on. ``value`` of a percentage is the number before the
        sign (50 for ``50%``).
    """
    visible = find_visible(completion)
    if visible.start or visible.end < len(completion):
        completion = completion[visible.start : visible.end]
    text, was_cut = cut_next_question(ascii_digits(completion))
    # A model that goes on to the next question has finished its answer to this one.
    finished = finished or was_cut
    if isinstance(gold, str):
        gold = gold.strip()
        wanted = read_number(gold)
        if wanted is None:
            last_counts = finished and visible.closed
            found = symbolic.grade_symbolic(text, gold, finished=last_counts)
            if found is None:
                return _no_answer(text, finished=finished)
            return found
    else:
        wanted = Number(str(gold), Fraction(gold), False, 0, 0, 0)
    for candidate in candidates(text):
        number = candidate.number
        if number is None:
            continue
        if candidate.method == "last_number" and not (finished and visible.closed):
            break
        if number.kind is Kind.WORDS and not finished and candidate.end >= len(text.rstrip()):
            break  # the number may have come next
        return _grade_number(candidate.method, number, wanted)
    return _no_answer(text, finished=finished)


def _grade_number(method: str, number: Number, wanted: Number) -> Grade:
    if number.expression and wanted.value is not None:
        reply = symbolic.equal_to_number(wanted.value, number.expression)
        if isinstance(reply, str):
            return Grade(Outcome.UNGRADABLE, number.text, None, method, reply)
        outcome = Outcome.CORRECT if reply else Outcome.WRONG
        verb = "equals" if reply else "is not"
        return Grade(outcome, number.text, None, method, f"{number.text} {verb} {wanted.text}")
    if number.value is None:
        outcome, reason = Outcome.WRONG, f"{number.text} is {number.kind.value}"
    elif _equal(number, wanted):
        outcome, reason = Outcome.CORRECT, f"{number.text} equals the gold answer {wanted.text}"
    else:
        outcome, reason = Outcome.WRONG, f"{number.text} is not the gold answer {wanted.text}"
    return Grade(outcome, number.text, number.value, method, reason)


def _no_answer(text: str, *, finished: bool) -> Grade:
    """Grade a completion in which no answer was found."""
    if not finished:
        return Grade(Outcome.TRUNCATED, reason="the token limit was hit before an answer was given")
    if not text.strip():
        return Grade(Outcome.NO_ANSWER, reason="the completion has no answer outside its thought")
    return Grade(Outcome.NO_ANSWER, reason="the completion has no answer")


def _equal(answer: Number, gold: Number) -> bool:
    """Compare exactly, or at the gold's decimals; a lone percent sign matches either value."""
    if answer.value is None or gold.value is None:
        return False
    values = [answer.value]
    golds = [gold.value]
    # Two percentages are compared as such: 50% never means 5000%.
    if answer.percent and not gold.percent:
        values.append(answer.value / 100)
    elif gold.percent and not answer.percent:
        golds.append(gold.value / 100)
    if any(value == wanted for value in values for wanted in golds):
        return True
    if not gold.decimals:
        return False
    is_noise = len(gold.text.partition(".")[2]) >= _NOISE_DECIMALS
    decimals = _NOISE_DECIMALS if is_noise else gold.decimals
    rounded = _rounded(gold.value, decimals)
    return any(_rounded(value, decimals) == rounded for value in values)


def _rounded(value: Fraction, decimals: int) -> Fraction:
    """Round to this many decimals, halves away from zero."""
    scale = 10**decimals
    units = (2 * abs(value.numerator) * scale + value.denominator) // (2 * value.denominator)
    return Fraction(-units if value < 0 else units, scale)


def gold_from_answer(answer: str) -> str:
    r"""Return the final answer as written in a gold solution.

    A thought is skipped. It is searched for in the same places as a completion's answer: the
    content of the last ``<answer>…</answer>`` or ``\boxed{…}``; else what follows the last
    ``####``; else the number after the last "answer is"; else, for free prose such as Orca-Math's,
    the last number of the text.

    Args:
        answer: The gold solution as published.

    Returns:
        For example ``"1,450"``, ``"$5.00"``, ``"50%"`` or ``"\\frac{\\pi}{2}"``; never empty.

    Raises:
        DataError: The solution states no final answer.
    """
    for candidate in candidates(ascii_digits(without_thoughts(answer))):
        if candidate.method in ("answer_tag", "boxed", "hash"):
            if candidate.text:
                return candidate.text
        elif candidate.number is not None and candidate.number.kind is not Kind.WORDS:
            is_number = candidate.number.kind is Kind.NUMBER or candidate.method == "last_number"
            return candidate.number.text if is_number else candidate.text.strip(" .*")
    shown = answer if len(answer) <= 60 else answer[:59] + "…"
    raise DataError(
        f"the gold solution {shown!r} states no final answer; "
        "end it with '#### <number>' or \\boxed{<number>}, or drop the problem"
    )
