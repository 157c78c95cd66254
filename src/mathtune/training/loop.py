"""The training loop, from the first step to the last.

    the step's examples → micro-batches → loss → backward → clip → optimiser → schedule → metrics
    → validation → checkpoint

One optimiser step means one fixed set of examples: each rank draws all of them, takes its share and
splits it into micro-batches. The loss is summed over the step and divided by one number, so the
split can serve speed and memory while the gradient stays the same.

Two seams: an ``Objective`` defines what is learned, a ``StepSource`` where examples come from.
``assembly.py`` puts the loop together; accelerate hides whether it is one process, DDP, FSDP2 or
DeepSpeed, and ``checkpointing/`` defines what a checkpoint holds.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic

import torch
from accelerate import Accelerator

from mathtune import ranks
from mathtune.config.schema import TrainConfig
from mathtune.errors import ValidationInterrupted
from mathtune.training.batching.across_ranks import MicroBatches, micro_batches
from mathtune.training.batching.micro_batches import Item
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.callbacks import Recorder, RunFigures, TrainingProgress
from mathtune.training.checkpointing.checkpoint import Checkpointer
from mathtune.training.checkpointing.schedule import StopOnSignal, validation_is_due
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.memory.out_of_memory import FittingLimits, within_memory
from mathtune.training.nonfinite import NonFiniteSteps
from mathtune.training.objective import Objective
from mathtune.training.onednn_linears import onednn_linears
from mathtune.training.optimizers import follows_validation
from mathtune.training.step_source import StepSource


@dataclass
class TrainingLoop(Generic[Item]):
    """Trains a model; ``run`` is the loop.

    Attributes:
        settings: The recipe's ``train`` section.
        accelerator: Device, processes and number format.
        model: As ``accelerator.prepare`` gave it.
        optimizer: As ``accelerator.prepare`` gave it.
        scheduler: Learning-rate scheduler.
        objective: What is learned.
        source: Where each step's examples come from.
        validate: Returns figures such as ``eval_loss`` for the current model. Raises
            ValidationInterrupted if a signal comes.
        checkpointer: Writes checkpoints.
        state: How far training has come; saved with each checkpoint.
        fitting: Limits of a micro-batch, which become smaller where memory runs out.
        nonfinite: Decides what happens to a step whose loss or gradient is not finite.
        stop: Reports signals.
        recorders: Receive all figures: ``metrics.jsonl``, trackers.
        progress: Shows how far training has come.
        figures: Adds speed and memory to what is logged.
        loss_since_logged: Sum of the steps' mean losses since the last training line.
    """

    settings: TrainConfig
    accelerator: Accelerator
    model: Any
    optimizer: Any
    scheduler: Any
    objective: Objective[Item]
    source: StepSource[Item]
    validate: Callable[[str], dict[str, float]]
    checkpointer: Checkpointer
    state: TrainingState
    fitting: FittingLimits
    nonfinite: NonFiniteSteps
    stop: StopOnSignal
    recorders: Sequence[Recorder]
    progress: TrainingProgress
    figures: RunFigures = field(default_factory=RunFigures)
    loss_since_logged: torch.Tensor = field(init=False)

    def run(self) -> None:
        """Train until the last step, early stopping, or the step in which a signal came."""
        state, settings = self.state, self.settings
        if state.has_ended(settings.early_stopping_patience):  # killed while the model was saved
            return
        self.figures.start(state.seconds)
        self.progress.start(state.global_step, state.max_steps)
        for recorder in self.recorders:
            recorder.start()
        self.loss_since_logged = torch.tensor(
            state.loss_since_logged, device=self.accelerator.device
        )
        self.model.zero_grad()
        stopping = False
        if state.global_step == 0:  # what the model can do before it is trained
            stopping = not self._validate_and_save(validate=True, save=False)
        elif state.validation_due:  # an earlier start was interrupted during it
            stopping = not self._validate_and_save(validate=True, save=True)
        while not (stopping or state.has_ended(settings.early_stopping_patience)):
            self.figures.step_begins(state.tokens_seen)
            examples = self.source.next_step()  # over all ranks, the same on each
            if not examples:  # the source has nothing more to learn from, and has said why
                self._validate_and_save(validate=True, save=True)
                break
            loss = self._add_gradients(examples)  # a scalar: the mean over the whole step
            norm = self._clip_gradient()
            rate = self.optimizer.param_groups[0]["lr"]
            if self.nonfinite.found(state.global_step + 1, norm, ranks.all_reduce_max):
                self.model.zero_grad()  # an optimiser skips weights that have no gradient
            else:
                self.loss_since_logged += loss
            self.optimizer.step()
            if not follows_validation(self.scheduler):
                self.scheduler.step()
            self.model.zero_grad()

            state.global_step += 1
            state.epoch = self.source.epoch
            state.tokens_seen += sum(sum(item.lengths) for item in examples)  # prompts too
            stopping = self.stop.agreed() > 0
            self.figures.step_ends()
            self.progress.step(state.global_step)
            if state.global_step % settings.logging_steps == 0:
                self._log_training(norm, rate)
            due = stopping or state.global_step % settings.save_steps == 0
            validate = validation_is_due(settings, state)
            stopping = not self._validate_and_save(validate=validate, save=due) or stopping
        state.seconds = self.figures.seconds()
        for recorder in self.recorders:
            recorder.finish()

    def _add_gradients(self, examples: Sequence[Item]) -> torch.Tensor:
        """Add the gradient of a step's mean loss to the weights'; return that loss.

        If memory runs out, the step is split into smaller micro-batches and retried.
        """
        self.model.train()
        # DDP and FSDP average gradients over ranks; the loss is already a mean over all of them.
        scale = self.accelerator.num_processes / self.objective.normaliser(examples)

        def forward_and_backward(parts: MicroBatches[Item]) -> torch.Tensor:
            self.nonfinite.begin_step()
            step_loss = torch.zeros((), device=self.accelerator.device)
            for number, (micro_batch, weight) in enumerate(parts, 1):
                with self._without_reduction(self.model, more=number < len(parts)):
                    loss = self.objective.loss_sum(self.model, micro_batch, self.fitting.limits)
                    loss = loss * (scale * weight)
                    self.nonfinite.note(loss, micro_batch)
                    self.accelerator.backward(loss)
                step_loss += loss.detach()
            return step_loss

        model = self.accelerator.unwrap_model(self.model)
        with attention_for(model, self.fitting.limits), onednn_linears(model):
            own = within_memory(
                self.fitting,
                lambda limits: micro_batches(examples, limits),
                forward_and_backward,
                model=self.model,
                where=f"step {self.state.global_step + 1}",
            )
        mean: torch.Tensor = self.accelerator.reduce(own, reduction="mean")
        return mean

    def _without_reduction(
        self, model: Any, *, more: bool
    ) -> contextlib.AbstractContextManager[Any]:
        """Reduce over ranks only in a step's last micro-batch, where that takes no extra memory.

        Under FSDP full gradients would stay on each rank until then.
        """
        # DeepSpeed's engine reduces, clips and steps within ``backward`` where this is true.
        self.accelerator.sync_gradients = ranks.sharding() != "DeepSpeed" or not more
        if more and ranks.sharding() is None:
            return self.accelerator.no_sync(model)
        return contextlib.nullcontext()

    def _clip_gradient(self) -> float:
        """Clip the gradient to ``max_grad_norm``; return its norm before that."""
        limit = self.settings.max_grad_norm or math.inf
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def _validate_and_save(self, *, validate: bool, save: bool) -> bool:
        """Validate if due, then save; return whether training may go on.

        A checkpoint is written after the validation of its step, so that resuming neither repeats
        nor skips one. If a signal interrupts the validation, the checkpoint records that it is
        still due, and the next start begins with it.
        """
        state = self.state
        interrupted = stopping = False
        if validate:
            try:
                figures = self.validate(f"the validation after step {state.global_step}")
            except ValidationInterrupted:
                interrupted = True
                save = state.global_step > 0 and not state.validation_due  # else it is saved
                state.validation_due = True
            else:
                state.validation_due = False
                self._log(figures)
                if state.global_step > 0:
                    better = self._note_validation(figures)
                    stopping = self.stop.agreed() > 0  # the signal came while validating
                    save = save or better or stopping or not self.settings.save_only_when_better
        if save:
            state.nonfinite, state.source = self.nonfinite.state(), self.source.state()
            state.loss_since_logged = float(self.loss_since_logged)
            state.seconds = self.figures.seconds()
            self.checkpointer.save(state)
        return not (interrupted or stopping)

    def _note_validation(self, figures: dict[str, float]) -> bool:
        """Update schedule and early stopping with a validation; return whether it is the best."""
        metric = self.settings.metric_for_best_model
        if follows_validation(self.scheduler):
            self.scheduler.step(figures[metric])
        return self.state.note_validation(
            figures[metric], greater_is_better=metric == "eval_exact_match"
        )

    def _log_training(self, norm: float, rate: float) -> None:
        """Log the mean loss since the last training line, and the figures with it."""
        steps = self.state.global_step - self.state.last_logged_step
        figures = {
            "loss": float(self.loss_since_logged) / steps,
            "grad_norm": norm,
            "learning_rate": rate,
            **self.objective.metrics(),
        }
        self.nonfinite.correct(figures, steps)
        self.loss_since_logged.zero_()
        self.state.last_logged_step = self.state.global_step
        self._log(figures)

    def _log(self, figures: dict[str, float]) -> None:
        """Keep figures in the state, and pass them to the recorders and the progress bar."""
        step, epoch = self.state.global_step, self.state.epoch
        self.state.log_history.append({**figures, "epoch": epoch, "step": step})
        shown = self.figures.added_to({**figures, "epoch": epoch}, self.state.tokens_seen)
        for recorder in self.recorders:
            recorder.log(step, shown)
        self.progress.log(step, shown)
