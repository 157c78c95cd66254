from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from mathtune.report import charts
from mathtune.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series


def points_of(svg: str, role: str) -> list[tuple[float, float]]:
    """Return the corners of a curve in user units, as (x, y)."""
    tree = ElementTree.fromstring(svg)
    path = next(e for e in tree.iter("path") if e.get("class") == f"curve {role}")
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path.get("d", ""))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_linear_ticks_are_round_and_cover_the_values():
    scale = charts.linear_scale([0.42, 2.9])
    # (2.9 - 0.42) / 5 = 0.496, so the step is 0.5; from floor(0.42 / 0.5) = 0 to ceil(5.8) = 6.
    assert scale.ticks == (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
    assert not scale.log
    assert scale.at(1.5) == 0.5


def test_one_value_still_has_an_axis():
    scale = charts.linear_scale([4.0])
    assert scale.low < 4.0 < scale.high
    assert charts.linear_scale([0.0]).high > 0


def test_the_axis_is_logarithmic_where_the_range_is_large():
    assert not charts.value_scale([1.0, 19.0]).log
    scale = charts.value_scale([1.2, 900.0])
    assert scale.log
    assert scale.ticks == (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
    assert scale.at(1000.0**0.5) == pytest.approx(0.5)  # half of three decades
    wide = charts.value_scale([1.0, 1e9])
    assert wide.log and len(wide.ticks) <= 7 and wide.high >= 1e9
    assert not charts.value_scale([0.0, 1e6]).log  # zero has no logarithm


def test_points_lie_where_the_axes_say():
    line = Series("training", "training", ((0, 0.0), (100, 10.0)))
    svg = charts.line_chart("Loss", [line], y_label="loss")
    assert svg is not None
    # Axes 0..100 and 0..10: the first point is the lower left corner, the last the upper right.
    assert points_of(svg, "training") == [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]


def test_a_chart_says_what_it_shows():
    loss = Series("training", "training", ((10, 2.0), (20, 1.0)))
    validation = Series("validation", "validation", ((20, 1.5),), markers=True)
    svg = charts.line_chart("Loss by step", [loss, validation], y_label="loss", mark=(20, "best"))
    assert svg is not None
    tree = ElementTree.fromstring(svg)
    assert tree.get("role") == "img"
    assert tree.findtext("title") == "Loss by step"
    assert "training: 2 values, from 2 at step 10 to 1 at step 20." in (tree.findtext("desc") or "")
    titles = [title.text for title in tree.iter("title")]
    assert "validation: 1.5 at step 20" in titles
    texts = [text.text for text in tree.iter("text")]
    assert {"training", "validation", "best", "step", "loss"} <= set(texts)


def test_ticks_of_an_axis_have_equal_decimals():
    svg = charts.line_chart("Rate", [Series("a", "a", ((0, 0.0), (10, 0.01)))], y_label="rate")
    assert svg is not None
    ticks = [t.text for t in ElementTree.fromstring(svg).iter("text") if t.get("class") == "tick"]
    assert {"0.000", "0.002", "0.010"} <= set(ticks)


def test_a_schedule_that_falls_to_almost_nothing_stays_on_a_linear_scale() -> None:
    line = Series("", "training", ((0, 0.01), (50, 0.005), (100, 1e-7)))
    assert "(log scale)" in (charts.line_chart("Rate", [line], y_label="rate") or "")
    assert "(log scale)" not in (
        charts.line_chart("Rate", [line], y_label="rate", linear=True) or ""
    )


def test_what_is_not_finite_is_left_out():
    line = Series("t", "training", ((1, 1.0), (2, float("nan")), (3, float("inf")), (4, 2.0)))
    svg = charts.line_chart("Loss", [line], y_label="loss")
    assert svg is not None and len(points_of(svg, "training")) == 2
    nothing = Series("t", "training", ((1, float("nan")),))
    assert charts.line_chart("Loss", [nothing], y_label="loss") is None


def test_many_points_are_drawn_as_means_and_said_so():
    line = Series("t", "training", tuple((step, float(step % 2)) for step in range(1000)))
    svg = charts.line_chart("Loss", [line], y_label="loss")
    assert svg is not None
    # ceil(1000 / 160) = 7 points in a mean, so ceil(1000 / 7) = 143 are drawn.
    assert len(points_of(svg, "training")) == 143
    assert "(mean of 7)" in svg


def test_labels_cannot_become_markup():
    hostile = '</title><script>alert(1)</script>"'
    line = Series(hostile, "training", ((1, 1.0), (2, 2.0)))
    svg = charts.line_chart(hostile, [line], x_label=hostile, y_label=hostile, mark=(1, hostile))
    assert svg is not None
    for drawing in (svg, charts.rate_bar(hostile, "base", {"value": 0.5})):
        assert "<script" not in drawing
        assert hostile in (ElementTree.fromstring(drawing).findtext("title") or "")


def test_a_bar_is_as_long_as_its_rate_and_its_whisker_spans_the_interval():
    rate = {"value": 0.4, "low": 0.31, "high": 0.498, "correct": 40, "n": 100}
    tree = ElementTree.fromstring(charts.rate_bar("tuned", "tuned", rate, "95 % "))
    fill = next(rect for rect in tree.iter("rect") if rect.get("class") == "fill tuned")
    assert fill.get("width") == "40"
    whisker = next(path for path in tree.iter("path") if path.get("class") == "whisker")
    assert (whisker.get("d") or "").startswith("M31 7H49.8")
    assert tree.findtext("title") == (
        "tuned: 40.0\u00a0%, 95 % interval 31.0–49.8\u00a0%, 40 of 100"
    )


def test_a_bar_without_a_value_is_an_empty_track():
    tree = ElementTree.fromstring(charts.rate_bar("base", "base", {"value": None}))
    assert [rect.get("class") for rect in tree.iter("rect")] == ["track"]
