"""Equations of data sets as worked solutions."""

from __future__ import annotations

import pytest

from mathtune.grading.grade import grade
from mathtune.grading.steps import Verdict, check_steps
from mathtune.problems.columns.worked_equation import worked_solution


@pytest.mark.parametrize(
    ("equation", "gold", "expected"),
    [
        ("( 76.0 - 25.0 )", "51.0", ["76-25 = <<76-25=51>>51"]),
        (
            "( ( 8.0 + 4.0 ) * 3.0 )",
            "36",
            ["8+4 = <<8+4=12>>12", "12*3 = <<12*3=36>>36"],
        ),
        ("( 6.0 - ( 3.0 + 2.0 ) )", "1", ["3+2 = <<3+2=5>>5", "6-5 = <<6-5=1>>1"]),
        ("7+2=9", "9", ["7+2 = <<7+2=9>>9"]),
        ("2 + 3 * 4", "14", ["2 + 3 * 4 = <<2 + 3 * 4=14>>14"]),
        ("( 3.0 / 2.0 )", "1.5", ["3/2 = <<3/2=1.5>>1.5"]),
        ("( ( 2.0 - 5.0 ) + 9.0 )", "6", ["2-5 = <<2-5=-3>>-3", "-3+9 = <<-3+9=6>>6"]),
        # Kept as they stand: a wrong result, no exact decimal, no arithmetic, nothing to do.
        ("( 4.0 - 2.0 )", "3", ["( 4.0 - 2.0 ) = 3"]),
        ("( ( 1.0 / 3.0 ) * 3.0 )", "1", ["( ( 1.0 / 3.0 ) * 3.0 ) = 1"]),
        ("7+2=10", "9", ["7+2=10"]),
        ("x = 4", "4", ["x = 4"]),
        ("( 4.0 / 0.0 )", "4", ["( 4.0 / 0.0 ) = 4"]),
        ("5.0", "5", ["5.0 = 5"]),
        ("", "5", []),
    ],
)
def test_steps_of_an_equation(equation: str, gold: str, expected: list[str]) -> None:
    solution = worked_solution(equation, gold)
    assert solution.splitlines() == [*expected, f"#### {gold}"]
    assert grade(solution, gold).correct


def test_steps_hold() -> None:
    report = check_steps(worked_solution("( ( 8.0 + 4.0 ) * 3.0 )", "36"))
    assert [str(each.exact) for each in report.equations if each.annotation] == ["12", "36"]
    assert {each.verdict for each in report.equations} == {Verdict.EXACT}
