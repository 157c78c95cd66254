"""What a checkpoint holds, written and read back.

A checkpoint is written into a temporary folder, sealed and renamed into place (``storage.py``).
Under FSDP each rank writes its share while training goes on (``sharded.py``), or all are gathered
first (``fsdp_state.py``). One process, DDP and FSDP2 read each other's.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import rotate_checkpoints

from mathtune import ranks
from mathtune.storage import publish, saving, seal
from mathtune.training.checkpointing import fsdp_state, sharded
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.checkpointing.storage import STAGING

_OPTIMIZER, _SCHEDULER = "optimizer.pt", "scheduler.pt"


@dataclass
class Checkpointer:
    """Saves and restores a training; every rank calls each method.

    Attributes:
        folder: Where the checkpoints are.
        accelerator: The one that prepared the model.
        model: As ``accelerator.prepare`` gave it.
        tokenizer: Saved next to the weights.
        optimizer: As ``accelerator.prepare`` gave it.
        scheduler: Learning-rate scheduler.
        keep: How many checkpoints to keep; the newest and the best always are.
        on_save: Called with each folder that weights were saved to, before it is sealed.
    """

    folder: Path
    accelerator: Accelerator
    model: Any
    tokenizer: Any
    optimizer: Any
    scheduler: Any
    keep: int
    on_save: Callable[[Path], None] | None = None
    _pending: Future[None] | None = None

    def place_of(self, step: int) -> Path:
        """Return the folder of a step's checkpoint."""
        return self.folder / f"checkpoint-{step}"

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint; an incomplete one never gets its name.

        Where each rank writes its share, a thread still does so on return: see ``finish``.

        Raises:
            DiskError: The disk is full or cannot be written.
        """
        self.finish()
        final = self.place_of(state.global_step)
        staging = self.folder / STAGING
        written = staging / final.name
        in_shares = ranks.sharded_checkpoints() and not self._is_adapted()
        if ranks.is_first():
            shutil.rmtree(staging, ignore_errors=True)
        ranks.wait()
        trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
        with saving(staging, needed=12 * trained):  # weights and two moments
            written.mkdir(parents=True, exist_ok=True)
            if in_shares:
                self._save_around_weights(written)
            else:
                self.save_weights(written)
                self._save_optimizer(written)
            torch.save(_random_state(), written / _random_file())
            if ranks.is_first():
                torch.save(self.scheduler.state_dict(), written / _SCHEDULER)
                state.save(written)
        ranks.wait()
        done = partial(self._publish, written, final, state.best_global_step)
        if in_shares:
            with saving(staging):
                self._pending = sharded.begin_saving(self.model, self.optimizer, written, done)
            return
        if ranks.is_first():
            with saving(staging):
                done()
        ranks.wait()

    def finish(self) -> None:
        """Return when what ``save`` began is complete on all ranks.

        Raises:
            DiskError: It could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            ranks.from_first(pending.result)
            pending.exception()  # the same as rank 0's

    def _publish(self, written: Path, final: Path, best: int | None) -> None:
        """Give a written checkpoint its name, and delete those that need not be kept."""
        seal(written)
        publish(written, final)
        shutil.rmtree(written.parent, ignore_errors=True)
        rotate_checkpoints(
            output_dir=str(self.folder),
            save_total_limit=self.keep,
            best_model_checkpoint=None if best is None else str(self.place_of(best)),
        )

    def _is_adapted(self) -> bool:
        return hasattr(self.accelerator.unwrap_model(self.model), "peft_config")

    def save_weights(self, folder: Path) -> None:
        """Write weights, or the adapter, and tokenizer as ``from_pretrained`` reads them."""
        inner = self.accelerator.unwrap_model(self.model)
        weights = None
        converted = getattr(inner, "_weight_conversions", None)  # files hold other tensors
        if ranks.sharding() == "FSDP" and not (self._is_adapted() or converted):
            self._save_around_weights(folder)
            fsdp_state.write_whole_weights(inner, folder)
            return
        if ranks.sharding() == "FSDP":
            weights = fsdp_state.whole_weights(inner)
        elif ranks.sharding() == "DeepSpeed":
            weights = self.accelerator.get_state_dict(self.model)
        if not ranks.is_first():
            return
        inner.save_pretrained(folder, state_dict=weights)
        self._save_tokenizer(folder)

    def _save_around_weights(self, folder: Path) -> None:
        """Write what ``from_pretrained`` reads besides weights."""
        if ranks.is_first():
            self.accelerator.unwrap_model(self.model).save_pretrained(folder, state_dict={})
            for empty in folder.glob("model*.safetensors*"):
                empty.unlink()
            self._save_tokenizer(folder)

    def _save_tokenizer(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        if self.on_save is not None:
            self.on_save(folder)

    def load_weights(self, checkpoint: Path) -> None:
        """Read the weights, or the adapter, of a checkpoint into the model."""
        if ranks.sharding() == "DeepSpeed":
            self._load_deepspeed(checkpoint)
        elif sharded.is_sharded(checkpoint):
            sharded.load_weights(self.accelerator.unwrap_model(self.model), checkpoint)
        else:
            fsdp_state.load_weights(self.accelerator.unwrap_model(self.model), checkpoint)

    def restore(self, checkpoint: Path) -> None:
        """Restore weights, optimiser, schedule and random states as they were when saved.

        On another number of ranks, random numbers start from the seed.
        """
        self.load_weights(checkpoint)
        if sharded.is_sharded(checkpoint):
            inner = self.accelerator.unwrap_model(self.model)
            sharded.load_optimizer(self.optimizer, inner, checkpoint)
        elif ranks.sharding() != "DeepSpeed":  # which loads both together
            fsdp_state.load_optimizer(self.optimizer, checkpoint / _OPTIMIZER)
        schedule = torch.load(checkpoint / _SCHEDULER, weights_only=True)
        self.scheduler.load_state_dict(schedule)
        if (saved := checkpoint / _random_file()).is_file():
            with safe_globals():
                _set_random_state(torch.load(saved, weights_only=True))

    def _save_optimizer(self, folder: Path) -> None:
        if ranks.sharding() == "DeepSpeed":
            self.model.save_checkpoint(str(folder), exclude_frozen_parameters=self._is_adapted())
            state = None
        elif ranks.sharding() == "FSDP":
            state = fsdp_state.whole_optimizer(self.optimizer)
        else:
            state = self.optimizer.state_dict() if ranks.is_first() else None
        if ranks.is_first() and state is not None:
            torch.save(state, folder / _OPTIMIZER)

    def _load_deepspeed(self, checkpoint: Path) -> None:
        adapted = self._is_adapted()
        self.model.load_checkpoint(str(checkpoint), load_module_strict=not adapted)


def _random_file() -> str:
    return f"rng_state_{ranks.rank()}.pth" if ranks.world_size() > 1 else "rng_state.pth"


def _random_state() -> dict[str, Any]:
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()  # of this rank's GPU
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.random.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and "cuda" in state:
        saved = state["cuda"]
        # An earlier version saved the states of all GPUs where there were several ranks.
        torch.cuda.set_rng_state(
            saved if torch.is_tensor(saved) else saved[torch.cuda.current_device()]
        )
