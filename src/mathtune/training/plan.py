"""What a training will take before anything is downloaded: memory, time, and what would help.

Nothing is looked up in tables but the processor: the model is built without data from its
configuration and taken through a step (``memory_plan.py``), for the recipe and for each change that
is proposed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
import transformers
from transformers import AutoConfig

from mathtune import hub, model_files
from mathtune.config.schema import ModelConfig, Recipe
from mathtune.errors import MathtuneError, ModelError
from mathtune.records import Problem
from mathtune.training.batches import cut
from mathtune.training.device import (
    Compute,
    cpu_compute,
    gpu_compute,
    matmul_rate,
)
from mathtune.training.devices import BUSY, Device, find_gpu
from mathtune.training.memory_plan import MemoryPlan, plan_memory
from mathtune.training.memory_trace import Use
from mathtune.training.model import load_tokenizer
from mathtune.training.published import PUBLISHED_CONFIGS
from mathtune.training.run import limits_on
from mathtune.training.text_lengths import Lengths, example_of, lengths_of
from mathtune.training.workload import Workload, lay_out

CUDA_CONTEXT = 750 * 2**20
"""What CUDA and its libraries take before the first tensor."""

LORA, FOUR_BIT = "adapter.r=16", "model.load_in_4bit=true"

FRAGMENTED = 0.05
"""Share of all but the weights that lies between blocks, in PyTorch's memory pool."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One way to train, reckoned through.

    Attributes:
        memory: Tensors at their peak, on one device.
        overhead: Bytes besides tensors.
        compute: Types of numbers, with the reason.
        work: Steps and tokens.
        devices: How many share the work; each holds everything.
    """

    memory: MemoryPlan
    overhead: int
    compute: Compute
    work: Workload
    devices: int

    @property
    def peak(self) -> int:
        """Bytes on one device."""
        return self.memory.peak + self.buckets + self.overhead

    @property
    def buckets(self) -> int:
        """Bytes of the copy of all gradients that is exchanged between devices."""
        return self.memory.by_use[Use.GRADIENTS] if self.devices > 1 else 0

    @property
    def sharded_peak(self) -> int:
        """Bytes on one device where weights, gradients and optimiser states are shared out."""
        return self.memory.sharded(self.devices) + self.overhead

    @property
    def flops(self) -> float:
        """Floating-point operations on one device."""
        return self.memory.flops_per_token * self.work.tokens


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, as it would be typed behind the recipe, and the peak that it was found to have."""

    change: str
    peak: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known before a training.

    Attributes:
        recipe: The recipe.
        device: What is planned for.
        budget: Bytes there are; None where unknown.
        estimate: As the recipe stands.
        rate: FLOP/s of matrix products in the type that is trained in; None where unknown.
        remedies: Changes that lower the peak, where the budget is passed.
        assumptions: What was taken for granted, a sentence each.
    """

    recipe: Recipe
    device: Device
    budget: int | None
    estimate: Estimate
    rate: float | None
    remedies: tuple[Remedy, ...]
    assumptions: tuple[str, ...]

    @property
    def fits(self) -> bool | None:
        """Whether the peak is within the budget; None without one."""
        return None if self.budget is None else self.estimate.peak <= self.budget

    @property
    def seconds(self) -> tuple[float, float, float] | None:
        """Seconds of the training steps, at best, as a rule and at worst."""
        if self.rate is None:
            return None
        worst, usual, best = (
            self.estimate.flops / (self.rate * busy) for busy in BUSY[self.device.kind]
        )
        return best, usual, worst


def this_machine() -> Device:
    """Return the GPU of this machine, else its CPU."""
    if not torch.cuda.is_available():
        return this_cpu()
    name = torch.cuda.get_device_name()
    native = torch.cuda.get_device_capability() >= (8, 0)
    return Device(
        name,
        "cuda",
        torch.cuda.get_device_properties(0).total_memory,
        bf16=matmul_rate("cuda", torch.bfloat16) if native else None,
        fp16=matmul_rate("cuda", torch.float16),
        fp32=matmul_rate("cuda", torch.float32),
        native_bf16=native,
        measured=True,
    )


def this_cpu() -> Device:
    """Return this machine's CPU: its memory and its measured rates."""
    return Device(
        f"this CPU, {torch.get_num_threads()} threads",
        "cpu",
        _host_memory(),
        bf16=matmul_rate("cpu", torch.bfloat16, size=256),
        fp32=matmul_rate("cpu", torch.float32),
        measured=True,
    )


def find_device(name: str | None, memory: int | None) -> Device:
    """Return the device of a name; without one this machine, or a GPU of so much memory.

    Raises:
        ConfigError: There is no such device in the list.
    """
    if name is not None:
        return this_cpu() if name.lower() == "cpu" else find_gpu(name)
    if memory is not None:
        return Device("a GPU that computes bf16", "cuda", memory)
    return this_machine()


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
) -> Plan:
    """Reckon a recipe through, and what would help where it does not fit.

    Args:
        recipe: The recipe.
        problems: Its training problems that are on this machine.
        elsewhere: Names of its sources that are not.
        device: What to plan for.
        budget: Bytes there are; None where unknown.
        devices: How many such devices train together.
        changed: Returns the recipe with further overrides.
        say: Called with a line of progress.

    Raises:
        ModelError: The model's configuration cannot be read or built.
        DataError: No training example fits ``train.max_length``.
    """
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft")
    hf_config = read_hf_config(recipe.model)
    lengths = lengths_of(recipe, problems, elsewhere, tokenizer_at_hand(recipe.model))
    estimate = _estimate(recipe, hf_config, lengths, device, devices)
    remedies: tuple[Remedy, ...] = ()
    if budget is not None and estimate.peak > budget:
        remedies = tuple(
            _remedies(recipe, hf_config, lengths, device, budget, estimate, changed, say)
        )
    assumptions = list(lengths.assumptions)
    if not lengths.longest_known:
        assumptions.append(
            "memory is that of a micro-batch of problems of train.max_length="
            f"{recipe.train.max_length} tokens each"
        )
    return Plan(
        recipe,
        device,
        budget,
        estimate,
        _rate(device, estimate.compute),
        remedies,
        tuple(assumptions),
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
    """Return the tokenizer where it is in a folder or in the hub's cache; None elsewhere."""
    name = model.name_or_path
    try:
        if name is None or not (
            Path(model_files.resolve(name)).is_dir()
            or hub.model_file(name, "tokenizer.json", model.revision, cached_only=True)
        ):
            return None
        return load_tokenizer(name, model.revision, trust=model.trust_remote_code)
    except MathtuneError:  # only a configuration is needed, and what is assumed is said
        return None


def _estimate(
    recipe: Recipe, hf_config: Any, lengths: Lengths, device: Device, devices: int
) -> Estimate:
    if device.kind == "cpu":
        compute = cpu_compute(recipe.model.dtype)
    else:
        compute = gpu_compute(
            device.name,
            recipe.model.dtype,
            native_bf16=device.native_bf16,
            trains_all_weights=recipe.adapter is None,
        )
    limits = limits_on(recipe, hf_config, compute.device)
    text = hf_config.get_text_config()
    # A target has its logits three times in float32; a token about 20 vectors in each layer.
    layer = 20 * text.hidden_size * text.num_hidden_layers
    work = lay_out(
        lengths.examples,
        recipe.train,
        limits,
        logit_cost=3 * text.vocab_size / layer,
        seed=recipe.seed,
        devices=devices,
        count=lengths.count,
    )
    largest = work.largest
    if not lengths.longest_known:
        longest = example_of(recipe.train.max_length, recipe.train.max_length // 4, recipe)
        each = recipe.train.per_device_train_batch_size
        largest = tuple(next(cut([longest] * each, limits)))
    memory = plan_memory(recipe, hf_config, compute, largest, accumulates=work.accumulates)
    return Estimate(memory, _overhead(memory, compute), compute, work, devices)


def _overhead(memory: MemoryPlan, compute: Compute) -> int:
    if compute.device == "cpu":  # Python with the libraries, as in this very process
        return int(psutil.Process().memory_info().rss)
    return CUDA_CONTEXT + round(FRAGMENTED * (memory.peak - memory.by_use[Use.WEIGHTS]))


def _rate(device: Device, compute: Compute) -> float | None:
    if compute.autocast_bf16 or compute.dtype is torch.bfloat16:
        return device.bf16
    return device.fp16 if compute.dtype is torch.float16 else device.fp32


def _remedies(
    recipe: Recipe,
    hf_config: Any,
    lengths: Lengths,
    device: Device,
    budget: int,
    before: Estimate,
    changed: Callable[[Sequence[str]], Recipe],
    say: Callable[[str], None],
) -> Iterator[Remedy]:
    """Yield the changes that help, each reckoned through by itself, then together."""
    helpful: dict[str, str] = {}
    devices = before.devices
    for change in _changes(recipe, device):
        found = _with(change, hf_config, lengths, device, devices, changed, say)
        if found.peak < 0.99 * before.peak:
            yield Remedy(change, found.peak, found.peak <= budget)
            if not change.startswith(("adapter", "model")):
                helpful.update(word.split("=", 1) for word in change.split())
    if devices > 1:
        peak = before.sharded_peak
        yield Remedy(f"FSDP over the {devices} devices", peak, peak <= budget)
    together = " ".join(f"{key}={value}" for key, value in helpful.items())
    for method in _methods(recipe):
        change = f"{together} {method}".strip()
        if len(change.split()) < 2 or not together:
            continue
        found = _with(change, hf_config, lengths, device, devices, changed, say)
        yield Remedy(change, found.peak, found.peak <= budget)
        if found.peak <= budget:
            return


def _with(
    change: str,
    hf_config: Any,
    lengths: Lengths,
    device: Device,
    devices: int,
    changed: Callable[[Sequence[str]], Recipe],
    say: Callable[[str], None],
) -> Estimate:
    say(f"trying {change}")
    return _estimate(changed(change.split()), hf_config, lengths, device, devices)


def _methods(recipe: Recipe) -> list[str]:
    """Return what to train less of or in fewer bits, on top of everything else."""
    four_bit = [] if recipe.model.load_in_4bit or recipe.model.from_config else [FOUR_BIT]
    if recipe.adapter is not None:
        return ["", *four_bit]
    return ["", LORA, *(f"{LORA} {each}" for each in four_bit)]


def _changes(recipe: Recipe, device: Device) -> Iterator[str]:
    """Yield changes that may help, the ones that keep the result first."""
    train = recipe.train
    if not train.gradient_checkpointing:
        yield "train.gradient_checkpointing=true"
    if train.per_device_train_batch_size > 1:
        examples = train.per_device_train_batch_size * train.gradient_accumulation_steps
        yield (
            "train.per_device_train_batch_size=1 "
            f"train.gradient_accumulation_steps={examples}"
        )
    if train.logits_chunk_bytes > 64 * 2**20:
        yield f"train.logits_chunk_bytes={64 * 2**20}"
    if train.optim == "adamw_torch" and device.kind == "cuda":
        yield "train.optim=adamw_torch_fused"
    if train.optim.startswith("adamw_torch"):
        yield f"train.optim={'paged_' if device.kind == 'cuda' else ''}adamw_8bit"
    yield from (method for method in _methods(recipe) if method)


def _host_memory() -> int:
    """Return the memory that this process may come to hold: what is free, or its group's limit."""
    free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return free if text == "max" else min(free, int(text))
