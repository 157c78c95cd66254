"""Which optimisers a recipe may name, and which way a schedule follows validation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mathtune import config
from mathtune.config.hf_names import optimizers
from mathtune.errors import ConfigError
from mathtune.models.compute import Compute
from mathtune.preflight import Purpose, load
from mathtune.training.arguments import training_arguments
from mathtune.training.optimizers import make_optimizer, make_scheduler

FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")


@pytest.mark.parametrize("optim", ["galore_adamw", "lomo", "adalomo", "schedule_free_adamw"])
def test_an_optimiser_that_needs_more_than_a_call_per_step_is_refused(optim: str) -> None:
    with pytest.raises(ConfigError, match=f"train.optim={optim} is not supported") as refused:
        load("demo", [f"train.optim={optim}"], None, Purpose.VALIDATE)
    assert len(refused.value.faults) == 1
    assert optim not in optimizers() and "adamw_torch" in optimizers()


@pytest.mark.parametrize(
    ("metric", "figures", "falls"),
    [
        ("eval_loss", [3.0, 2.0, 1.0], False),
        ("eval_loss", [1.0, 2.0, 3.0], True),
        ("eval_exact_match", [0.1, 0.2, 0.3], False),
        ("eval_exact_match", [0.3, 0.2, 0.1], True),
    ],
)
def test_a_plateau_schedule_lowers_the_rate_when_the_metric_gets_worse(
    tmp_path: Path, metric: str, figures: list[float], falls: bool
) -> None:
    settings = [
        "train.lr_scheduler_type=reduce_lr_on_plateau", f"train.metric_for_best_model={metric}",
        "train.exact_match_samples=2", "train.eval_strategy=steps",
    ]  # fmt: skip
    recipe = config.load("demo", settings)
    arguments = training_arguments(recipe, FLOAT32, tmp_path)
    optimizer = make_optimizer(torch.nn.Linear(2, 2), arguments)
    scheduler = make_scheduler(optimizer, arguments, 100)
    rate = optimizer.param_groups[0]["lr"]
    for figure in [*figures, *figures[-1:] * 12 * falls]:
        scheduler.step(figure)
    assert (optimizer.param_groups[0]["lr"] < rate) is falls
