"""What several GPUs send each other, and what each of them holds: DDP, FSDP2, HSDP, ZeRO-3.

Collectives are counted as rings: of an all-gather or a reduce-scatter of S bytes over N ranks each
rank sends (N - 1)/N of S, of an all-reduce twice as much (Patarasuk and Yuan 2009, "Bandwidth
optimal all-reduce algorithms for clusters of workstations"). A ring over several machines is as
slow as its slowest part: a GPU's link, or the network of a machine.

What is exchanged is what ``training/loop.py`` exchanges: DDP all-reduces gradients once a step;
sharded training gathers the weights for the forward and again for the backward pass of every
micro-batch, and reduces gradients after each (Zhao et al. 2023, "PyTorch FSDP").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

LINK_REACHED = (0.5, 0.7, 0.85)
"""Share of a published bandwidth that collectives reach, at worst, usually and at best."""

HIDDEN = (0.0, 0.7, 1.0)
"""Share of the shorter of computing and communicating that runs beside the longer one, likewise."""

GATHERED_LAYERS = 3
"""Layers whose weights a rank holds whole under FSDP2: the current one, the one that is gathered
meanwhile, and the buffer it arrives in."""

ZERO3_LIVE = 1_000_000_000
"""DeepSpeed's ``stage3_max_live_parameters``: parameters that a rank may hold whole."""
ZERO3_BUCKET = 500_000_000
"""DeepSpeed's ``reduce_bucket_size``: gradients that are reduced at once."""

Range = tuple[float, float, float]
"""At best, usually, at worst."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Machines alike, with GPUs alike.

    Attributes:
        nodes: Machines.
        gpus: GPUs of each.
        link: Bytes per second that a GPU sends to others of its machine; None where unknown.
        network: Bytes per second that a machine sends to the others; None likewise.
    """

    nodes: int
    gpus: int
    link: float | None
    network: float | None

    @property
    def ranks(self) -> int:
        """All GPUs."""
        return self.nodes * self.gpus

    def ring(self) -> float | None:
        """Return the bytes per second of a ring over all GPUs."""
        parts = [self.link] if self.gpus > 1 else []
        parts += [self.network] if self.nodes > 1 else []
        known = [each for each in parts if each is not None]
        return min(known, default=None) if len(known) == len(parts) else None


@dataclass(frozen=True, slots=True)
class Training:
    """What one rank would hold and do with everything on it, in bytes.

    Attributes:
        weights: Weights, as they are held.
        gradients: Gradients of what is trained.
        states: The optimiser's.
        others: Activations, logits and everything besides tensors.
        layers: Layers of the model.
        root: Share of the weights outside of layers: embeddings and output head.
        parameters: How many weights.
        trained: How many of them are trained.
        steps: Optimiser steps.
        micro_batches: On each rank, over all steps.
        computing: Seconds of forward and backward on each rank; None where unknown.
    """

    weights: int
    gradients: int
    states: int
    others: int
    layers: int
    root: float
    parameters: int
    trained: int
    steps: int
    micro_batches: int
    computing: Range | None


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to spread a training over a cluster.

    Attributes:
        name: ``DDP``, ``FSDP2``, ``HSDP`` or ``ZeRO-3``.
        peak: Bytes on each rank.
        sent: Bytes that each rank sends in a training.
        sent_between_nodes: Those of ``sent`` that HSDP sends to other machines only; 0 otherwise.
        communicating: Seconds of it; None where a bandwidth is unknown.
        seconds: Seconds of all steps, communication partly hidden; None likewise.
    """

    name: str
    peak: int
    sent: float
    sent_between_nodes: float
    communicating: Range | None
    seconds: Range | None


def layouts(cluster: Cluster, training: Training) -> list[Layout]:
    """Return every way in the order of how much of the model each rank holds."""
    return list(_layouts(cluster, training))


def _layouts(cluster: Cluster, given: Training) -> Iterator[Layout]:
    shared = given.weights + given.gradients + given.states
    ring, ranks = cluster.ring(), cluster.ranks
    everything = shared + given.gradients + given.others  # with the copy that is exchanged
    reduced = given.steps * all_reduce(given.gradients, ranks)
    yield _layout("DDP", everything, given, (reduced, ring), (0.0, None))
    gathered = _gathered_layers(given)
    if cluster.nodes > 1 and cluster.gpus > 1:
        inside = given.micro_batches * sharded(given.weights, given.gradients, cluster.gpus)
        outside = given.micro_batches * all_reduce(given.gradients / cluster.gpus, cluster.nodes)
        # All GPUs of a machine share its network.
        network = cluster.network and cluster.network / cluster.gpus
        peak = shared // cluster.gpus + gathered + given.others
        yield _layout("HSDP", peak, given, (inside, cluster.link), (outside, network))
    sent = given.micro_batches * sharded(given.weights, given.gradients, ranks)
    peak = shared // ranks + gathered + given.others
    yield _layout("FSDP2", peak, given, (sent, ring), (0.0, None))
    live = given.weights * min(1.0, ZERO3_LIVE / given.parameters)
    bucket = given.gradients * min(1.0, ZERO3_BUCKET / max(1, given.trained))
    peak = shared // ranks + round(live + bucket) + given.others
    yield _layout("ZeRO-3", peak, given, (sent, ring), (0.0, None))


def all_reduce(size: float, ranks: int) -> float:
    """Return the bytes that each rank sends in a ring all-reduce of ``size`` bytes."""
    return 2 * size * (ranks - 1) / ranks


def sharded(weights: float, gradients: float, ranks: int) -> float:
    """Return the bytes that each rank sends in a micro-batch of sharded training."""
    return (2 * weights + gradients) * (ranks - 1) / ranks


def _gathered_layers(given: Training) -> int:
    """Return the bytes of what FSDP2 holds whole: the root, some layers, a layer's gradients."""
    layer = (1 - given.root) * given.weights / given.layers
    gradient = (1 - given.root) * given.gradients / given.layers
    return round(given.root * given.weights + GATHERED_LAYERS * layer + 2 * gradient)


Sent = tuple[float, float | None]
"""Bytes, and bytes per second."""


def _layout(name: str, peak: int, given: Training, first: Sent, second: Sent) -> Layout:
    """Return a way whose communication goes over up to two kinds of links, one after the other."""
    known = all(rate or not size for size, rate in (first, second))
    communicating = seconds = None
    if known:
        ideal = sum(size / rate for size, rate in (first, second) if rate)
        worst, usual, best = (ideal / reached for reached in LINK_REACHED)
        communicating = best, usual, worst
        if given.computing is not None:
            cases = zip(given.computing, communicating, reversed(HIDDEN), strict=True)
            best, usual, worst = (
                max(computing, sending) + (1 - hidden) * min(computing, sending)
                for computing, sending, hidden in cases
            )
            seconds = best, usual, worst
    return Layout(name, peak, first[0] + second[0], second[0], communicating, seconds)
