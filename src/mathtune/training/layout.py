"""Whether a training's examples can share rows: tried on two of them before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mathtune.records import Example
from mathtune.training.batches import collate
from mathtune.training.head import target_hidden
from mathtune.training.padding_free import attention_within_examples

_TOLERANCE = {4: 1e-3, 2: 5e-2}
"""Relative difference of a hidden state that rounding explains, by bytes of a number."""


@torch.no_grad()
def why_padded(model: Any, examples: Sequence[Example]) -> str | None:
    """Return why a model's examples cannot share rows, or None if they can.

    The two shortest examples are given to the model in one row and each alone. If one sees the
    other, through attention or a state that runs along the row, its last hidden states differ.
    """
    two = sorted(examples, key=lambda example: len(example.ids))[:2]
    was_training = model.training
    model.eval()
    try:
        alone_ND = torch.cat([_hidden(model, [example]) for example in two])
        with attention_within_examples(model):
            shared_ND = _hidden(model, two)
    except (RuntimeError, TypeError, ValueError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    finally:
        model.train(was_training)
    apart_N = torch.linalg.norm(shared_ND - alone_ND, dim=-1) / torch.linalg.norm(alone_ND, dim=-1)
    worst = float(apart_N.max())
    if worst <= _TOLERANCE.get(next(model.parameters()).dtype.itemsize, 5e-2):
        return None
    return f"its hidden states change by up to {worst:.1g} of their size"


def _hidden(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    # Of every token: what reaches only the next few is seen nowhere else.
    batch = collate(examples, padding_free=len(examples) > 1, every_token=True).to(model.device)
    return target_hidden(model, batch).float()
