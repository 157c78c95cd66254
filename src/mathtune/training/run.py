"""One training run: arguments, trainer, resume, best weights saved."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import EarlyStoppingCallback, set_seed

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, DataError, TrainingStopped, ValidationInterrupted
from mathtune.models.adapters import INITIAL, save_as_lora
from mathtune.models.base_fingerprint import note_base
from mathtune.models.compute import Compute
from mathtune.records import Example
from mathtune.storage import recover, saving, sync_folder
from mathtune.tracking.callbacks import tracker_callbacks
from mathtune.tracking.setup import prepare_trackers
from mathtune.training.arguments import training_arguments
from mathtune.training.batching.across_ranks import parallelism
from mathtune.training.batching.limits import limits_for
from mathtune.training.callbacks import MetricsFile, ProgressBar, RunFigures
from mathtune.training.checkpointing import storage as checkpoints
from mathtune.training.checkpointing.schedule import (
    LastStep,
    RestoreWindow,
    SavePoints,
    StopOnSignal,
)
from mathtune.training.kernels import check_kernels, compile_fault, compile_layers
from mathtune.training.memory.glibc_malloc import use_memory
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.nonfinite import NonFiniteSteps
from mathtune.training.trainer import MathTrainer


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came out of training.

    Attributes:
        steps: Optimiser steps of the whole run.
        best_step: Step of the checkpoint that was kept, chosen by ``train.metric_for_best_model``.
        best_eval_loss: Its validation loss, nats a supervised token.
        stopped: ``finished`` or ``early``.
        train_tokens: Tokens trained on, prompts included.
        skipped_steps: Steps left out because their loss or gradient was not finite.
        recuts: How often passes were made smaller because memory ran out, since what
            it depends on last changed.
        seconds: Wall-clock seconds of this process's training.
        processes: How many trained together, and
        parallelism: how: ``DDP``, ``FSDP2``, ``DeepSpeed``, or ``none`` for one.
    """

    steps: int
    best_step: int
    best_eval_loss: float
    stopped: str
    train_tokens: int
    skipped_steps: int
    recuts: int
    seconds: float
    processes: int
    parallelism: str


def _newest_whole(output: Path, console: Console) -> Path | None:
    """Return the checkpoint to continue from, having put damaged ones aside."""
    while True:
        recover(output)
        checkpoint, damaged = checkpoints.newest_whole(output)
        if not damaged:
            return checkpoint
        for folder in damaged:
            console.print(f"{folder.name} is damaged (a crash while saving?) and left aside")
            folder.rename(folder.with_name("damaged-" + folder.name))


def _examples_per_step(recipe: Recipe, checkpoint: Path | None, console: Console) -> int:
    """Return how many examples make a step; a run that is continued keeps its steps."""
    train, count = recipe.train, ranks.world_size()
    asked = train.per_device_train_batch_size * train.gradient_accumulation_steps * count
    if checkpoint is None:
        return asked
    kept = int(checkpoints.progress_of(checkpoint).get("examples_per_step", asked))
    if kept != asked:
        console.print(
            f"{count} process{'es' if count > 1 else ''} would make steps of {asked} problems; "
            f"the run goes on with its steps of {kept}"
        )
    return kept


def fitting(
    examples: Sequence[Example], max_length: int, overlong: str, what: str
) -> tuple[list[Example], int]:
    """Return the examples of at most ``max_length`` tokens and how many were longer.

    An answer that is cut off teaches a model never to finish, so nothing is ever cut.

    Raises:
        DataError: If none fits, or if one does not and ``overlong`` is ``error``.
    """
    kept = [example for example in examples if len(example.ids) <= max_length]
    longest = max((len(example.ids) for example in examples), default=0)
    dropped = len(examples) - len(kept)
    if not kept or (dropped and overlong == "error"):
        raise DataError(
            f"{dropped} of {len(examples)} {what} examples are longer than "
            f"train.max_length={max_length} tokens (the longest has {longest}); raise "
            f"train.max_length to {longest}" + (" or set train.overlong=drop" if kept else "")
        )
    return kept, dropped


def train(
    recipe: Recipe,
    *,
    model: Any,
    tokenizer: Any,
    compute: Compute,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    run_dir: Path,
    console: Console,
    exact_match: Callable[[Callable[[], bool]], float] | None = None,
) -> TrainingResult:
    """Train, continue from the newest whole checkpoint if there is one, and save the best weights.

    ``exact_match`` is called at every validation with a function that says whether a signal came.
    On return ``model`` holds the weights of the best checkpoint, and ``run_dir/model`` has them
    with the tokenizer.

    Raises:
        TrainingStopped: On SIGINT or SIGTERM (after a checkpoint) or where a loss is not finite.
        DiskError: If a checkpoint could not be written.
        ConfigError: If DeepSpeed is asked for where there is no GPU.
    """
    if ranks.sharding() == "DeepSpeed" and compute.device == "cpu":
        raise ConfigError(
            "the launcher asks for DeepSpeed, which accelerate starts on GPUs only; launch with "
            "examples/accelerate/fsdp2.yaml"
        )
    check_kernels(recipe, compute)
    output = run_dir / "checkpoints"
    output.mkdir(parents=True, exist_ok=True)
    checkpoint = ranks.from_first(lambda: _newest_whole(output, console))
    metrics = MetricsFile(run_dir / "metrics.jsonl")
    stop = StopOnSignal()
    progress = ProgressBar(console)
    settings = recipe.train
    figures = RunFigures()
    callbacks: list[Any] = [figures, LastStep()]
    callbacks += [SavePoints(settings.save_steps, not settings.save_only_when_better, stop)]
    if settings.early_stopping_patience is not None:
        callbacks.append(EarlyStoppingCallback(settings.early_stopping_patience))
    window = RestoreWindow(checkpoint) if checkpoint else None
    if window:
        callbacks.insert(0, window)
    dtype = str(compute.dtype).removeprefix("torch.")
    noting = partial(note_base, config=recipe.model, dtype=dtype) if recipe.adapter else None
    everything = [*train_examples, *validation_examples]
    bounds = limits_for(recipe, model, compute, everything, console)
    fit = FittingLimits.open(
        run_dir,
        bounds,
        device=compute.name,
        processes=ranks.world_size(),
        sharding=ranks.sharding(),
        gradient_checkpointing=settings.gradient_checkpointing,
        torch_compile=settings.torch_compile,
        use_liger_kernel=settings.use_liger_kernel,
    )
    if fit.cuts:
        console.print(
            f"memory ran out in an earlier start: {fit.in_words()}; delete {fit.path} to try "
            "larger passes again"
        )
    if compute.device == "cpu":
        use_memory(recipe, model, fit.limits, console, ran_out=fit.cuts > 0)
    trackers = tracker_callbacks(
        prepare_trackers(recipe, run_dir, console), recipe, run_dir, console
    )
    set_seed(recipe.seed)
    due = checkpoint is not None and checkpoints.is_validation_due(checkpoint)
    examples_per_step = _examples_per_step(recipe, checkpoint, console)
    trainer = MathTrainer(
        model=model,
        args=training_arguments(
            recipe, compute, run_dir, console, validate_first=due or checkpoint is None
        ),
        examples_per_step=examples_per_step,
        train_examples=train_examples,
        validation_examples=validation_examples,
        fitting=fit,
        tokenizer=tokenizer,
        nonfinite=NonFiniteSteps(skip=settings.non_finite == "skip", say=console.print),
        say=console.print,
        keep=settings.save_total_limit,
        exact_match=None if exact_match is None else partial(exact_match, stop.came),
        loraplus_lr_ratio=recipe.adapter.loraplus_lr_ratio if recipe.adapter else None,
        on_save=noting,
        callbacks=[*callbacks, metrics, *trackers, progress],
    )
    figures.trainer = trainer
    if settings.torch_compile:
        layers = compile_layers(model)
        console.print(
            f"compiling {layers} layers at the first steps"
            if layers
            else "train.torch_compile: this model's layers are not Transformers', none is compiled"
        )
    if window and checkpoint:
        window.trainer = trainer
        console.print(f"continuing from {checkpoint.name}")
    if ranks.is_first():
        at = checkpoints.step_of(checkpoint) if checkpoint else -1
        metrics.cut_after(at, validation_due=due)
    start = time.monotonic()
    try:
        with stop, contextlib.suppress(ValidationInterrupted):
            trainer.run(checkpoint)
        if received := stop.agreed():
            raise _stopped(received, trainer.state.global_step, output)
        if trainer.state.best_model_checkpoint is None:
            raise TrainingStopped(
                f"no validation gave a finite {settings.metric_for_best_model}, so there are no "
                "weights to keep; lower train.learning_rate, or look at the validation problems"
            )
        # With an adapter only that is written.
        saved = [p for p in model.parameters() if p.requires_grad or recipe.adapter is None]
        save_model(
            lambda aside: trainer.save_model(str(aside), _internal_call=True),
            recipe,
            run_dir / "model",
            needed=sum(p.numel() * p.element_size() for p in saved),
        )
    except Exception as error:
        for tracker in trackers:
            tracker.abort()
        if settings.torch_compile and (fault := compile_fault(error)):
            raise fault from error
        raise
    finally:
        progress.stop()
    state = trainer.state
    best_step = state.best_global_step or state.global_step
    return TrainingResult(
        steps=state.global_step,
        best_step=best_step,
        best_eval_loss=next(
            log["eval_loss"]
            for log in state.log_history
            if log["step"] == best_step and "eval_loss" in log
        ),
        stopped="finished" if state.global_step >= state.max_steps else "early",
        train_tokens=trainer.tokens_seen,
        skipped_steps=trainer.nonfinite.skipped,
        recuts=fit.cuts,
        seconds=time.monotonic() - start,
        processes=ranks.world_size(),
        parallelism=parallelism(trainer.model_wrapped),
    )


def _stopped(signal: int, step: int, output: Path) -> TrainingStopped:
    """Return the error that ends a run on a signal, naming what it will continue from."""
    saved = max((checkpoints.step_of(folder) for folder in output.iterdir()), default=-1)
    state = "checkpoint saved" if saved == step else f"the last checkpoint is of step {saved}"
    again = "continue"
    if saved < 0:
        state, again = "there is no checkpoint yet", "start over"
    stopped = TrainingStopped(
        f"stopped by signal {signal} at step {step}, {state}; give the same command again to "
        f"{again}",
        exit_code=128 + signal,
    )
    stopped.told = not ranks.is_first()
    return stopped


def save_model(write: Callable[[Path], None], recipe: Recipe, folder: Path, needed: int) -> None:
    """Save weights (or the adapter) and tokenizer aside and move them into place at once.

    Args:
        write: Writes them into a folder. Every rank calls it, in case weights must be gathered.
        recipe: Of the training.
        folder: Where to.
        needed: About how many bytes, for the message where the disk is full.
    """
    aside = folder.with_name(folder.name + ".partial")
    if ranks.is_first():
        shutil.rmtree(aside, ignore_errors=True)
    with saving(aside, needed=needed):
        write(aside)
        if ranks.is_first():
            if recipe.adapter is not None and recipe.adapter.is_pissa:
                save_as_lora(aside, folder.with_name(INITIAL))
            shutil.rmtree(folder, ignore_errors=True)
            sync_folder(aside)
            aside.rename(folder)
    ranks.wait()
