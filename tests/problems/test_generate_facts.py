"""Plain arithmetic questions."""

from __future__ import annotations

import re
from fractions import Fraction

from mathtune.arithmetic import evaluate
from mathtune.problems.generate.facts import facts


def test_answers_are_exact_and_the_question_is_what_is_solved() -> None:
    problems = facts(3000, seed=1)
    assert facts(500, seed=1) == problems[:500] != facts(500, seed=2)
    for problem in problems:
        *lines, last = problem.answer.split("\n")
        assert (problem.type, problem.steps, last) == ("facts", len(lines), f"#### {problem.gold}")
        for line in lines:
            spaced, expression, stated, shown = re.fullmatch(
                r"(.+) = <<(.+)=(.+)>>(.+)", line
            ).groups()
            assert spaced.replace(" ", "") == expression
            assert evaluate(expression) == Fraction(stated) > 0 and stated == shown
        # The whole question, worked out by the usual precedence, is the gold answer.
        [asked] = re.findall(r"\d[\d.+\-*/ ]*\d", problem.question)
        assert evaluate(asked.replace(" ", "")) == Fraction(problem.gold)


def test_all_operations_sizes_and_both_lengths_occur() -> None:
    problems = facts(2000)
    questions = "\n".join(problem.question for problem in problems)
    for pattern in (
        r"\d{3} \+ \d{3}",
        r"\d \* \d{3}",
        r"\d{2} \* \d{2,3}",
        r"\d{3,} / \d",
        r"\d - \d",
        r"\d\.\d",
        r"/ 100",
    ):
        assert re.search(pattern, questions), pattern
    assert {problem.steps for problem in problems} == {1, 2}
    assert len({problem.question.split()[0] for problem in problems}) > 4
