"""Inline SVG: line charts with axes, and bars with intervals.

Built as an element tree, so that a label can never become markup. Colours come from the page's
style sheet by class name; the value under a point is its ``<title>``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from mathtune.report import wording

Point = tuple[float, float]

WIDTH, HEIGHT = 400, 260  # user units; the page scales the picture to its column
LEFT, RIGHT, TOP, BOTTOM = 72, 14, 40, 42
LOG_FROM = 20.0
"""A value axis turns logarithmic when its largest value is this many times the smallest."""
POINTS_SHOWN = 160
"""A curve with more points is drawn as means of neighbours, and says so."""


@dataclass(frozen=True, slots=True)
class Series:
    """One curve.

    Attributes:
        name: For the legend; empty if the chart's title says enough.
        role: CSS class that gives it its colour.
        points: ``(step, value)`` in the order of the steps.
        markers: Draw a dot at each point.
    """

    name: str
    role: str
    points: tuple[Point, ...]
    markers: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps values to ``[0, 1]`` and carries the ticks of its axis."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Return where on the axis ``value`` lies: 0 at ``low``, 1 at ``high``."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def linear_scale(values: Sequence[float], *, about: int = 5) -> Scale:
    """Return a linear scale over ``values`` with ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    step = _nice_step((high - low) / about)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def _ending_with(last: float, axis: Scale) -> Scale:
    """Return an axis without the space between its last value and the next tick."""
    ticks = tuple(tick for tick in axis.ticks if tick <= last)
    return Scale(axis.low, last, ticks) if last > 0 and len(ticks) > 1 else axis


def value_scale(values: Sequence[float]) -> Scale:
    """Return a logarithmic scale where the range is large and all values are positive."""
    low, high = min(values), max(values)
    if low <= 0 or high / low < LOG_FROM:
        return linear_scale(values)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    if last - first > 3:
        stride = math.ceil((last - first) / 6)
        last = first + stride * math.ceil((last - first) / stride)
        ticks = tuple(10.0**k for k in range(first, last + 1, stride))
    else:
        fine = [m * 10.0**k for k in range(first, last) for m in (1, 2, 5)] + [10.0**last]
        below = [tick for tick in fine if tick <= low * (1 + 1e-9)]
        above = [tick for tick in fine if tick >= high * (1 - 1e-9)]
        ticks = tuple(tick for tick in fine if below[-1] <= tick <= above[0])
    return Scale(ticks[0], ticks[-1], ticks, log=True)


def _nice_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if raw <= m * power * (1 + 1e-9))


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "step",
    y_label: str,
    mark: tuple[float, str] | None = None,
    linear: bool = False,
    legend: bool = True,
) -> str | None:
    """Draw curves over one x axis that starts at zero.

    Args:
        title: Read out by screen readers.
        series: Curves; points that are not finite are left out.
        x_label: Name of the x axis.
        y_label: Name of the y axis; ``(log scale)`` is added if it is one.
        mark: ``(x, text)`` of a vertical line, for example at the best checkpoint.
        linear: Never use a log scale: for values whose shape matters, such as a schedule.
        legend: Name the curves above the drawing; else the page does.

    Returns:
        An ``<svg>`` element as text, or None if there is no finite point.
    """
    series = [Series(s.name, s.role, _finite(s.points), s.markers) for s in series]
    series = [s for s in series if s.points]
    if not series:
        return None
    x_values = [0.0, *(x for s in series for x, _ in s.points), *([mark[0]] if mark else [])]
    x_axis = _ending_with(max(x_values), linear_scale(x_values))
    y_axis = (linear_scale if linear else value_scale)([y for s in series for _, y in s.points])
    top = 0 if legend and any(s.name for s in series) else TOP - 18  # no room for no legend
    about = _description(series, x_label, y_label)
    svg = _svg(f"0 {top} {WIDTH} {HEIGHT - top}", title, about, "chart")
    _draw_axes(svg, x_axis, y_axis, x_label, y_label)
    if mark:
        x = _x(x_axis, mark[0])
        _add(svg, "line", x1=x, x2=x, y1=TOP, y2=HEIGHT - BOTTOM, class_="mark")
        end = x > (LEFT + WIDTH - RIGHT) / 2
        _text(svg, x + (3 if end else -3), TOP - 5, mark[1], "end" if end else "start", "mark")
    for index, one in enumerate(series):
        _draw_series(svg, one, x_axis, y_axis, x_label)
        if not (legend and one.name):
            continue
        x = LEFT + 150 * index
        _add(svg, "line", x1=x, x2=x + 22, y1=12, y2=12, class_=f"curve {one.role}")
        if one.markers:
            _add(svg, "circle", cx=x + 11, cy=12, r=3.2, class_=f"dot {one.role}")
        _text(svg, x + 28, 16, one.name, "start", "legend")
    return ElementTree.tostring(svg, encoding="unicode")


def _draw_axes(
    svg: ElementTree.Element, x_axis: Scale, y_axis: Scale, x_label: str, y_label: str
) -> None:
    for tick in y_axis.ticks:
        y = _y(y_axis, tick)
        _add(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid")
        _text(svg, LEFT - 6, y + 4, _tick_text(y_axis, tick), "end", "tick")
    for tick in x_axis.ticks:
        x = _x(x_axis, tick)
        _add(svg, "line", x1=x, x2=x, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 4, class_="axis")
        _text(svg, x, HEIGHT - BOTTOM + 17, _tick_text(x_axis, tick), "middle", "tick")
    base = HEIGHT - BOTTOM
    _add(svg, "line", x1=LEFT, x2=WIDTH - RIGHT, y1=base, y2=base, class_="axis")
    _text(svg, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 5, x_label, "middle", "label")
    middle = (TOP + base) / 2
    label = _text(
        svg, 10, middle, y_label + (" (log scale)" if y_axis.log else ""), "middle", "label"
    )
    label.set("transform", f"rotate(-90 10 {_coordinate(middle)})")


def _tick_text(axis: Scale, tick: float) -> str:
    """Write all ticks of a linear axis with the same number of decimals."""
    step = axis.ticks[1] - axis.ticks[0]
    if axis.log or step < 1e-4 or step >= 1e6:
        return wording.significant(tick)
    return wording.number(tick, max(0, -math.floor(math.log10(step) + 1e-9)))


def _draw_series(
    svg: ElementTree.Element, series: Series, x_axis: Scale, y_axis: Scale, x_label: str
) -> None:
    points, size = _thinned(series.points)
    path = " ".join(
        f"{'L' if index else 'M'}{_coordinate(_x(x_axis, x))} {_coordinate(_y(y_axis, y))}"
        for index, (x, y) in enumerate(points)
    )
    _add(svg, "path", d=path, class_=f"curve {series.role}")
    mean = f" (mean of {size})" if size > 1 else ""
    for x, y in points:
        group = _add(svg, "g", class_="point")
        place = {"cx": _x(x_axis, x), "cy": _y(y_axis, y)}
        if series.markers or len(points) == 1:
            _add(group, "circle", **place, r=3.2, class_=f"dot {series.role}")
        _add(group, "circle", **place, r=7, class_=f"target {series.role}")
        name = f"{series.name}: " if series.name else ""
        text = f"{name}{wording.significant(y)} at {x_label} {wording.significant(x, 6)}"
        _add(group, "title").text = text + mean


def rate_bar(name: str, role: str, rate: Mapping[str, Any], confidence: str = "") -> str:
    """Draw a share of 0 to 1 as a bar with its interval as a whisker.

    Args:
        name: Whose rate it is, for the text under the pointer.
        role: CSS class that gives the bar its colour.
        rate: ``value`` and, if known, ``low``, ``high``, ``correct`` and ``n``.
        confidence: Such as ``"95 % "``, put before the word interval.
    """
    value, low, high = (rate.get(key) for key in ("value", "low", "high"))
    text = f"{name}: {wording.percent(value)}"
    if wording.is_number(low) and wording.is_number(high):
        text += f", {confidence}interval {wording.rate_interval(rate)}"
    if wording.is_number(rate.get("n")) and wording.is_number(rate.get("correct")):
        text += f", {wording.count(rate['correct'])} of {wording.count(rate['n'])}"
    svg = _svg("0 0 100 14", text, None, "bar")
    svg.set("preserveAspectRatio", "none")
    _add(svg, "rect", x=0, y=2, width=100, height=10, class_="track")
    if wording.is_number(value):
        width = 100 * min(max(value, 0.0), 1.0)
        _add(svg, "rect", x=0, y=2, width=width, height=10, class_=f"fill {role}")
    if wording.is_number(low) and wording.is_number(high):
        # Kept inside the box: half of the stroke at 0 or 100 would be cut off.
        x1, x2 = (min(max(100 * x, 0.4), 99.6) for x in (low, high))
        for style in ("whisker halo", "whisker"):
            _add(svg, "path", d=_whisker(x1, x2), class_=style)
    return ElementTree.tostring(svg, encoding="unicode")


def shares_bar(name: str, parts: Sequence[tuple[str, str, int]]) -> str:
    """Draw counts as the parts of one bar.

    Args:
        name: What is counted, for the text under the pointer.
        parts: Label, CSS class and count of each, from left to right.
    """
    total = sum(count for _, _, count in parts) or 1
    text = f"{name}: " + ", ".join(f"{wording.count(n)} {label}" for label, _, n in parts)
    svg = _svg("0 0 100 14", text, None, "bar")
    svg.set("preserveAspectRatio", "none")
    start = 0.0
    for label, role, count in parts:
        width = 100 * count / total
        rect = _add(svg, "rect", x=start, y=2, width=width, height=10, class_=f"fill {role}")
        share = wording.percent(count / total)
        _add(rect, "title").text = f"{label}: {wording.count(count)} ({share})"
        start += width
    return ElementTree.tostring(svg, encoding="unicode")


def _whisker(x1: float, x2: float) -> str:
    a, b = _coordinate(x1), _coordinate(x2)
    return f"M{a} 7H{b}M{a} 3V11M{b} 3V11"


def _finite(points: Sequence[Point]) -> tuple[Point, ...]:
    return tuple((x, y) for x, y in points if wording.is_number(x) and wording.is_number(y))


def _thinned(points: Sequence[Point]) -> tuple[Sequence[Point], int]:
    """Return means over runs of neighbours if there are too many points, and a run's length."""
    size = math.ceil(len(points) / POINTS_SHOWN)
    if size <= 1:
        return points, 1
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(run[-1][0], math.fsum(y for _, y in run) / len(run)) for run in runs], size


def _description(series: Sequence[Series], x_label: str, y_label: str) -> str:
    parts = []
    for one in series:
        (x0, y0), (x1, y1) = one.points[0], one.points[-1]
        parts.append(
            f"{one.name or y_label}: {len(one.points)} values, from {wording.significant(y0)} at "
            f"{x_label} {wording.significant(x0, 6)} to {wording.significant(y1)} at "
            f"{x_label} {wording.significant(x1, 6)}."
        )
    return " ".join(parts)


def _svg(view_box: str, title: str, description: str | None, role: str) -> ElementTree.Element:
    svg = ElementTree.Element("svg", {"viewBox": view_box, "role": "img", "class": role})
    svg.set("aria-label", title)
    ElementTree.SubElement(svg, "title").text = title
    if description:
        ElementTree.SubElement(svg, "desc").text = description
    return svg


def _add(parent: ElementTree.Element, tag: str, **attributes: float | str) -> ElementTree.Element:
    return ElementTree.SubElement(
        parent,
        tag,
        {
            name.rstrip("_"): value if isinstance(value, str) else _coordinate(value)
            for name, value in attributes.items()
        },
    )


def _text(
    parent: ElementTree.Element, x: float, y: float, text: str, anchor: str, role: str
) -> ElementTree.Element:
    element = _add(parent, "text", x=x, y=y, class_=role)
    element.set("text-anchor", anchor)
    element.text = text
    return element


def _coordinate(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _x(axis: Scale, value: float) -> float:
    return LEFT + axis.at(value) * (WIDTH - LEFT - RIGHT)


def _y(axis: Scale, value: float) -> float:
    return HEIGHT - BOTTOM - axis.at(value) * (HEIGHT - TOP - BOTTOM)
