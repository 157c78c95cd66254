"""The loop's two seams, and the state that its checkpoints hold."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mathtune import config
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Example, Problem, content_id
from mathtune.training.accelerator import make_accelerator
from mathtune.training.arguments import training_arguments
from mathtune.training.assembly import first_state, make_loop
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.callbacks import MetricsFile, TrainingProgress
from mathtune.training.checkpointing.schedule import StopOnSignal
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.checkpointing.storage import newest_whole
from mathtune.training.loop import TrainingLoop
from mathtune.training.loss.supervised import summed_loss
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.step_source import ShuffledExamples
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(
        Problem(content_id(f"What is {n}?"), f"What is {n}?", f"It is {n}. #### {n}", "1")
    )
    for n in range(10, 21)
]


def test_each_epoch_has_every_example_once_in_an_order_of_its_own():
    source = ShuffledExamples(EXAMPLES, 4, seed=7)
    epochs = []
    for number in range(1, 4):
        steps = [source.next_step() for _ in range(3)]
        assert [len(step) for step in steps] == [4, 4, 3]
        assert source.epoch == number
        epochs.append([example.problem_id for step in steps for example in step])
    assert len({tuple(order) for order in epochs}) == 3
    assert all(sorted(order) == sorted(epochs[0]) for order in epochs)


def test_a_source_goes_on_where_its_state_was_taken():
    whole = ShuffledExamples(EXAMPLES, 4, seed=7)
    steps = [whole.next_step() for _ in range(9)]
    for done in range(9):
        again = ShuffledExamples(EXAMPLES, 4, seed=7)
        again.restore(json.loads(json.dumps({"steps": done})))
        assert again.next_step() == steps[done]


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer with its advantage, as a policy gradient needs it."""

    example: Example
    advantage: float

    @property
    def problem_id(self) -> str:
        return self.example.problem_id

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.example.lengths

    @property
    def targets(self) -> int:
        return self.example.targets


class Sampled:
    """Answers drawn anew for each step, as from a model; never an epoch."""

    epoch = 0.5

    def __init__(self) -> None:
        self._chance = random.Random(3)

    def next_step(self) -> list[Answer]:
        drawn = self._chance.sample(EXAMPLES, 5)
        return [Answer(example, self._chance.choice([-0.5, 1.0])) for example in drawn]

    def state(self) -> dict[str, Any]:
        version, numbers, gauss = self._chance.getstate()
        return {"chance": [version, list(numbers), gauss]}

    def restore(self, state: dict[str, Any]) -> None:
        version, numbers, gauss = state["chance"]
        self._chance.setstate((version, tuple(numbers), gauss))


class PolicyGradient:
    """Advantage-weighted log-likelihood, divided by the number of answers."""

    def normaliser(self, items: Sequence[Answer]) -> float:
        return len(items)

    def loss_sum(
        self, model: torch.nn.Module, micro_batch: Sequence[Answer], limits: Limits
    ) -> torch.Tensor:
        losses = [
            answer.advantage
            * summed_loss(model, collate([answer.example], padding_free=limits.padding_free))
            for answer in micro_batch
        ]
        return torch.stack(losses).sum()

    def metrics(self) -> dict[str, float]:
        return {"reward": 0.25}


STEPS = 6


def policy_loop(folder: Path, model: torch.nn.Module) -> TrainingLoop[Any]:
    """A recipe's loop with another objective and another source."""
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [
            f"train.max_steps={STEPS}", "train.learning_rate=1e-3", "train.optim=sgd",
            "train.lr_scheduler_type=constant", "train.warmup_steps=0", "train.logging_steps=2",
            "train.max_grad_norm=1", "train.save_steps=100", "train.weight_decay=0",
        ],
    )  # fmt: skip
    checkpoint, _ = newest_whole(folder / "checkpoints")
    arguments = training_arguments(recipe, FLOAT32, folder)
    accelerator, model = make_accelerator(recipe, arguments, model)
    return make_loop(
        recipe,
        arguments,
        accelerator,
        model=model,
        tokenizer=TOKENIZER,
        compute=FLOAT32,
        objective=PolicyGradient(),
        source=Sampled(),
        state=first_state(recipe, 1, checkpoint),
        validation_examples=EXAMPLES[:2],
        checkpoint=checkpoint,
        fitting=FittingLimits.open(folder, Limits(2, 10_000, 10_000)),
        stop=StopOnSignal(),
        exact_match=None,
        recorders=[MetricsFile(folder / "metrics.jsonl")],
        progress=TrainingProgress(),
        run_dir=folder,
    )


def test_another_objective_learns_from_sampled_answers(tmp_path):
    """As in a plain loop, and bit for bit the same after an interruption."""
    by_hand, source = tiny_model("llama", len(TOKENIZER)), Sampled()
    optimizer = torch.optim.SGD(by_hand.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        answers = source.next_step()
        each = [a.advantage * summed_loss(by_hand, collate([a.example])) for a in answers]
        loss = torch.stack(each).sum() / len(answers)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())

    model = tiny_model("llama", len(TOKENIZER))
    policy_loop(tmp_path / "whole", model).run()
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, by_hand.state_dict()[name], rtol=1e-5, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").open()]
    logged = [line for line in lines if "loss" in line]
    means = [sum(losses[n : n + 2]) / 2 for n in range(0, STEPS, 2)]
    assert [line["loss"] for line in logged] == pytest.approx(means, rel=1e-5)
    assert [line["reward"] for line in logged] == [0.25] * 3

    parts = tiny_model("llama", len(TOKENIZER))
    forwards = 0

    def interrupt(*_: object) -> None:
        nonlocal forwards
        forwards += parts.training
        if forwards == 12 and parts.training:  # 5 answers a step
            os.kill(os.getpid(), signal.SIGTERM)

    hook = parts.register_forward_pre_hook(interrupt)
    loop = policy_loop(tmp_path / "parts", parts)
    with loop.stop:
        loop.run()
    hook.remove()
    assert loop.state.global_step == 3
    parts = tiny_model("llama", len(TOKENIZER))
    policy_loop(tmp_path / "parts", parts).run()
    for name, weight in parts.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


def test_checkpoints_of_the_trainer_before_are_still_read(tmp_path):
    """Files as ``transformers.Trainer`` and mathtune 0.1's additions to it wrote them."""
    (tmp_path / "trainer_state.json").write_text(
        json.dumps(
            {
                "best_global_step": 3, "best_metric": 5.77, "epoch": 4 / 3, "global_step": 4,
                "best_model_checkpoint": "run/checkpoints/checkpoint-3", "max_steps": 9,
                "log_history": [{"epoch": 1.0, "eval_loss": 5.77, "step": 3}], "save_steps": 500,
                "stateful_callbacks": {
                    "EarlyStoppingCallback": {
                        "args": {"early_stopping_patience": 3},
                        "attributes": {"early_stopping_patience_counter": 2},
                    }
                },
            }
        )
    )  # fmt: skip
    (tmp_path / "loss_window.json").write_text(
        '{"loss": 5.847, "last_logged_step": 3, "tokens_seen": 1482, "examples_per_step": 8, '
        '"nonfinite": {"skipped": 1, "in_a_row": 0, "in_window": 0}, "validation_due": false}'
    )
    state = TrainingState.load(tmp_path)
    assert state == TrainingState(
        max_steps=9, examples_per_step=8, global_step=4, epoch=4 / 3, best_metric=5.77,
        best_global_step=3, validations_without_gain=2, tokens_seen=1482, loss_since_logged=5.847,
        last_logged_step=3, nonfinite={"skipped": 1, "in_a_row": 0, "in_window": 0},
        source={"steps": 4}, log_history=[{"epoch": 1.0, "eval_loss": 5.77, "step": 3}],
    )  # fmt: skip
    assert not state.has_ended(patience=3) and state.has_ended(patience=2)
    (tmp_path / "saved").mkdir()
    state.save(tmp_path / "saved")
    assert TrainingState.load(tmp_path / "saved") == state
