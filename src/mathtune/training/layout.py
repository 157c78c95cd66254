"""Whether a training's examples can share rows: tried on two of them before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from mathtune.records import Example
from mathtune.training.batches import collate
from mathtune.training.loss import target_logits
from mathtune.training.padding_free import attention_within_examples

_TOLERANCE = {4: 1e-3, 2: 5e-2}
"""Relative difference of logits that rounding explains, by bytes of a number."""


@torch.no_grad()
def why_padded(model: Any, examples: Sequence[Example]) -> str | None:
    """Return why a model's examples cannot share rows, or None if they can.

    The two shortest examples are given to the model in one row and each alone. If one sees the
    other, through attention or a state that runs along the row, its logits differ.
    """
    two = sorted(examples, key=lambda example: len(example.ids))[:2]
    was_training = model.training
    model.eval()
    try:
        alone_NV = torch.cat([_logits(model, [example]) for example in two])
        with attention_within_examples(model):
            shared_NV = _logits(model, two)
    except (RuntimeError, TypeError, ValueError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0]
    finally:
        model.train(was_training)
    # Without their mean, which the softmax takes away and which can be far larger than the rest.
    alone_NV, shared_NV = (all_ - all_.mean(-1, keepdim=True) for all_ in (alone_NV, shared_NV))
    difference = float(torch.linalg.norm(shared_NV - alone_NV) / torch.linalg.norm(alone_NV))
    if difference <= _TOLERANCE.get(next(model.parameters()).dtype.itemsize, 5e-2):
        return None
    return f"its logits change by {difference:.1g} of their size"


def _logits(model: Any, examples: Sequence[Example]) -> torch.Tensor:
    batch = collate(examples, padding_free=len(examples) > 1).to(model.device)
    return target_logits(model, batch).float()
