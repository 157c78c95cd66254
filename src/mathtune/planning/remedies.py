"""What to change where a training does not fit: each change is estimated, none guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from mathtune.config.schema import Recipe
from mathtune.models.compute import Compute
from mathtune.planning.gpu_specs import Device
from mathtune.planning.memory_trace import Use
from mathtune.planning.peak_memory import MemoryPlan
from mathtune.planning.workload import Workload

LORA, FOUR_BIT = "adapter.r=16", "model.load_in_4bit=true"

SMALL_LOGITS = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimate of one way to train.

    Attributes:
        memory: Tensors at their peak, on one device.
        overhead: Bytes besides tensors.
        compute: Dtypes, with the reason.
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
    def flops(self) -> float:
        """Floating-point operations on one device."""
        return self.memory.flops_per_token * self.work.tokens

    @property
    def kernels(self) -> int:
        """Kernels launched on one device."""
        return self.memory.kernels * self.work.micro_batches


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, as typed after the recipe, and the peak estimated for it."""

    change: str
    peak: int
    fits: bool


def find_remedies(
    recipe: Recipe,
    before: Estimate,
    budget: int,
    device: Device,
    peak_with: Callable[[str], int],
) -> Iterator[Remedy]:
    """Yield the changes that lower the peak by 1 % or more, each by itself.

    Where no change that trains the same weights is enough, they are tried together, then with LoRA
    and 4 bits.

    Args:
        recipe: The recipe that does not fit.
        before: Its estimate without changes.
        budget: Bytes available.
        device: The device planned for.
        peak_with: Returns the recipe's peak with a change.
    """
    helpful: dict[str, str] = {}
    enough = False
    for change in _same_weights(recipe, device):
        peak = peak_with(change)
        if peak < 0.99 * before.peak:
            yield Remedy(change, peak, peak <= budget)
            for key, _, value in (word.partition("=") for word in change.split()):
                helpful[key] = value
            enough |= peak <= budget
    methods = _methods(recipe)
    for change in methods:
        peak = peak_with(change)
        if peak < 0.99 * before.peak:
            yield Remedy(change, peak, peak <= budget)
    if enough:
        return
    together = " ".join(f"{key}={value}" for key, value in helpful.items())
    for method in ["" if len(helpful) > 1 else None, *methods]:
        if method is None or not together:
            continue
        change = f"{together} {method}".strip()
        peak = peak_with(change)
        yield Remedy(change, peak, peak <= budget)
        if peak <= budget:
            return


def _same_weights(recipe: Recipe, device: Device) -> Iterator[str]:
    """Yield changes that train the same weights."""
    train = recipe.train
    if not train.gradient_checkpointing:
        yield "train.gradient_checkpointing=true"
    if train.per_device_train_batch_size > 1:
        examples = train.per_device_train_batch_size * train.gradient_accumulation_steps
        yield f"train.per_device_train_batch_size=1 train.gradient_accumulation_steps={examples}"
    if train.logits_chunk_bytes > SMALL_LOGITS:
        yield f"train.logits_chunk_bytes={SMALL_LOGITS}"
    if train.optim == "adamw_torch" and device.kind == "cuda":
        yield "train.optim=adamw_torch_fused"
    if train.optim.startswith("adamw_torch"):
        yield f"train.optim={'paged_' if device.kind == 'cuda' else ''}adamw_8bit"


def _methods(recipe: Recipe) -> list[str]:
    """Return changes that train fewer weights or hold them in fewer bits."""
    four_bit = [] if recipe.model.load_in_4bit or recipe.model.from_config else [FOUR_BIT]
    if recipe.adapter is not None:
        return four_bit
    return [LORA, *(f"{LORA} {each}" for each in four_bit)]
