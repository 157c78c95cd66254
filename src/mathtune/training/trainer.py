"""``transformers.Trainer`` with our own batching, loss, validation and checkpoints.

Its arguments, callbacks, schedules, optimisers and trackers keep working. What is replaced:

* A data-loader batch is the whole set of examples of one optimiser step. ``training_step`` cuts it
  into micro-batches (``batches.cut``), so the cut is free to change and the gradient is not.
* The loss is summed over supervised tokens and divided by their count in the step (``loss.py``).
* Validation loss is the token-weighted mean over the validation set, whatever the batch size.
* Checkpoints are written aside, sealed and renamed into place (``checkpoints.py``).
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from mathtune.records import Example
from mathtune.training import checkpoints
from mathtune.training.batches import Limits, collate, cut, supervised_count
from mathtune.training.loss import summed_loss
from mathtune.training.nonfinite import NonFiniteSteps

LOSS_WINDOW = "loss_window.json"


class ExampleDataset(torch.utils.data.Dataset[Example]):
    """Rendered examples by index."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


class MathTrainer(Trainer):
    """Trains on ``Example`` records.

    Args:
        model: A Transformers or PEFT causal language model.
        args: With ``per_device_train_batch_size`` counting the examples of a whole optimiser step
            on one device and ``gradient_accumulation_steps`` 1: the step is cut here.
        train_examples: Training examples.
        validation_examples: Validation examples.
        limits: Bounds of a micro-batch.
        tokenizer: Saved beside the weights.
        nonfinite: Decides what becomes of a step whose loss or gradient is not finite.
        keep: How many checkpoints are kept; the newest and the best always are.
        exact_match: Called at every validation; its share of right answers is logged too.
        callbacks: Further callbacks.
    """

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        args: TrainingArguments,
        train_examples: Sequence[Example],
        validation_examples: Sequence[Example],
        limits: Limits,
        tokenizer: Any,
        nonfinite: NonFiniteSteps,
        keep: int,
        exact_match: Callable[[], float] | None = None,
        callbacks: Sequence[Any] = (),
    ) -> None:
        super().__init__(
            model=model,
            args=args,
            train_dataset=ExampleDataset(train_examples),
            eval_dataset=ExampleDataset(validation_examples),
            data_collator=list,
            processing_class=tokenizer,
            callbacks=list(callbacks),
        )
        self.remove_callback(PrinterCallback)  # ProgressBar says it
        self.limits = limits
        self._exact_match = exact_match
        self.nonfinite = nonfinite
        self.tokens_seen = 0
        self._keep = keep
        self._loss_before = torch.zeros(())
        self._logged_before = 0
        self._staging: Path | None = None

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Any,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Add the gradient of one step's examples; return their mean loss a supervised token."""
        examples: list[Example] = inputs
        model.train()
        self.nonfinite.begin_step()
        self._loss_before = self._tr_loss.clone()
        total = self._sum_over_ranks(supervised_count(examples))
        # DDP averages gradients over ranks, the loss is a mean over all ranks' tokens: undo the
        # average.
        scale = self.accelerator.num_processes / total
        step_loss = torch.zeros((), device=self.args.device)
        micro_batches = list(cut(examples, self.limits))
        for index, micro in enumerate(micro_batches):
            last = index == len(micro_batches) - 1
            sync = contextlib.nullcontext() if last else self.accelerator.no_sync(model)
            with sync, self.compute_loss_context_manager():
                batch = collate(micro).to(self.args.device)
                loss = summed_loss(model, batch, self.args.label_smoothing_factor) * scale
            self.nonfinite.note(loss, micro)
            self.accelerator.backward(loss)
            step_loss += loss.detach()
        self.tokens_seen += self._sum_over_ranks(sum(len(example.ids) for example in examples))
        return step_loss

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Return the gradient's norm; take a step that is not finite out of everything."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        step = self.state.global_step + 1
        if self.nonfinite.found(step, float(norm), self._sum_over_ranks):
            model.zero_grad()  # an optimiser passes over weights that have no gradient
            self._tr_loss.copy_(self._loss_before)
        return norm

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log figures, the loss as the mean over the steps that were not left out."""
        if "loss" in logs:
            self.nonfinite.correct(logs, self.state.global_step - self._logged_before)
            self._logged_before = self.state.global_step
        super().log(logs, *args, **kwargs)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Return loss (nats a supervised token) and perplexity over the whole validation set."""
        examples = self.eval_dataset if eval_dataset is None else eval_dataset
        own = [
            examples[index]
            for index in range(self.args.process_index, len(examples), self.args.world_size)
        ]
        was_training = self.model.training
        self.model.eval()
        summed = torch.zeros((), dtype=torch.float64, device=self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            for micro in cut(own, self.limits):
                summed += summed_loss(self.model, collate(micro).to(self.args.device))
        self.model.train(was_training)
        loss = self._sum_over_ranks(float(summed)) / self._sum_over_ranks(supervised_count(own))
        metrics = {
            f"{metric_key_prefix}_loss": loss,
            f"{metric_key_prefix}_perplexity": math.exp(min(loss, 700.0)),  # e^710 overflows
        }
        if self._exact_match is not None:
            metrics[f"{metric_key_prefix}_exact_match"] = self._exact_match()
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def floating_point_ops(self, inputs: Any) -> int:
        """Return 6 × parameters × tokens (Kaplan et al. 2020), forward and backward."""
        return 6 * self._parameter_count * sum(len(example.ids) for example in inputs)

    @property
    def _parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def _sum_over_ranks(self, value: float) -> Any:
        if self.args.world_size == 1:
            return value
        tensor = torch.tensor(value, dtype=torch.float64, device=self.args.device)
        return type(value)(self.accelerator.reduce(tensor, reduction="sum").item())

    # Checkpoints

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Return whether to save after a validation: it is the best so far, or one was due."""
        return super()._determine_best_metric(metrics, trial) or bool(self.control.should_save)

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging or self.args.output_dir)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        """Let Transformers write the checkpoint into a folder aside, then seal and publish it."""
        output = Path(self.args.output_dir)
        step = self.state.global_step
        final = output / f"checkpoint-{step}"
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(final)
        staging = output / checkpoints.STAGING
        if self.is_world_process_zero():
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        best = self.state.best_model_checkpoint
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        saving = checkpoints.saving(staging, needed=12 * trained)  # weights and two moments
        try:
            self._staging = staging
            with saving:
                super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        self.state.best_model_checkpoint = (
            best  # Transformers noted its place in the staging folder
        )
        self.accelerator.wait_for_everyone()
        if not self.is_world_process_zero():
            return
        folder = staging / final.name
        with checkpoints.saving(staging):
            self.state.save_to_json(str(folder / "trainer_state.json"))
            window = {
                "loss": float(self._tr_loss),
                "last_logged_step": self._globalstep_last_logged,
                "tokens_seen": self.tokens_seen,
                "nonfinite": self.nonfinite.state(),
            }
            (folder / LOSS_WINDOW).write_text(json.dumps(window), encoding="utf-8")
            checkpoints.seal(folder)
            checkpoints.publish(folder, final)
        shutil.rmtree(staging, ignore_errors=True)
        rotate_checkpoints(
            output_dir=str(output),
            save_total_limit=self._keep,
            best_model_checkpoint=best,
        )

    def adopt(self, checkpoint: Path) -> None:
        """Take over a training that had ended: its state, and its best weights into the model."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.restore_loss_window(checkpoint)
        self._load_best_model()

    def restore_loss_window(self, checkpoint: Path) -> None:
        """Continue the running mean of the logged loss where the checkpoint left it."""
        if best := self.state.best_model_checkpoint:  # the run folder may have been moved
            self.state.best_model_checkpoint = str(checkpoint.with_name(Path(best).name))
        window = json.loads((checkpoint / LOSS_WINDOW).read_text(encoding="utf-8"))
        self._tr_loss = torch.tensor(window["loss"], device=self.args.device)
        self._globalstep_last_logged = self._logged_before = window["last_logged_step"]
        self.tokens_seen = window["tokens_seen"]
        self.nonfinite.restore(window["nonfinite"])

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        super()._save(output_dir, state_dict)
        # A pickle of the arguments: recipe.yaml says the same and opens safely.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)
