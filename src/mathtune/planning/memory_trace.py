"""Memory and FLOPs of training steps, found by running them on tensors without data.

PyTorch's fake tensors run through the same code as real ones (model, adapter, autocast,
checkpointing, our loss, the optimiser), with shapes and lifetimes but no values. Adding up what is
alive after each operation gives the peak of any architecture, without weights and without formulas
that would go stale.
"""

from __future__ import annotations

import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


class Use(Enum):
    """What a block of memory is for."""

    WEIGHTS = "weights"
    TEACHER = "teacher"
    """Weights of the model that is learned from."""
    COPIES = "weights_in_compute_type"
    """Autocast keeps a second copy of each weight, in the compute dtype."""
    GRADIENTS = "gradients"
    OPTIMIZER = "optimizer"
    ACTIVATIONS = "activations"
    """Includes an operation's own temporary buffers."""
    LOGITS = "logits"


@dataclass(frozen=True, slots=True)
class Moment:
    """An operation, and what is alive while it runs, in bytes by use."""

    operation: Any
    alive: Counter[Use]


_DEVICE = torch.ops.prim.device.default


class MemoryTrace(TorchDispatchMode):
    """While entered, counts bytes alive by use, kernels and their FLOPs.

    ``moments`` are those since ``begin_phase``; the first is what was there before.

    Args:
        vocabulary: Vocabulary size; tensors with this last dimension count as logits.
        hidden: Width of the output layer's input; its gradient must not be taken for logits.
    """

    def __init__(self, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self._vocabulary, self._hidden = vocabulary, hidden
        self._blocks: dict[int, tuple[Use, int]] = {}
        self._use = Use.ACTIVATIONS
        self.alive: Counter[Use] = Counter()
        self.moments = [Moment(None, Counter())]
        self.flops = 0
        self.kernels = 0

    @contextmanager
    def counting_as(self, use: Use) -> Iterator[None]:
        """Count what is allocated inside as ``use``; starts a phase."""
        before, self._use = self._use, use
        self.begin_phase()
        try:
            yield
        finally:
            self._use = before

    def begin_phase(self) -> list[Moment]:
        """Forget the moments so far; return the list for the next ones."""
        self.moments = [Moment(None, self.alive.copy())]
        return self.moments

    def relabel(self, tensor: torch.Tensor, use: Use) -> None:
        """Count the block under a tensor as ``use`` from now on."""
        key = _key(tensor)
        before, size = self._blocks[key]
        self._blocks[key] = use, size
        self.alive[before] -= size
        self.alive[use] += size

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is _DEVICE:  # a mere query, but two of three calls
            return args[0].fake_device if isinstance(args[0], FakeTensor) else func(*args)
        result = func(*args, **kwargs)
        tensors = [each for each in tree_leaves(result) if isinstance(each, torch.Tensor)]
        made = [self._note(func, args, tensor) for tensor in tensors]
        self.kernels += any(made) or func._schema.is_mutable  # a view launches none
        alive = self.alive.copy()
        alive[Use.ACTIVATIONS] += _inside(func, args)
        self.moments.append(Moment(func, alive))
        self.flops += _flops(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: tuple[Any, ...], tensor: torch.Tensor) -> bool:
        """Count the block under a tensor; return whether it is new."""
        key = _key(tensor)
        if key in self._blocks:
            return False
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        use = self._use_of(func, args, tensor)
        self._blocks[key] = use, size
        self.alive[use] += size
        weakref.finalize(storage, self._forget, key)
        return True

    def _use_of(self, func: Any, args: tuple[Any, ...], tensor: torch.Tensor) -> Use:
        if self._use is not Use.ACTIVATIONS:
            return self._use
        if func is torch.ops.aten._to_copy.default:
            source = self._blocks.get(_key(args[0]))
            if source and source[0] is Use.WEIGHTS:
                return Use.COPIES
        if tensor.dim() > 1 and tensor.shape[-1] == self._vocabulary:
            rows = tensor.numel() // self._vocabulary
            return Use.LOGITS if rows != self._hidden else Use.ACTIVATIONS
        return Use.ACTIVATIONS

    def _forget(self, key: int) -> None:
        use, size = self._blocks.pop(key)
        self.alive[use] -= size


def _key(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


_GEMM_4BIT = "bitsandbytes::gemm_4bit"


def _inside(func: Any, args: tuple[Any, ...]) -> int:
    """Return the bytes that an operation allocates and frees internally."""
    if func.name() == _GEMM_4BIT:  # the weight, back in 16 or 32 bits
        return math.prod(args[2]) * int(args[0].element_size())
    return 0


def _flops(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> int:
    if func.name() == _GEMM_4BIT:
        return 2 * (args[0].numel() // args[0].shape[-1]) * math.prod(args[2])
    packet = func._overloadpacket
    formula: Callable[..., int] | None = flop_registry.get(packet)
    if formula is not None:
        return formula(*args, **kwargs, out_val=result)
    # The CPU's flash kernel is not in PyTorch's list.
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return sdpa_flop_count(args[0].shape, args[1].shape, args[2].shape)
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4]))
    return 0
