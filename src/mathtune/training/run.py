"""One training run: arguments, trainer, resume, best weights saved."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import EarlyStoppingCallback, TrainingArguments, set_seed

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, DataError, TrainingStopped
from mathtune.records import Example
from mathtune.training import allocator, checkpoints, padding_free
from mathtune.training.adapters import INITIAL, save_as_lora
from mathtune.training.base import note_base
from mathtune.training.batches import Limits
from mathtune.training.callbacks import MetricsFile, ProgressBar, RunFigures
from mathtune.training.device import Compute
from mathtune.training.distributed import parallelism
from mathtune.training.layout import why_padded
from mathtune.training.nonfinite import NonFiniteSteps
from mathtune.training.saving import LastStep, RestoreWindow, SavePoints, StopOnSignal
from mathtune.training.tracker_callbacks import tracker_callbacks
from mathtune.training.trackers import prepare_trackers
from mathtune.training.trainer import LOSS_WINDOW, MathTrainer


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
        recuts: How often a step was cut smaller because memory ran out.
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
    checkpoint, damaged = checkpoints.newest_whole(output)
    for folder in damaged:
        console.print(f"{folder.name} is damaged (a crash while saving?) and left aside")
        folder.rename(folder.with_name("damaged-" + folder.name))
    return checkpoint


def _examples_per_step(recipe: Recipe, checkpoint: Path | None, console: Console) -> int:
    """Return how many examples make a step; a run that is continued keeps its steps."""
    train, count = recipe.train, ranks.world_size()
    asked = train.per_device_train_batch_size * train.gradient_accumulation_steps * count
    if checkpoint is None:
        return asked
    window = json.loads((checkpoint / LOSS_WINDOW).read_text(encoding="utf-8"))
    kept = int(window.get("examples_per_step", asked))
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
    exact_match: Callable[[], float] | None = None,
) -> TrainingResult:
    """Train, continue from the newest whole checkpoint if there is one, and save the best weights.

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
    bounds = _limits_for(recipe, model, train_examples, console)
    if compute.device == "cpu":
        _use_memory(recipe, model, bounds, console)
    trackers = tracker_callbacks(
        prepare_trackers(recipe, run_dir, console), recipe, run_dir, console
    )
    set_seed(recipe.seed)
    examples_per_step = _examples_per_step(recipe, checkpoint, console)
    trainer = MathTrainer(
        model=model,
        args=_arguments(recipe, compute, run_dir, console, fresh=checkpoint is None),
        examples_per_step=examples_per_step,
        train_examples=train_examples,
        validation_examples=validation_examples,
        limits=bounds,
        tokenizer=tokenizer,
        nonfinite=NonFiniteSteps(skip=settings.non_finite == "skip", say=console.print),
        say=console.print,
        keep=settings.save_total_limit,
        exact_match=exact_match,
        loraplus_lr_ratio=recipe.adapter.loraplus_lr_ratio if recipe.adapter else None,
        on_save=noting,
        callbacks=[*callbacks, metrics, *trackers, progress],
    )
    figures.trainer = trainer
    if window and checkpoint:
        window.trainer = trainer
        console.print(f"continuing from {checkpoint.name}")
    if ranks.is_first():
        metrics.cut_after(checkpoints.step_of(checkpoint) if checkpoint else -1)
    start = time.monotonic()
    try:
        with stop:
            if checkpoint and checkpoints.has_ended(checkpoint):
                trainer.adopt(checkpoint)  # killed while the model was saved
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
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
    except Exception:
        for tracker in trackers:
            tracker.abort()
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
        recuts=trainer.recuts,
        seconds=time.monotonic() - start,
        processes=ranks.world_size(),
        parallelism=parallelism(trainer.model_wrapped),
    )


def _stopped(signal: int, step: int, output: Path) -> TrainingStopped:
    """Return the error that ends a run on a signal, naming what it will continue from."""
    saved = max((checkpoints.step_of(folder) for folder in output.iterdir()), default=-1)
    state = "checkpoint saved" if saved == step else f"the last checkpoint is of step {saved}"
    stopped = TrainingStopped(
        f"stopped by signal {signal} at step {step}, {state}; give the same command again to "
        "continue",
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
    with checkpoints.saving(aside, needed=needed):
        write(aside)
        if ranks.is_first():
            if recipe.adapter is not None and recipe.adapter.is_pissa:
                save_as_lora(aside, folder.with_name(INITIAL))
            shutil.rmtree(folder, ignore_errors=True)
            checkpoints.sync(aside)
            aside.rename(folder)
    ranks.wait()


def _use_memory(recipe: Recipe, model: Any, bounds: Limits, console: Console) -> None:
    """Keep freed memory for speed, unless it is scarce or the recipe asks to save it."""
    needed, free = allocator.needed_at_most(model, bounds), allocator.free_memory()
    if recipe.train.gradient_checkpointing or recipe.model.load_in_4bit:
        allocator.give_back_freed_memory()
    elif free > 2 * needed:
        allocator.hold_freed_memory()
    else:
        allocator.give_back_freed_memory()
        console.print(
            f"training may take {needed / 2**30:.1f} GB and {free / 2**30:.1f} GB are free: freed "
            "memory goes back to the system at once, which takes more time"
        )


# So many that products run at their full rate and gradients of weights are seldom added up.
MICRO_BATCH_TOKENS = {"cpu": 2048, "mps": 4096, "cuda": 16384}


def limits(recipe: Recipe, model: Any) -> Limits:
    """Return the bounds of a micro-batch that follow from a recipe and the model's device."""
    return limits_on(recipe, model.config, model.device.type)


def limits_on(recipe: Recipe, hf_config: Any, device: str) -> Limits:
    """Return the bounds of a micro-batch on a kind of device, from the model's configuration."""
    vocabulary = int(hf_config.get_text_config().vocab_size)
    return Limits(
        examples=recipe.train.per_device_train_batch_size,
        tokens=recipe.train.micro_batch_tokens or MICRO_BATCH_TOKENS[device],
        targets=max(1, recipe.train.logits_chunk_bytes // (4 * vocabulary)),
        padding_free=padding_free.is_asked(recipe),
    )


def _limits_for(
    recipe: Recipe, model: Any, examples: Sequence[Example], console: Console
) -> Limits:
    """Return the bounds of a micro-batch, and say so where examples cannot share rows."""
    bounds = limits(recipe, model)
    if bounds.padding_free and (reason := ranks.from_first(lambda: why_padded(model, examples))):
        console.print(f"each example gets a padded row of its own: in one row, {reason}")
        return replace(bounds, padding_free=False)
    return bounds


def _arguments(
    recipe: Recipe, compute: Compute, run_dir: Path, console: Console, *, fresh: bool
) -> TrainingArguments:
    train = recipe.train
    if compute.device == "cpu" and train.optim.startswith("paged_"):
        console.print(f"{train.optim}: pages need a GPU; the same optimiser runs without them")
    try:
        return TrainingArguments(
            output_dir=str(run_dir / "checkpoints"),
            run_name=run_dir.name,
            # A data-loader batch is one optimiser step's whole set; MathTrainer cuts it.
            per_device_train_batch_size=(
                train.per_device_train_batch_size * train.gradient_accumulation_steps
            ),
            gradient_accumulation_steps=1,
            num_train_epochs=train.num_train_epochs,
            max_steps=train.max_steps,
            learning_rate=train.learning_rate,
            lr_scheduler_type=train.lr_scheduler_type,
            warmup_steps=train.warmup_steps,
            optim=train.optim,
            weight_decay=train.weight_decay,
            adam_beta1=train.adam_beta1,
            adam_beta2=train.adam_beta2,
            max_grad_norm=train.max_grad_norm,
            label_smoothing_factor=train.label_smoothing_factor,
            activation_checkpointing=train.gradient_checkpointing,
            bf16=compute.autocast_bf16,
            use_cpu=compute.device == "cpu",
            eval_strategy=train.eval_strategy,
            eval_on_start=fresh,  # where the curves begin
            eval_steps=train.eval_steps,
            save_strategy="best",  # and where SavePoints says so; MathTrainer deletes old ones
            load_best_model_at_end=True,
            metric_for_best_model=train.metric_for_best_model,
            greater_is_better=train.metric_for_best_model == "eval_exact_match",
            logging_steps=train.logging_steps,
            logging_nan_inf_filter=False,  # MathTrainer stops where a loss is not finite
            report_to="none",  # trackers are callbacks of ours, so that none can stop a run
            project=recipe.tracking.project,
            remove_unused_columns=False,
            ddp_find_unused_parameters=False,  # every weight is used in every pass
            disable_tqdm=True,
            dataloader_pin_memory=False,
            seed=recipe.seed,
            data_seed=recipe.seed,
            full_determinism=train.full_determinism,
        )
    except (ValueError, TypeError) as error:
        raise ConfigError(f"train: {error}") from error
