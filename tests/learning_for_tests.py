"""What tests of several objectives share: a step's gradient, a recipe, the lines of a training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mathtune.training.batching.across_ranks import micro_batches
from mathtune.training.batching.micro_batches import Item, Limits
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.objective import Objective


def gradient_of(
    objective: Objective[Item], model: torch.nn.Module, items: Sequence[Item], limits: Limits
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return a step's mean loss and gradient, as the loop adds them up."""
    model.zero_grad()
    total = 0.0
    with attention_for(model, limits):
        for micro, weight in micro_batches(items, limits):
            loss = objective.loss_sum(model, micro, limits) * weight / objective.normaliser(items)
            loss.backward()
            total += float(loss.detach())
    named = model.named_parameters()
    return total, {name: p.grad.clone() for name, p in named if p.grad is not None}


def recipe_on_own_answers(objective: str, section: str, max_new_tokens: int) -> str:
    """Return a short training of the toy on own answers, with a checkpoint after each step."""
    return f"""
name: own-answers
seed: 1
model: {{name_or_path: tiny-base, dtype: float32}}
data:
  train: {{generated: problems, types: [equal_groups, share_equally, leftover], n: 40}}
  validation: {{generated: problems, types: [share_equally], n: 4, seed: 7}}
  test: {{generated: problems, types: [share_equally], part: test, n: 2}}
train:
  objective: {objective}
  max_steps: 3
  num_train_epochs: 1
  per_device_train_batch_size: 2
  learning_rate: 1.0e-3
  optim: sgd
  max_length: 300
  exact_match_samples: 1
  metric_for_best_model: eval_exact_match
  eval_strategy: steps
  eval_steps: 100
  save_steps: 1
  save_total_limit: 10
  logging_steps: 2
{objective}: {section}
eval: {{max_new_tokens: {max_new_tokens}, perplexity: false}}
"""


def lines(run: Path) -> list[dict[str, Any]]:
    """Return the lines of ``metrics.jsonl`` without times."""
    made = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in made]
