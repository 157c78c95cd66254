"""Estimate a training's memory and time before anything is downloaded, and what would help.

Only the device is looked up in a table: the model is built without data from its configuration and
taken through a step (``peak_memory.py``), a few layers deep (``layer_extrapolation.py``), for the
recipe and for each proposed change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from transformers import AutoConfig

from mathtune import hub
from mathtune.config.schema import ModelConfig, Recipe
from mathtune.errors import MathtuneError, ModelError
from mathtune.models import files as model_files
from mathtune.models.compute import Compute, cpu_compute, gpu_compute
from mathtune.models.loading import load_tokenizer
from mathtune.planning.cluster.spread import Spread, spread_over
from mathtune.planning.gpu_specs import BUSY, START_SECONDS, Device
from mathtune.planning.layer_extrapolation import MemoryPlanner
from mathtune.planning.learning_work import Teacher, teacher_of, work_of
from mathtune.planning.memory_trace import Use
from mathtune.planning.peak_memory import MemoryPlan
from mathtune.planning.published_configs import PUBLISHED_CONFIGS
from mathtune.planning.remedies import Estimate, Remedy, find_remedies
from mathtune.planning.sampling import Sampling, assumed, plan_sampling
from mathtune.planning.text_lengths import Lengths, example_of, lengths_of
from mathtune.planning.workload import Workload
from mathtune.records import Problem
from mathtune.text.counts import counted
from mathtune.training.batching.limits import limits_on
from mathtune.training.batching.micro_batches import Limits, cut

CUDA_CONTEXT = 750 * 2**20
"""Bytes that CUDA and its libraries take before the first tensor."""

FRAGMENTED = 0.05
"""Share of everything but the weights lost to fragmentation of PyTorch's memory pool."""


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Everything known before a training.

    Attributes:
        recipe: The recipe.
        device: The device planned for.
        budget: Bytes available; None where unknown.
        estimate: For the recipe as it is.
        rate: FLOP/s of matrix products in the training dtype; None where unknown.
        remedies: Changes that lower the peak, where it exceeds the budget.
        assumptions: What was assumed, one sentence each.
        sampling: The answers sampled before or during training, if any.
        spread: The ways to train on several devices.
    """

    recipe: Recipe
    device: Device
    budget: int | None
    estimate: Estimate
    rate: float | None
    remedies: tuple[Remedy, ...]
    assumptions: tuple[str, ...]
    sampling: Sampling | None = None
    spread: Spread | None = None

    @property
    def peak(self) -> int:
        """Bytes on one device, in training or while sampling."""
        return max(self.estimate.peak, self.sampling.peak if self.sampling else 0)

    @property
    def fits(self) -> bool | None:
        """Whether the peak is within the budget; None without one."""
        return None if self.budget is None else self.peak <= self.budget

    @property
    def seconds(self) -> tuple[float, float, float] | None:
        """Seconds of the training steps, at best, usually and at worst."""
        if self.rate is None:
            return None
        kind, found = self.device.kind, self.estimate
        worst, usual, best = (
            max(found.flops / (self.rate * busy), found.kernels * start)
            for busy, start in zip(BUSY[kind], START_SECONDS[kind], strict=True)
        )
        return best, usual, worst


def make_plan(
    recipe: Recipe,
    problems: Sequence[Problem],
    elsewhere: Sequence[str],
    device: Device,
    budget: int | None,
    *,
    devices: int,
    changed: Callable[[Sequence[str]], Recipe],
    say: Callable[[str], None],
    nodes: int = 1,
    network: float | None = None,
    trace: bool = False,
    pairs: int | None = None,
) -> TrainingPlan:
    """Estimate what a recipe takes, and what would help where it does not fit.

    Args:
        recipe: The recipe.
        problems: Its training problems that are on this machine.
        elsewhere: Names of its sources that are elsewhere.
        device: What to plan for.
        budget: Bytes available; None where unknown.
        devices: How many such devices to train on.
        nodes: How many machines they are in, alike.
        network: Bytes per second between machines; default: as the device's usual machines have.
        changed: Returns the recipe with further overrides.
        say: Called with a line of progress.
        trace: Trace every layer of the model instead of a few.
        pairs: Pairs of answers in ``dpo.samples``, for preference learning.

    Raises:
        ModelError: The model's configuration cannot be read or built.
        DataError: No training example fits ``train.max_length``.
    """
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
    hf_config = read_hf_config(recipe.model)
    work = "splitting the steps into micro-batches"
    say(f"measuring {counted(len(problems), 'training problem')}" if problems else work)
    lengths = lengths_of(recipe, problems, elsewhere, tokenizer_at_hand(recipe.model))
    if pairs is not None:
        lengths = replace(lengths, count=pairs)
    memory = MemoryPlanner(hf_config, trace=trace, say=say)
    planner = _Planner(memory, hf_config, lengths, device, devices)
    say("tracing a training step of a model without data")
    estimate = planner.estimate(recipe)
    remedies: tuple[Remedy, ...] = ()
    if budget is not None and estimate.peak > budget:
        peak_with = partial(_peak_with, planner, changed, say)
        remedies = tuple(find_remedies(recipe, estimate, budget, device, peak_with))
    assumptions = [*_assumptions(recipe, lengths), *assumed(recipe, lengths)]
    rate = _rate(device, estimate.compute)
    sampling = plan_sampling(recipe, hf_config, lengths, estimate, device, rate)
    said = tuple(assumptions)
    found = TrainingPlan(recipe, device, budget, estimate, rate, remedies, said, sampling)
    if devices == 1:
        return found
    spread = spread_over(estimate, found.seconds, hf_config, device, nodes=nodes, network=network)
    return replace(found, spread=spread, assumptions=(*said, *spread.assumptions))


def _peak_with(
    planner: _Planner,
    changed: Callable[[Sequence[str]], Recipe],
    say: Callable[[str], None],
    change: str,
) -> int:
    say(f"trying {change}")
    return planner.estimate(changed(change.split())).peak


def _assumptions(recipe: Recipe, lengths: Lengths) -> Iterator[str]:
    yield from lengths.assumptions
    if not lengths.longest_known:
        yield (
            "memory assumes a micro-batch of problems of train.max_length="
            f"{recipe.train.max_length} tokens each"
        )


def read_hf_config(model: ModelConfig) -> Any:
    """Return a model's Transformers configuration, without its weights.

    Raises:
        ModelError: It cannot be found, or Transformers has no code for it.
    """
    if model.from_config is not None:
        values = {**model.from_config, "vocab_size": model.train_tokenizer}
    else:
        name = model.name_or_path or ""
        known = PUBLISHED_CONFIGS.get(name) if not Path(name).is_dir() else None
        values = dict(known or model_files.read_config(name, model.revision, weights=False) or {})
    kind = values.pop("model_type", None)
    try:
        return type(AutoConfig.for_model(kind)).from_dict(values)
    except (ValueError, TypeError) as error:
        raise ModelError(
            f"Transformers has no code for the model type {kind!r} of "
            f"{model.name_or_path or 'model.from_config'}, so it cannot be planned; give another "
            "model"
        ) from error


def tokenizer_at_hand(model: ModelConfig) -> Any | None:
    """Return the tokenizer from a folder or the hub's cache; None if it is in neither."""
    name = model.name_or_path
    try:
        if name is None or not (
            Path(model_files.resolve(name)).is_dir()
            or hub.model_file(name, "tokenizer.json", model.revision, cached_only=True)
        ):
            return None
        return load_tokenizer(name, model.revision, trust=model.trust_remote_code)
    except MathtuneError:  # only a configuration is needed, and what is assumed is reported
        return None


@dataclass
class _Planner:
    """Estimates recipes that train one model on one set in different ways."""

    memory: MemoryPlanner
    hf_config: Any
    lengths: Lengths
    device: Device
    devices: int
    _works: dict[Any, Workload] = field(default_factory=dict)
    _teachers: dict[str, Teacher] = field(default_factory=dict)
    _computes: dict[Any, Compute] = field(default_factory=dict)

    def estimate(self, recipe: Recipe) -> Estimate:
        compute = self._compute(recipe, trains_all=recipe.adapter is None)
        limits = limits_on(recipe, self.hf_config, compute.device)
        work = self._work(recipe, limits)
        memory = self.memory.plan(
            recipe,
            compute,
            work.largest,
            limits=limits,
            accumulates=work.accumulates,
        )
        if teacher := self._teacher(recipe):
            layers = self.hf_config.get_text_config().num_hidden_layers
            memory = teacher.added_to(memory, work, limits, layers)
        return Estimate(memory, _overhead(memory, compute), compute, work, self.devices)

    def _teacher(self, recipe: Recipe) -> Teacher | None:
        if (model := recipe.teacher) is None:
            return None
        key = model.model_dump_json()
        if key not in self._teachers:
            compute = self._compute(recipe, trains_all=False)
            self._teachers[key] = teacher_of(recipe, model, read_hf_config(model), compute)
        return self._teachers[key]

    def _compute(self, recipe: Recipe, *, trains_all: bool) -> Compute:
        """Return how the device computes; a CPU is measured once, as noise can flip the choice."""
        dtype = recipe.model.dtype
        key = dtype, trains_all and self.device.kind != "cpu"
        if key not in self._computes:
            self._computes[key] = (
                cpu_compute(dtype)
                if self.device.kind == "cpu"
                else gpu_compute(
                    self.device.name,
                    dtype,
                    native_bf16=self.device.native_bf16,
                    trains_all_weights=trains_all,
                )
            )
        return self._computes[key]

    def _work(self, recipe: Recipe, limits: Limits) -> Workload:
        train, lengths = recipe.train, self.lengths
        batch = train.per_device_train_batch_size, train.gradient_accumulation_steps
        key = limits, batch
        if key not in self._works:
            work = work_of(recipe, lengths, limits, self.devices)
            if not lengths.longest_known:
                longest = example_of(train.max_length, train.max_length // 4, recipe)
                step = [longest] * (batch[0] * batch[1])
                work = replace(work, largest=(tuple(next(cut(step, limits))),))
            self._works[key] = work
        return self._works[key]


def _overhead(memory: MemoryPlan, compute: Compute) -> int:
    if compute.device == "cpu":  # Python with its libraries, as in this process
        return int(psutil.Process().memory_info().rss)
    weights = memory.by_use[Use.WEIGHTS] + memory.by_use[Use.TEACHER]
    return CUDA_CONTEXT + round(FRAGMENTED * (memory.peak - weights))


def _rate(device: Device, compute: Compute) -> float | None:
    if compute.autocast_bf16 or compute.dtype is torch.bfloat16:
        return device.bf16
    return device.fp16 if compute.dtype is torch.float16 else device.fp32
