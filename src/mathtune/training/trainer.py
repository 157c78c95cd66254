"""``transformers.Trainer`` with our own batching, loss, validation and checkpoints.

Its arguments, callbacks, schedules, optimisers and trackers keep working. What is replaced:

* A data-loader batch is the whole set of examples of one optimiser step, on every rank.
  ``training_step`` takes this rank's part of it and cuts it into micro-batches
  (``distributed.passes``), so the cut is free to change and the gradient is not.
* The loss is summed over supervised tokens and divided by their count in the step (``loss.py``).
* Validation loss is the token-weighted mean over the validation set, whatever the batch size.
* Checkpoints are whole or not there (``checkpointed.py``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from transformers import PrinterCallback, TrainingArguments

from mathtune import ranks
from mathtune.records import Example
from mathtune.training.batching import across_ranks as distributed
from mathtune.training.batching.micro_batches import Limits, collate, supervised_count
from mathtune.training.batching.padding_free import attention_within_examples
from mathtune.training.checkpointed import CheckpointedTrainer
from mathtune.training.loss.supervised import summed_loss
from mathtune.training.memory.out_of_memory import FittingLimits, within_memory
from mathtune.training.nonfinite import NonFiniteSteps


class ExampleDataset(torch.utils.data.Dataset[Example]):
    """Rendered examples by index."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


class MathTrainer(CheckpointedTrainer):
    """Trains on ``Example`` records.

    Args:
        model: A Transformers or PEFT causal language model.
        args: With ``per_device_train_batch_size`` counting the examples of a whole optimiser step
            on one device and ``gradient_accumulation_steps`` 1: the step is cut here.
        examples_per_step: Examples of a whole optimiser step on all devices.
        train_examples: Training examples.
        validation_examples: Validation examples.
        fitting: Bounds of a micro-batch, and what becomes of them where memory runs out.
        tokenizer: Saved beside the weights.
        nonfinite: Decides what becomes of a step whose loss or gradient is not finite.
        say: Told of each step that is cut smaller because memory ran out.
        keep: How many checkpoints are kept; the newest and the best always are.
        exact_match: Called at every validation; its share of right answers is logged too.
        loraplus_lr_ratio: LoRA+ (Hayou et al. 2024): B matrices learn at so many times the rate.
        on_save: Called with each folder that weights were saved to, before it is sealed.
        callbacks: Further callbacks.
    """

    def __init__(
        self,
        *,
        model: torch.nn.Module,
        args: TrainingArguments,
        examples_per_step: int,
        train_examples: Sequence[Example],
        validation_examples: Sequence[Example],
        fitting: FittingLimits,
        tokenizer: Any,
        nonfinite: NonFiniteSteps,
        say: Callable[[str], None],
        keep: int,
        exact_match: Callable[[], float] | None = None,
        loraplus_lr_ratio: float | None = None,
        on_save: Callable[[Path], None] | None = None,
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
            keep=keep,
            on_save=on_save,
        )
        self.remove_callback(PrinterCallback)  # ProgressBar says it
        self.fitting = fitting
        self.examples_per_step = examples_per_step
        self._exact_match = exact_match
        self._loraplus_lr_ratio = loraplus_lr_ratio
        self.nonfinite = nonfinite
        self.tokens_seen = 0
        self._say = say
        self._loss_before = torch.zeros(())
        self._logged_before = 0

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Make the optimiser of the arguments, for LoRA+ with its two learning rates."""
        if self._loraplus_lr_ratio is None or self.optimizer is not None:
            optimizer: torch.optim.Optimizer = super().create_optimizer(model)
            return optimizer
        from peft.optimizers import create_loraplus_optimizer

        trained = self.model if model is None else model
        kind, options = self.get_optimizer_cls_and_kwargs(self.args, trained)
        self.optimizer = create_loraplus_optimizer(
            trained,
            kind,
            loraplus_lr_ratio=self._loraplus_lr_ratio,
            loraplus_weight_decay=self.args.weight_decay,
            **options,
        )
        return self.optimizer

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator; FSDP also works on CPUs, and gradients are summed in float32."""
        if ranks.sharding() == "FSDP" and self.args.use_cpu:
            # Accelerate looks at the plugin only where this says that there are GPUs.
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        super().create_accelerator_and_postprocess()
        plugin = getattr(self.accelerator.state, "fsdp_plugin", None)
        if plugin is not None and plugin.mixed_precision_policy is not None:
            plugin.mixed_precision_policy = dataclasses.replace(
                plugin.mixed_precision_policy, reduce_dtype=torch.float32
            )

    def get_train_dataloader(self) -> torch.utils.data.DataLoader[Any]:
        """Return a loader of the whole set of each optimiser step."""
        assert self.args.data_seed is not None
        return distributed.whole_steps(
            self.train_dataset,
            self._get_train_sampler(),
            self.examples_per_step,
            self.args.data_seed,
        )

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Any,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Add the gradient of one step's examples; return their mean loss a supervised token."""
        examples: list[Example] = inputs
        model.train()
        self._loss_before = self._tr_loss.clone()
        where = f"step {self.state.global_step + 1}"
        with self._attention():
            step_loss = within_memory(
                self.fitting,
                examples,
                partial(self._accumulate, model, examples),
                model=model,
                where=where,
                say=self._say,
            )
        self.tokens_seen += sum(len(example.ids) for example in examples)
        # Of all ranks, so that each saves and logs the same.
        mean: torch.Tensor = self.accelerator.reduce(step_loss, reduction="mean")
        return mean

    @property
    def limits(self) -> Limits:
        """Bounds of a micro-batch."""
        return self.fitting.limits

    def _accumulate(
        self, model: torch.nn.Module, examples: Sequence[Example], passes: distributed.Passes
    ) -> torch.Tensor:
        """Add the gradient of a step's examples; return this rank's part of their mean loss."""
        self.nonfinite.begin_step()
        # DDP averages gradients over ranks, the loss is a mean over all ranks' tokens: undo the
        # average.
        scale = self.accelerator.num_processes / supervised_count(examples)
        step_loss = torch.zeros((), device=self.args.device)
        for index, (micro, weight) in enumerate(passes):
            with self._gradients_wait(model, index < len(passes) - 1):
                loss = self._summed_loss(model, micro, self.args.label_smoothing_factor)
                loss = loss * (scale * weight)
            self.nonfinite.note(loss, micro)
            self.accelerator.backward(loss)
            step_loss += loss.detach()
        return step_loss

    def _summed_loss(
        self, model: torch.nn.Module, micro: Sequence[Example], label_smoothing: float = 0.0
    ) -> torch.Tensor:
        batch = collate(micro, padding_free=self.limits.padding_free).to(self.args.device)
        # The output layer alone would run outside of the wrappers that gather its weights.
        chunk = self.limits.targets if ranks.sharding() is None else None
        return summed_loss(model, batch, label_smoothing, chunk)

    def _attention(self) -> contextlib.AbstractContextManager[None]:
        if not self.limits.padding_free:
            return contextlib.nullcontext()
        return attention_within_examples(self.accelerator.unwrap_model(self.model))

    def _gradients_wait(
        self, model: torch.nn.Module, more: bool
    ) -> contextlib.AbstractContextManager[Any]:
        """Leave the reduction over ranks to the step's last pass, where that costs no memory."""
        if ranks.sharding() == "DeepSpeed":
            # Its engine reduces, clips and steps within ``backward`` when it is told to sync.
            self.accelerator.gradient_state._set_sync_gradients(not more)
        elif more and ranks.sharding() != "FSDP":  # whole gradients would stay on each rank
            return self.accelerator.no_sync(model)
        return contextlib.nullcontext()

    def _clip_grad_norm(self, model: torch.nn.Module) -> torch.Tensor:
        norm: torch.Tensor = super()._clip_grad_norm(model)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm  # of shards

    def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
        """Return the gradient's norm; take a step that is not finite out of everything."""
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        step = self.state.global_step + 1
        if self.nonfinite.found(step, float(norm), ranks.largest):
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
        """Return loss (nats a supervised token) and perplexity over the whole validation set.

        Raises:
            ValidationInterrupted: A signal came while problems were solved.
        """
        examples = self.eval_dataset if eval_dataset is None else eval_dataset
        everything = [examples[index] for index in range(len(examples))]
        was_training = self.model.training
        self.model.eval()
        where = f"the validation after step {self.state.global_step}"
        with torch.no_grad(), self._attention():
            summed = within_memory(
                self.fitting,
                everything,
                self._validation_loss,
                model=self.model,
                where=where,
                say=self._say,
            )
        self.model.train(was_training)
        summed = self.accelerator.reduce(summed, reduction="sum")
        loss = float(summed) / supervised_count(everything)
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

    def _validation_loss(self, passes: distributed.Passes) -> torch.Tensor:
        summed = torch.zeros((), dtype=torch.float64, device=self.args.device)
        for micro, weight in passes:
            summed += self._summed_loss(self.model, micro) * weight
        return summed

    def floating_point_ops(self, inputs: Any) -> int:
        """Return one rank's 6 × parameters × tokens (Kaplan et al. 2020), both passes."""
        tokens = sum(len(example.ids) for example in inputs)
        return 6 * self._parameter_count * tokens // self.args.world_size

    @property
    def _parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def progress(self) -> dict[str, Any]:
        """Return where the logged loss, the counts and the non-finite steps stand."""
        return {
            "loss": float(self._tr_loss),
            "last_logged_step": self._globalstep_last_logged,
            "tokens_seen": self.tokens_seen,
            "examples_per_step": self.examples_per_step,
            "nonfinite": self.nonfinite.state(),
        }

    def restore_progress(self, saved: dict[str, Any]) -> None:
        """Continue the running mean of the logged loss and the counts."""
        self._tr_loss = torch.tensor(saved["loss"], device=self.args.device)
        self._globalstep_last_logged = self._logged_before = saved["last_logged_step"]
        self.tokens_seen = saved["tokens_seen"]
        self.nonfinite.restore(saved["nonfinite"])
