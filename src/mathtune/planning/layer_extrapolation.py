"""Peak memory of a deep model, extrapolated from traces of shallow ones with the same layers.

The layers of a decoder are alike, so each extra one adds the same memory, operations and
parameters. Models with one and two layers are traced, and what the second layer adds is added for
all others; models with two and three layers where the first layer differs.

Moments are matched from both ends of a phase: both models run the same operations at the start
(weights, embedding, the first layers) and at the end (the last layers, the output layer), and only
the repeated layers in between have no match. Memory there lies between that of the first and that
of the last layer, so the highest of the matched moments is the peak. Where layers differ, or
operations do not match, the whole model is traced.
"""

from __future__ import annotations

import copy
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from mathtune.config.schema import Recipe
from mathtune.models.compute import Compute
from mathtune.models.loading import ParameterCounts
from mathtune.planning.memory_trace import Moment, Use
from mathtune.planning.peak_memory import MemoryPlan, Steps, Walk
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits

FIRST_DIFFERS = 2
"""Layers of the shorter model where the first layer differs from the others: with an adapter and no
checkpointing its input takes no gradient, so its backward pass is shorter."""


class MemoryPlanner:
    """Plans one model trained in several ways, tracing each kind of step only once.

    Args:
        hf_config: The model's Transformers configuration.
        trace: Trace every layer and every chunk of the loss.
        say: Called with a line of progress.
    """

    def __init__(self, hf_config: Any, *, trace: bool, say: Callable[[str], None]) -> None:
        self._hf_config, self._say = hf_config, say
        self._layers = getattr(hf_config.get_text_config(), "num_hidden_layers", None)
        self._alike: bool | None = False if trace else None
        self._trace = trace
        self._walks: dict[Any, Walk] = {}

    def plan(
        self,
        recipe: Recipe,
        compute: Compute,
        micro_batches: Sequence[Sequence[Example]],
        *,
        limits: Limits,
        accumulates: bool,
    ) -> MemoryPlan:
        """Return the same as ``plan_memory``, with the same arguments and errors."""

        def steps(layers: int | None) -> Steps:
            key = layers, _of_passes(recipe), compute, _sizes(micro_batches), limits, accumulates
            if key not in self._walks:
                hf_config = (
                    self._hf_config if layers is None else shortened(self._hf_config, layers)
                )
                self._walks[key] = Walk(
                    recipe,
                    hf_config,
                    compute,
                    micro_batches,
                    limits=limits,
                    accumulates=accumulates,
                    one_chunk=not self._trace,
                )
            return self._walks[key].optimizer_step(recipe)

        if self._alike is None:
            self._alike = are_alike(self._hf_config)
        if self._alike and self._layers:
            first_differs = recipe.adapter and not recipe.train.gradient_checkpointing
            fewest = FIRST_DIFFERS if first_differs else 1
            short, longer = steps(fewest), steps(fewest + 1)
            if found := extrapolated(recipe, short, longer, fewest, self._layers):
                return found
        self._say(f"tracing all {self._layers or ''} layers".replace("  ", " "))
        whole = steps(None)
        peaks = [max(phase, key=lambda moment: moment.alive.total()) for phase in whole.phases]
        return whole.plan(recipe, *(peak.alive for peak in peaks))


def shortened(hf_config: Any, layers: int) -> Any:
    """Return the configuration of the same model with this many layers."""
    short = copy.deepcopy(hf_config)
    text = short.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return short


def are_alike(hf_config: Any) -> bool:
    """Return whether all layers but the first are alike, and there are enough to save time."""
    text = hf_config.get_text_config()
    layers = getattr(text, "num_hidden_layers", None)
    if not isinstance(layers, int) or layers <= 2 * FIRST_DIFFERS + 1:
        return False
    if len(set(getattr(text, "layer_types", None) or ())) > 1:
        return False
    try:
        short, longer, whole = (_parameters(shortened(hf_config, each)) for each in (1, 2, layers))
    except (ValueError, TypeError, ImportError, LookupError):
        return False  # tracing the whole model will show whether anything is wrong
    return short + (layers - 1) * (longer - short) == whole


def extrapolated(
    recipe: Recipe, short: Steps, longer: Steps, fewest: int, layers: int
) -> MemoryPlan | None:
    """Return the plan for this many layers; None where moments do not match.

    Args:
        recipe: The recipe to plan.
        short: Steps of the model with fewer layers.
        longer: Steps of the model with one more layer.
        fewest: Layers of ``short``.
        layers: Layers of the whole model.
    """
    more = layers - fewest

    def at_depth(one: int, other: int) -> int:
        return one + more * (other - one)

    peaks = []
    for phase, again in zip(short.phases, longer.phases, strict=True):
        if not (pairs := _matched(phase, again)):
            return None
        highest = max(
            pairs, key=lambda pair: at_depth(pair[0].alive.total(), pair[1].alive.total())
        )
        one, other = (moment.alive for moment in highest)
        peaks.append(Counter({use: at_depth(one[use], other[use]) for use in Use}))
    counts = short.parameters, longer.parameters
    deep = Steps(
        phases=(),
        states=at_depth(short.states, longer.states),
        flops=at_depth(short.flops, longer.flops),
        kernels=at_depth(short.kernels, longer.kernels),
        tokens=short.tokens,
        micro_batches=short.micro_batches,
        parameters=ParameterCounts(
            *(
                at_depth(*(getattr(each, name) for each in counts))
                for name in ("total", "trainable", "total_packed")
            )
        ),
    )
    return deep.plan(recipe, *peaks)


def _matched(short: Sequence[Moment], longer: Sequence[Moment]) -> list[tuple[Moment, Moment]]:
    """Return the moments of two phases that match from the start, and those from the end.

    The list is empty where the two sides leave moments of the shorter phase without a match.
    """
    from_start = list(_alike(short, longer))
    from_end = list(_alike(short[::-1], longer[::-1]))
    if len(from_start) + len(from_end) < len(short):
        return []
    # Operations may still match where the models are in different layers, or one is past them, and
    # hold different tensors. So from each side only what comes before the layers and one layer
    # counts; the layers begin no earlier than the other side's matches.
    layer = len(longer) - len(short)
    until = len(short) - len(from_end) + layer
    since = len(short) - len(from_start) + layer
    return from_start[:until] + from_end[:since]


def _alike(one: Sequence[Moment], other: Sequence[Moment]) -> Iterator[tuple[Moment, Moment]]:
    pairs = zip(one, other, strict=False)
    return itertools.takewhile(lambda pair: pair[0].operation is pair[1].operation, pairs)


def _parameters(hf_config: Any) -> int:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(hf_config)
    return sum(parameter.numel() for parameter in model.parameters())


def _of_passes(recipe: Recipe) -> str:
    """Return what forward and backward depend on, besides micro-batches and dtypes."""
    train = recipe.train
    return (
        recipe.model.model_dump_json()
        + (recipe.adapter.model_dump_json() if recipe.adapter else "")
        + f"{train.gradient_checkpointing}{train.label_smoothing_factor}"
    )


def _sizes(micro_batches: Sequence[Sequence[Example]]) -> tuple[Any, ...]:
    return tuple(
        tuple((len(each.ids), each.supervised) for each in micro) for micro in micro_batches
    )
