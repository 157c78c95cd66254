"""``transformers.Trainer`` whose checkpoints are whole or not there, and the same under FSDP.

Checkpoints are written aside, sealed and renamed into place (``checkpoints.py``). Those of a model
whose weights are spread over ranks are gathered first, so that one process can load them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerState
from transformers.trainer_utils import rotate_checkpoints

from mathtune import ranks
from mathtune.errors import ValidationInterrupted
from mathtune.storage import publish, saving, seal
from mathtune.training.checkpointing import fsdp_state as sharded
from mathtune.training.checkpointing import storage as checkpoints


class _Ended(Exception):
    """The validation with which a continued run began was its last."""


class CheckpointedTrainer(Trainer):
    """Saves and restores; what else a training must remember is its subclass's to say.

    Args:
        keep: How many checkpoints are kept; the newest and the best always are.
        on_save: Called with each folder that weights were saved to, before it is sealed.
        arguments: Those of ``Trainer``.
    """

    def __init__(
        self, *, keep: int, on_save: Callable[[Path], None] | None = None, **arguments: Any
    ) -> None:
        super().__init__(**arguments)
        self._keep = keep
        self._on_save = on_save
        self._staging: Path | None = None
        self._cut_off = False  # in a validation, by a signal
        self._due: Path | None = None  # the checkpoint whose validation an earlier start left out

    def run(self, checkpoint: Path | None) -> None:
        """Train from the beginning or from a checkpoint, to the end or until a signal.

        At the end the model holds the best weights.

        Raises:
            ValidationInterrupted: There was a signal and training had not begun.
        """
        if checkpoint and checkpoints.has_ended(checkpoint):  # killed while the model was saved
            self.adopt(checkpoint)
            return
        try:
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        except _Ended:
            self.control = self.callback_handler.on_train_end(self.args, self.state, self.control)
            self._take_best()

    def _maybe_log_save_evaluate(
        self, tr_loss: Any, grad_norm: Any, model: Any, trial: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Log, validate, save; where a signal cuts validation off, it is left to the next start."""
        try:
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, model, trial, *args, **kwargs)
        except ValidationInterrupted:
            self.control.should_evaluate = False  # Transformers asks once more at an epoch's end
            self.control.should_training_stop = self._cut_off = True
            self._save_checkpoint(model, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _evaluate(
        self, trial: Any, ignore_keys_for_eval: Any, skip_scheduler: bool = False
    ) -> dict[str, float]:
        """Validate; where an earlier start was cut off in it, do then what belongs to it."""
        due, self._due = self._due, None
        if due:  # else done only before the first step, and the new checkpoint would be without it
            self._load_rng_state(str(due))
        metrics: dict[str, float] = super()._evaluate(
            trial, ignore_keys_for_eval, skip_scheduler and due is None
        )
        if due:
            self._determine_best_metric(metrics, trial)
            self._save_checkpoint(self.model_wrapped, trial)
            self.control = self.callback_handler.on_save(self.args, self.state, self.control)
            if self.control.should_training_stop or self.state.global_step >= self.state.max_steps:
                raise _Ended
        return metrics

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
        ranks.wait()
        best = self.state.best_model_checkpoint
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        saved = saving(staging, needed=12 * trained)  # weights and two moments
        try:
            self._staging = staging
            with saved:
                super()._save_checkpoint(model, trial)
        finally:
            self._staging = None
        self.state.best_model_checkpoint = (
            best  # Transformers noted its place in the staging folder
        )
        ranks.wait()
        if self.is_world_process_zero():
            self._publish_checkpoint(staging, final, best)
        ranks.wait()

    def _publish_checkpoint(self, staging: Path, final: Path, best: str | None) -> None:
        folder = staging / final.name
        with saving(staging):
            self.state.save_to_json(str(folder / "trainer_state.json"))
            progress = {**self.progress(), "validation_due": self._cut_off}
            (folder / checkpoints.PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
            seal(folder)
            publish(folder, final)
        shutil.rmtree(staging, ignore_errors=True)
        rotate_checkpoints(
            output_dir=str(final.parent),
            save_total_limit=self._keep,
            best_model_checkpoint=best,
        )

    def progress(self) -> dict[str, Any]:
        """Return what a continued run must know besides Transformers' own state, for JSON."""
        return {}

    def restore_progress(self, saved: dict[str, Any]) -> None:
        """Take over what ``progress`` gave."""

    def restore(self, checkpoint: Path) -> None:
        """Take over a checkpoint's progress, once its state is loaded."""
        if best := self.state.best_model_checkpoint:  # the run folder may have been moved
            self.state.best_model_checkpoint = str(checkpoint.with_name(Path(best).name))
        self._due = checkpoint if checkpoints.is_validation_due(checkpoint) else None
        self.restore_progress(checkpoints.progress_of(checkpoint))

    def adopt(self, checkpoint: Path) -> None:
        """Take over a training that had ended: its state, and its best weights into the model."""
        self.state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        self.restore(checkpoint)
        self._take_best()

    def _take_best(self) -> None:
        if self.state.best_model_checkpoint is not None:  # else no validation was finite
            self._load_best_model()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write weights, or the adapter, and tokenizer. Every rank must call it; rank 0 writes."""
        if self.is_fsdp_enabled:
            self._save(output_dir, state_dict=sharded.whole_weights(self.model))
        else:
            super().save_model(output_dir, _internal_call)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = sharded.whole_optimizer(self.optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir, "optimizer.pt"))
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir, "scheduler.pt"))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        sharded.load_optimizer(self.optimizer, Path(checkpoint, "optimizer.pt"))
        schedule = torch.load(Path(checkpoint, "scheduler.pt"), weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)

    def _load_from_checkpoint(
        self, resume_from_checkpoint: str, model: torch.nn.Module | None = None
    ) -> None:
        if self.is_fsdp_enabled:
            sharded.load_weights(self.model, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        if self.is_fsdp_enabled:
            sharded.load_weights(self.model, Path(str(self.state.best_model_checkpoint)))
        else:
            super()._load_best_model()

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        super()._save(output_dir, state_dict)
        if not self.args.should_save:
            return
        # A pickle of the arguments: recipe.yaml says the same and opens safely.
        folder = Path(output_dir or self.args.output_dir)
        (folder / "training_args.bin").unlink(missing_ok=True)
        if self._on_save is not None:
            self._on_save(folder)
