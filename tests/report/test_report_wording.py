from __future__ import annotations

import pytest

from mathtune.report import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.8, "80.0\u00a0%"),
        (0.00391, "0.4\u00a0%"),
        (float("nan"), "—"),
        (None, "—"),
        (True, "—"),  # a flag is no share
    ],
)
def test_shares_are_written_as_percent(value, text):
    assert wording.percent(value) == text


def test_differences_carry_their_sign_and_a_true_minus():
    assert wording.signed_points(0.79) == "+79.0"
    assert wording.signed_points(-0.0125) == "−1.2"  # -1.25 rounds half to even
    assert wording.difference_interval(-0.031, 0.5) == "−3.1 to +50.0"
    assert wording.difference_interval(None, 0.5) == "—"


def test_a_p_value_is_never_zero():
    assert wording.p_value(1e-40) == "<\u00a00.0001"
    assert wording.p_value(0.00123) == "0.0012"
    assert wording.p_value(0.5) == "0.50"


def test_durations():
    assert wording.duration(4.25) == "4.2\u00a0s"
    assert wording.duration(171.4) == "2\u00a0min 51\u00a0s"  # 171 = 2 * 60 + 51
    assert wording.duration(7500) == "2\u00a0h 05\u00a0min"  # 7500 = 2 * 3600 + 5 * 60
    assert wording.estimated_duration(0.2) == "1 s"
    assert wording.estimated_duration(119.4) == "120 s"
    assert wording.estimated_duration(11_540) == "3.2 hours"  # not "3 h 12 min 20 s"
    assert wording.estimated_duration(1234 * 86_400) == "1,200 days"
    assert wording.duration(59.7) == "1\u00a0min 0\u00a0s"
