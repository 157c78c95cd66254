"""A training spread over several devices: what each rank holds, and how long all of them take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mathtune.planning.cluster.layouts import Cluster, Layout, Range, Training, layouts
from mathtune.planning.gpu_specs import Device
from mathtune.planning.memory_trace import Use
from mathtune.planning.peak_memory import MemoryPlan
from mathtune.planning.remedies import Estimate

NETWORK = 100e9 / 8
"""Bytes per second between machines where nothing is known: 100 Gbit/s."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The ways to spread a training.

    Attributes:
        cluster: Over what.
        training: What one rank would hold and do by itself.
        layouts: The ways.
        assumptions: What was assumed, one sentence each.
    """

    cluster: Cluster
    training: Training
    layouts: tuple[Layout, ...]
    assumptions: tuple[str, ...]


def spread_over(
    estimate: Estimate,
    seconds: Range | None,
    hf_config: Any,
    device: Device,
    *,
    nodes: int,
    network: float | None,
) -> Spread:
    """Return the ways to spread a training over ``estimate.devices`` devices.

    Args:
        estimate: Of one device's share of the work, with the whole model on it.
        seconds: Of that work: at best, usually, at worst.
        hf_config: The model's Transformers configuration.
        device: Each device.
        nodes: Machines they are in.
        network: Bytes per second that a machine sends; default: ``device.network`` per GPU.
    """
    gpus = estimate.devices // nodes
    assumed = []
    if nodes > 1 and network is None:
        network = device.network * gpus if device.network else NETWORK
        assumed.append(
            f"machines send each other {network * 8 / 1e9:,.0f} Gbit/s (--network sets it)"
        )
    cluster = Cluster(nodes, gpus, device.link, network if nodes > 1 else None)
    if device.link is not None and gpus > 1:
        assumed.append(f"a GPU sends {device.link / 1e9:,.0f} GB/s to others of its machine")
    memory, text = estimate.memory, hf_config.get_text_config()
    uses = memory.by_use
    weights = uses[Use.WEIGHTS]
    tables = 1 if getattr(text, "tie_word_embeddings", False) else 2
    root = min(1.0, tables * text.vocab_size * text.hidden_size / memory.parameters.total)
    # With one micro-batch per step there may be none yet at the peak, but they are exchanged.
    gradients = uses[Use.GRADIENTS] or _gradients(memory)
    others = memory.peak - weights - gradients - uses[Use.OPTIMIZER]
    training = Training(
        weights=weights,
        gradients=gradients,
        states=uses[Use.OPTIMIZER],
        others=max(0, others) + estimate.overhead,
        layers=getattr(text, "num_hidden_layers", 1),
        root=root,
        parameters=memory.parameters.total,
        trained=memory.parameters.trainable,
        steps=estimate.work.steps,
        micro_batches=estimate.work.micro_batches,
        computing=seconds,
    )
    return Spread(cluster, training, tuple(layouts(cluster, training)), tuple(assumed))


def _gradients(memory: MemoryPlan) -> int:
    """Return the bytes of all gradients: in the dtype of the weights, of an adapter 32 bits."""
    parameters = memory.parameters
    if parameters.trainable < parameters.total:
        return 4 * parameters.trainable
    return memory.by_use[Use.WEIGHTS]
