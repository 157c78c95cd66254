"""The content of ``metrics.jsonl`` as charts, one per quantity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mathtune.report import charts, wording
from mathtune.report.panels import picture
from mathtune.report.reading import RunFiles

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing with its title.

    Attributes:
        title: What it shows.
        note: What that means, for a reader who does not know the quantity; may be empty.
        picture: The drawing.
    """

    title: str
    note: str
    picture: Markup


@dataclass(frozen=True, slots=True)
class _Quantity:
    """A chart to draw where its figures were logged: legend, CSS class and key of each curve."""

    title: str
    label: str
    lines: tuple[tuple[str, str, str], ...]
    note: str = ""


_OF_LEARNING = (
    _Quantity(
        "Right answers while sampling",
        "share",
        (("answers", "training", "reward"), ("problems", "tuned", "solved_problems")),
        "Sampled answers that earn the reward, and problems with at least one such answer.",
    ),
    _Quantity(
        "Dead groups",
        "share of groups",
        (("", "training", "dead_groups"),),
        "Problems whose answers were all right or all wrong: nothing to learn from, so dropped.",
    ),
    _Quantity("Length of sampled answers", "tokens", (("", "training", "completion_length"),)),
    _Quantity("Cut at the token limit", "share of answers", (("", "training", "truncated"),)),
    _Quantity(
        "Entropy",
        "nats per token",
        (("", "training", "entropy"),),
        "How undecided the model is; near 0 all answers to a problem become alike.",
    ),
    _Quantity(
        "Log-probability gap, sampler to trainer",
        "nats per token",
        (("", "training", "logprob_gap"),),
        "Both compute the same numbers: about 1e-6 in float32; large shows a fault.",
    ),
    _Quantity("Ended and marked answers", "share of answers", (("", "training", "format_reward"),)),
    _Quantity(
        "Clipped ratios",
        "share of tokens",
        (("", "training", "clip_ratio"),),
        "Tokens whose probability moved so far within one batch that they no longer count.",
    ),
    _Quantity(
        "KL divergence from the model before training",
        "nats per token",
        (("", "training", "kl"),),
    ),
    _Quantity(
        "Reward margin",
        "nats × beta",
        (("", "training", "reward_margin"),),
        "How much more the right answer of a pair has gained than the wrong one.",
    ),
    _Quantity(
        "Pairs in the right order",
        "share of pairs",
        (("", "training", "reward_accuracy"),),
        "Pairs whose right answer has gained more.",
    ),
    _Quantity(
        "Rewards of both answers",
        "nats × beta",
        (("right", "tuned", "reward_chosen"), ("wrong", "base", "reward_rejected")),
        "If both fall far below 0, answers become unlikely in general.",
    ),
)


_TWO_LOSSES = (
    "Two quantities: training is the loss of what was learned from, validation the negative "
    "log-likelihood of published solutions."
)


def training_charts(run: RunFiles) -> list[Chart]:
    """Draw loss, perplexity, exact match, learning rate and gradient norm."""
    mark = _best(run)
    objective = (run.recipe.get("train") or {}).get("objective", "sft")
    two_losses = "" if objective in ("sft", "verifier") else _TWO_LOSSES
    drawings = [
        ("Loss", "loss", ("loss", "eval_loss"), mark),
        ("Perplexity", "perplexity", ("perplexity", "eval_perplexity"), mark),
        ("Validation exact match", "exact match", ("", "eval_exact_match"), mark),
        ("Learning rate", "learning rate", ("learning_rate", ""), None),
        ("Gradient norm", "gradient norm", ("grad_norm", ""), None),
    ]
    made = []
    for title, label, (train, validation), marked in drawings:
        # With no validation counterpart the title says it all; no legend is needed.
        name = "training" if validation else ""
        both = [
            charts.Series(name, "training", _points(run.training, train)),
            charts.Series("validation", "validation", _points(run.validation, validation), True),
        ]
        svg = charts.line_chart(
            f"{title} by step",
            both,
            y_label=label,
            mark=marked,
            linear=train == "learning_rate",
        )
        if svg:
            made.append(Chart(title, two_losses if title == "Loss" else "", picture(svg)))
    return made


def learning_charts(run: RunFiles) -> list[Chart]:
    """Draw what was logged by a training on the model's own answers, or on pairs of answers."""
    return list(_learning_charts(run))


def _learning_charts(run: RunFiles) -> Iterator[Chart]:
    mark = _best(run)
    for quantity in _OF_LEARNING:
        series = [
            charts.Series(name, role, _points(run.training, key))
            for name, role, key in quantity.lines
        ]
        svg = charts.line_chart(
            f"{quantity.title} by step", series, y_label=quantity.label, mark=mark, linear=True
        )
        if svg:
            yield Chart(quantity.title, quantity.note, picture(svg))


def validation_lines(run: RunFiles) -> list[tuple[str, ...]]:
    """Return the validation curve as table lines: step, epoch, loss, perplexity, exact match."""
    return [
        (
            wording.count(line.get("step")),
            wording.number(line.get("epoch")),
            wording.significant(line.get("eval_loss")),
            wording.significant(line.get("eval_perplexity")),
            wording.percent(line.get("eval_exact_match")),
        )
        for line in run.validation
    ]


def _best(run: RunFiles) -> tuple[float, str] | None:
    best = (run.manifest.get("training") or {}).get("best_step")
    return (float(best), "best") if wording.is_number(best) else None


def _points(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[charts.Point, ...]:
    return tuple((line["step"], line[name]) for line in lines if wording.is_number(line.get(name)))
