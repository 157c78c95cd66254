"""The layout of a packed step: which token belongs to which row, and what it may see.

Dimensions: T tokens of a step, R decoding rows, P prefix tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.masking_utils import causal_mask_function

from mathtune.attention.kernels import bias_of


@dataclass(frozen=True, slots=True)
class ContinuedPrompts:
    """The decoding rows sorted by the stored prompt that they continue.

    Attributes:
        order_R: The rows in that order.
        back_R: The place of each row in it.
        segments: ``(prompt, tokens, first, end)``: a prompt's name and length, and which rows, in
            that order, continue it.
    """

    order_R: Tensor
    back_R: Tensor
    segments: Sequence[tuple[int, int, int, int]]


@dataclass(frozen=True, slots=True)
class Step:
    """Which token of a packed step belongs to which row.

    Attributes:
        positions_T: Position of each token in its row's whole text, prefix included.
        rows_T: The row that stores each token; only of decoding rows where prompts are shared.
        columns_T: The token's position among those that the row stores.
        groups: The decoding rows, whose one token each comes first: ``(first, end, longest)`` of
            rows that attend together; ``longest`` is the most own tokens of one, the new one
            included.
        starts: Tokens of each row that starts in this step; they follow the decoding rows' tokens.
        new_prompts: Names of the prompts of the rows that start, which are stored for several rows;
            empty where each row stores its own.
        continued: Which decoding rows continue which stored prompt.
        is_prefix: The tokens are the shared prefix, and belong to no row.
    """

    positions_T: Tensor
    rows_T: Tensor
    columns_T: Tensor
    groups: Sequence[tuple[int, int, int]]
    starts: Sequence[int]
    new_prompts: Sequence[int] = ()
    continued: ContinuedPrompts | None = None
    is_prefix: bool = False


@dataclass(frozen=True, slots=True)
class PackedMask:
    """What the tokens of a step may see, as biases to add to scores.

    Attributes:
        prefix: ``[T, P]``, or None where all see the whole prefix.
        prompts: ``[rows, tokens]`` of each continued prompt, or None where all see all of it.
        groups: ``[rows, 1, 1, longest]`` of each group of decoding rows.
        starts: ``[tokens, tokens]`` of each row that starts, or None where it is plain causal.
    """

    prefix: Tensor | None
    prompts: tuple[Tensor | None, ...]
    groups: tuple[Tensor, ...]
    starts: tuple[Tensor | None, ...]


def mask_of(step: Step, allowed: Callable[..., Tensor], prefix_length: int) -> PackedMask:
    """Evaluate a mask function ``(batch, head, query, key) -> bool`` for a step's tokens."""
    plain = allowed is causal_mask_function
    positions = step.positions_T[:, None]
    first = 0 if step.is_prefix else prefix_length
    segments = step.continued.segments if step.continued else ()
    most_keys = max(
        first,
        *(most for _, _, most in step.groups),
        *(length for _, length, _, _ in segments),
        *step.starts,
        0,
    )
    places = torch.arange(most_keys, device=positions.device)
    prefix = None
    if first and not plain:
        prefix = _bias_if_needed(allowed(0, 0, positions, places[:first]))
    groups = []
    for begin, end, longest in step.groups:
        columns = step.columns_T[begin:end, None]
        seen = places[:longest] <= columns
        if not plain:
            asking = positions[begin:end]
            seen = seen & allowed(0, 0, asking, asking - columns + places[:longest])
        groups.append(bias_of(seen)[:, None, None])
    prompts: list[Tensor | None] = [None] * len(segments)
    if step.continued is not None and not plain:
        for index, (_, length, begin, end) in enumerate(segments):
            asking = positions[step.continued.order_R[begin:end]]
            seen = allowed(0, 0, asking, first + places[:length])
            prompts[index] = _bias_if_needed(seen)
    starts: list[Tensor | None] = []
    for length in step.starts:
        own = first + places[:length]
        starts.append(None if plain else bias_of(allowed(0, 0, own[:, None], own)))
    return PackedMask(prefix, tuple(prompts), tuple(groups), tuple(starts))


def _bias_if_needed(seen: Tensor) -> Tensor | None:
    return None if seen.all() else bias_of(seen)
