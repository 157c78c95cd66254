"""One optimiser step on several ranks: which rank takes which examples, in how many micro-batches.

Every rank draws all examples of a step, as one process would, and takes its share. So all ranks
know the step's count of supervised tokens and each other's micro-batches without communication, the
data order is that of one process, and a run can continue on another number of ranks with the same
steps.

Under FSDP every forward and backward pass gathers weights from all ranks, and under DDP the last
one reduces gradients: a rank with fewer micro-batches would leave the others waiting forever. So
each runs as many as the busiest, with a loss weight of 0 where it has no examples left.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from mathtune import ranks
from mathtune.training.batching.micro_batches import Item, Limits, StepItem, cut

MicroBatches = list[tuple[list[Item], float]]
"""One rank's micro-batches of a step with their loss weights: 1, or 0 where the rank has no more
examples and only keeps up with the others."""


def parts(items: Sequence[Item], count: int) -> list[list[Item]]:
    """Distribute items so that all shares have about the same number of tokens.

    The longest go first, each to the share with the fewest tokens so far.
    """
    dealt: list[list[Item]] = [[] for _ in range(count)]
    loads = [(0, part) for part in range(count)]
    for item in sorted(items, key=_tokens, reverse=True):
        tokens, part = heapq.heappop(loads)
        dealt[part].append(item)
        heapq.heappush(loads, (tokens + _tokens(item), part))
    return dealt


def _tokens(item: StepItem) -> int:
    return sum(item.lengths)


def micro_batches(items: Sequence[Item], limits: Limits) -> MicroBatches[Item]:
    """Return this rank's micro-batches of a step, as many as on any other rank."""
    if ranks.world_size() == 1:
        return [(micro, 1.0) for micro in cut(items, limits)]
    by_rank = [list(cut(part, limits)) for part in parts(items, ranks.world_size())]
    own = [(micro, 1.0) for micro in by_rank[ranks.rank()]]
    idle = max(map(len, by_rank)) - len(own)
    # First, so that the last one, in which DDP reduces gradients, is like the others'.
    return [([min(items, key=_tokens)], 0.0)] * idle + own
