"""How long a training on the model's own answers samples, which takes most of its time.

A decode step feeds one token of each row. It costs a fixed time (weights are read, kernels started)
and a time for each row (its products, choosing and decoding its token). Measured with one thread of
an AMD EPYC (Zen 5), float32, 1 to 128 rows: 5.6 ms and 0.13 ms a row for the toy base (4 layers,
3.4 M parameters), 85 ms and 1.9 ms for SmolLM2-135M (30 layers); the constants below fit both. For
GPUs they are guesses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.generation.hf.memory import LOGIT_BYTES, MAX_ROWS
from mathtune.planning.gpu_specs import BUSY, START_SECONDS, Device
from mathtune.planning.memory_trace import Use
from mathtune.planning.remedies import Estimate
from mathtune.planning.text_lengths import Lengths
from mathtune.text.counts import counted, percent

DEAD_GROUPS = 0.4
"""Share of groups assumed to be all right or all wrong, and so replaced by others."""

KEPT = 0.25
"""Share of samples assumed to be right and distinct, and so selected."""

LONGEST = (1.3, 1.6, math.inf)
"""The longest of many answers as a multiple of their mean, at best, usually and at worst: up to
``eval.max_new_tokens``. A round of sampling has as many decode steps as that."""

LAYER_SECONDS = (0.8e-3, 1.1e-3, 1.6e-3)
"""Seconds that each layer of a decode step takes to start on a CPU, at best, usually, at worst."""

ROW_SECONDS = 0.08e-3
"""Seconds per row of a step besides its products: choosing a token, its text, the calculator."""

READ_RATE = 10e9
"""Bytes of weights per second that one decode step reads on a CPU."""

FLOPS_A_BYTE = 200
"""Published FLOP/s of 16-bit products per byte/s of memory, about, on GPUs."""

CACHE_SHARE = 0.5 * 0.25, 0.5 * 0.6
"""Share of the memory left that rows may take in training, on a CPU and on a GPU."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The answers that a training samples, on one device.

    Attributes:
        answers: How many.
        tokens: Their tokens.
        prompt_tokens: Tokens of the prompts, each computed once for all its answers.
        rows: Answers decoded at once.
        cache: Bytes of their keys, values and logits.
        peak: Bytes while sampling: weights, optimiser states and cache.
        steps: Decode steps, at best, usually and at worst.
        seconds: Likewise; None where the device's rate is unknown.
    """

    answers: int
    tokens: int
    prompt_tokens: int
    rows: int
    cache: int
    peak: int
    steps: tuple[float, float, float]
    seconds: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class _Rounds:
    """``count`` rounds of sampling of ``answers`` each."""

    count: float
    answers: float


def plan_sampling(
    recipe: Recipe,
    hf_config: Any,
    lengths: Lengths,
    estimate: Estimate,
    device: Device,
    rate: float | None,
) -> Sampling | None:
    """Return what a recipe samples before or while it trains; None if it samples nothing.

    Args:
        recipe: The recipe.
        hf_config: The model's Transformers configuration.
        lengths: Its training problems, whose solutions the answers are assumed to be as long as.
        estimate: Of its training.
        device: What to plan for.
        rate: FLOP/s of matrix products in the weights' dtype.
    """
    each, prompt = mean_tokens(recipe, lengths)
    rounds, answers_a_prompt = _rounds(recipe, lengths, estimate)
    answers = sum(one.count * one.answers for one in rounds)
    if not answers:
        return None
    longest = math.ceil(recipe.eval.max_new_tokens + prompt)
    row_bytes = longest * _cache_per_token(hf_config, estimate) + _vocabulary(hf_config)
    held = sum(estimate.memory.by_use[use] for use in (Use.WEIGHTS, Use.TEACHER, Use.OPTIMIZER))
    rows = min(MAX_ROWS[device.kind], math.ceil(max(one.answers for one in rounds)))
    if recipe.eval.batch_size:
        rows = min(rows, recipe.eval.batch_size)
    if device.memory is not None:
        free = (device.memory - held) * CACHE_SHARE[device.kind == "cuda"]
        rows = max(1, min(rows, int(free // row_bytes) - 1))
    steps: list[float] = []
    for ratio in LONGEST:
        last = min(recipe.eval.max_new_tokens, ratio * each)
        steps.append(sum(o.count * max(last, o.answers * each / rows) for o in rounds))
    tokens, prompts = answers * each, answers / answers_a_prompt * prompt
    best, usual, worst = (
        _seconds(estimate, hf_config, device, rate, case, steps[2 - case], tokens, prompts)
        for case in (2, 1, 0)
    )
    return Sampling(
        answers=round(answers),
        tokens=round(tokens),
        prompt_tokens=round(prompts),
        rows=rows,
        cache=rows * row_bytes,
        peak=held + rows * row_bytes + estimate.overhead,
        steps=(steps[0], steps[1], steps[2]),
        seconds=None if rate is None else (best, usual, worst),
    )


def mean_tokens(recipe: Recipe, lengths: Lengths) -> tuple[float, float]:
    """Return the mean tokens of a sampled answer and of a prompt."""
    solved = [e for e in lengths.examples if e.prompt_tokens < len(e.ids)]
    prompts = [e.prompt_tokens for e in lengths.examples]
    prompt = sum(prompts) / len(prompts)
    if not solved:
        return recipe.eval.max_new_tokens / 2, prompt
    answer = sum(len(e.ids) - e.prompt_tokens for e in solved) / len(solved)
    return min(answer, recipe.eval.max_new_tokens), prompt


def assumed(recipe: Recipe, lengths: Lengths) -> list[str]:
    """Return what was assumed about a recipe's sampling or pairs, one sentence each."""
    grpo, rounds = recipe.train.objective == "grpo", recipe.rft.rounds
    if recipe.train.objective == "dpo":
        # A forward pass with the logits of every token: measured half of what a step takes.
        train = recipe.train
        a_step = train.per_device_train_batch_size * train.gradient_accumulation_steps
        return [
            f"how likely both answers of all {counted(lengths.count, 'pair')} were before training "
            "is computed once, which on one device takes as long as "
            f"{counted(math.ceil(lengths.count / 2 / a_step), 'step')} and is not included"
        ]
    if not (recipe.train.objective in ("grpo", "gkd") or rounds):
        return []
    each, _ = mean_tokens(recipe, lengths)
    said = [f"sampled answers have {each:,.0f} tokens on average, as the solutions have"]
    if grpo and recipe.grpo.max_refills:
        said.append(
            f"{percent(DEAD_GROUPS)} of the groups are all right or all wrong, and others are "
            f"sampled in their place (grpo.max_refills={recipe.grpo.max_refills})"
        )
    if rounds:
        said.append(f"{percent(KEPT)} of the samples are right and distinct")
    return said


def _rounds(recipe: Recipe, lengths: Lengths, estimate: Estimate) -> tuple[list[_Rounds], int]:
    """Return all rounds of sampling on one device, and how many answers share a prompt."""
    if recipe.train.objective in ("grpo", "gkd"):
        grpo, train = recipe.train.objective == "grpo", recipe.train
        answers = recipe.grpo.num_generations if grpo else recipe.gkd.num_generations
        batches = math.ceil(estimate.work.steps / (recipe.grpo.num_iterations if grpo else 1))
        groups = train.per_device_train_batch_size * train.gradient_accumulation_steps
        a_batch = groups * answers
        rounds = [
            _Rounds(batches, max(1.0, a_batch * DEAD_GROUPS**refill))
            for refill in range(1 + (recipe.grpo.max_refills if grpo else 0))
            if refill == 0 or a_batch * DEAD_GROUPS**refill >= answers / 2
        ]
        return rounds, answers
    samples = recipe.rft.samples
    each = lengths.count * samples / estimate.devices
    return [_Rounds(recipe.rft.rounds, each)] if recipe.rft.rounds else [], samples


def _seconds(
    estimate: Estimate,
    hf_config: Any,
    device: Device,
    rate: float | None,
    case: int,
    steps: float,
    tokens: float,
    prompts: float,
) -> float:
    """Return seconds at worst, usually or at best (``case`` 0, 1, 2)."""
    if rate is None:
        return math.nan
    weights = estimate.memory.by_use[Use.WEIGHTS]
    if device.kind == "cuda":
        # A third of the kernels of a forward and backward pass.
        fixed = weights * FLOPS_A_BYTE / rate
        fixed += estimate.memory.kernels / 3 * START_SECONDS["cuda"][case]
    else:
        layers = getattr(hf_config.get_text_config(), "num_hidden_layers", 1)
        fixed = weights / READ_RATE + layers * LAYER_SECONDS[2 - case]
    products = 2 * estimate.memory.parameters.total * (tokens + prompts)
    computing = products / (rate * BUSY[device.kind][case])
    return steps * fixed + tokens * ROW_SECONDS + computing


def _cache_per_token(hf_config: Any, estimate: Estimate) -> int:
    """Return the bytes of one token's keys and values, in the dtype of the weights."""
    text = hf_config.get_text_config()
    heads = getattr(text, "num_attention_heads", 1)
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    kept = getattr(text, "num_key_value_heads", None) or heads
    return int(2 * text.num_hidden_layers * kept * width * estimate.compute.dtype.itemsize)


def _vocabulary(hf_config: Any) -> int:
    return int(hf_config.get_text_config().vocab_size) * LOGIT_BYTES
