"""One training run: started or resumed, run to its end, the best weights saved."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import ConfigError, TrainingStopped
from mathtune.models.adapters import save_as_lora
from mathtune.models.compute import Compute
from mathtune.records import Example
from mathtune.run_paths import RunPaths
from mathtune.storage import recover, saving, set_aside, sync_folder
from mathtune.tracking.callbacks import Tracker, make_trackers
from mathtune.tracking.setup import prepare_trackers
from mathtune.training.accelerator import make_accelerator, parallelism
from mathtune.training.arguments import training_arguments
from mathtune.training.assembly import first_state, make_loop, what_is_learned
from mathtune.training.batching.limits import limits_for
from mathtune.training.callbacks import MetricsFile, TrainingProgress
from mathtune.training.checkpointing.schedule import StopOnSignal
from mathtune.training.checkpointing.storage import newest_whole, step_of
from mathtune.training.kernels import check_kernels, compile_fault
from mathtune.training.loop import TrainingLoop
from mathtune.training.memory.glibc_malloc import use_memory
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.objective import Learning, Start

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of a training.

    Attributes:
        steps: Optimiser steps of the whole run.
        best_step: Step of the checkpoint that was kept, chosen by ``train.metric_for_best_model``.
        best_eval_loss: Its validation loss, nats per supervised token.
        stopped: ``finished`` or ``early``.
        train_tokens: Tokens trained on, prompts included.
        skipped_steps: Steps skipped because their loss or gradient was not finite.
        oom_retries: How often micro-batches were made smaller because memory ran out, since what it
            depends on last changed.
        seconds: Wall-clock seconds of training, summed over all starts.
        processes: How many processes trained together.
        parallelism: How: ``DDP``, ``FSDP2``, ``HSDP``, ``DeepSpeed``, or ``none``.
    """

    steps: int
    best_step: int
    best_eval_loss: float
    stopped: str
    train_tokens: int
    skipped_steps: int
    oom_retries: int
    seconds: float
    processes: int
    parallelism: str


def _newest_whole(output: Path) -> Path | None:
    """Return the checkpoint to continue from; damaged ones are renamed."""
    output.mkdir(parents=True, exist_ok=True)
    while True:
        recover(output)
        checkpoint, damaged = newest_whole(output)
        if not damaged:
            return checkpoint
        for folder in damaged:
            log.info(f"{folder.name} is damaged (a crash while saving?) and ignored")
            set_aside(folder)


def train(
    recipe: Recipe,
    *,
    model: Any,
    tokenizer: Any,
    compute: Compute,
    train_examples: Sequence[Example],
    validation_examples: Sequence[Example],
    run_dir: Path,
    exact_match: Callable[[Callable[[], bool]], float] | None = None,
    learning: Learning | None = None,
) -> TrainingResult:
    """Train, from the newest intact checkpoint if there is one, and save the best weights.

    ``exact_match`` is called at every validation with a function that tells if a signal came.
    ``learning`` replaces supervised learning of ``train_examples``, which then are the longest
    texts that it may read. On return ``model`` holds the weights of the best checkpoint, and
    ``run_dir/model`` has them with the tokenizer.

    Raises:
        TrainingStopped: On SIGINT or SIGTERM (after a checkpoint) or where a loss is not finite.
        DiskError: If a checkpoint could not be written.
        ConfigError: If DeepSpeed is asked for where there is no GPU.
    """
    _check(recipe, compute)
    arguments = training_arguments(recipe, compute, run_dir)
    accelerator, model = make_accelerator(recipe, arguments, model)
    checkpoint = ranks.from_first(lambda: _newest_whole(RunPaths(run_dir).checkpoints))
    fit = _fitting_limits(recipe, model, compute, [*train_examples, *validation_examples], run_dir)
    per_batch = 1 if learning is None else learning.steps_per_batch
    state = first_state(recipe, len(train_examples), checkpoint, per_batch)
    stop, progress = StopOnSignal(), TrainingProgress()
    trackers = make_trackers(prepare_trackers(recipe, run_dir), recipe, run_dir)
    metrics = MetricsFile(RunPaths(run_dir).metrics)
    with _closing(recipe, trackers, progress):
        objective, source = what_is_learned(
            recipe, train_examples, learning, Start(model, state, fit, run_dir)
        )
        loop = make_loop(
            recipe,
            arguments,
            accelerator,
            model=model,
            tokenizer=tokenizer,
            compute=compute,
            objective=objective,
            source=source,
            state=state,
            checkpoint=checkpoint,
            validation_examples=validation_examples,
            exact_match=None if exact_match is None else partial(exact_match, stop.came),
            fitting=fit,
            stop=stop,
            recorders=[metrics, *trackers],
            progress=progress,
            run_dir=run_dir,
        )
        _run_to_end(loop, metrics, resumed=checkpoint is not None)
        _save_best(recipe, loop, RunPaths(run_dir).model)
    return _result(loop)


@contextmanager
def _closing(
    recipe: Recipe, trackers: Sequence[Tracker], progress: TrainingProgress
) -> Iterator[None]:
    """End progress and, after a failure, trackers; name the remedy where compiling failed."""
    try:
        yield
    except Exception as error:
        for tracker in trackers:
            tracker.abort()
        if recipe.train.torch_compile and (fault := compile_fault(error)):
            raise fault from error
        raise
    finally:
        progress.stop()


def _run_to_end(loop: TrainingLoop[Any], metrics: MetricsFile, *, resumed: bool) -> None:
    """Run a loop from where the run was left.

    Raises:
        TrainingStopped: A signal ended it.
    """
    state = loop.state
    if ranks.is_first():
        at = state.global_step if resumed else -1
        # A start that was killed has lines later than its last checkpoint.
        spent = metrics.cut_after(at, validation_due=state.validation_due)
        metrics.seconds_before = state.seconds = max(state.seconds, spent)
    with loop.stop:
        loop.run()
        loop.checkpointer.finish()
    if received := loop.stop.agreed():
        raise _stopped(received, state.global_step, loop.checkpointer.folder)


def _check(recipe: Recipe, compute: Compute) -> None:
    """Raise ConfigError for what this machine cannot train with."""
    if ranks.sharding() == "DeepSpeed" and compute.device == "cpu":
        raise ConfigError(
            "the launcher asks for DeepSpeed, which accelerate starts on GPUs only; launch with "
            "examples/accelerate/fsdp2.yaml"
        )
    check_kernels(recipe, compute)


def _fitting_limits(
    recipe: Recipe,
    model: Any,
    compute: Compute,
    examples: Sequence[Example],
    run_dir: Path,
) -> FittingLimits:
    """Return the limits of a micro-batch, with what an earlier start of the run found to fit."""
    settings = recipe.train
    fit = FittingLimits.open(
        run_dir,
        limits_for(recipe, model, compute, examples),
        device=compute.name,
        processes=ranks.world_size(),
        sharding=ranks.sharding(),
        gradient_checkpointing=settings.gradient_checkpointing,
        torch_compile=settings.torch_compile,
        use_liger_kernel=settings.use_liger_kernel,
    )
    if fit.cuts:
        log.info(
            f"memory ran out in an earlier start: {fit.describe()}; delete {fit.path} to try "
            "larger micro-batches again"
        )
    if compute.device == "cpu":
        use_memory(model, fit.limits, ran_out=fit.cuts > 0)
    return fit


def _save_best(recipe: Recipe, loop: TrainingLoop[Any], folder: Path) -> None:
    """Load the best checkpoint's weights into the model, and save them."""
    best = loop.state.best_global_step
    if best is None:
        raise TrainingStopped(
            f"no validation gave a finite {recipe.train.metric_for_best_model}, so there are no "
            "weights to keep; lower train.learning_rate, or look at the validation problems"
        )
    loop.checkpointer.load_weights(loop.checkpointer.place_of(best))
    # With an adapter only that is written.
    saved = [p for p in loop.model.parameters() if p.requires_grad or recipe.adapter is None]
    save_model(
        loop.checkpointer.save_weights,
        recipe,
        folder,
        needed=sum(p.numel() * p.element_size() for p in saved),
    )


def _result(loop: TrainingLoop[Any]) -> TrainingResult:
    state = loop.state
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
        train_tokens=state.tokens_seen,
        skipped_steps=loop.nonfinite.skipped,
        oom_retries=loop.fitting.cuts,
        seconds=state.seconds,
        processes=ranks.world_size(),
        parallelism=parallelism(loop.model),
    )


def _stopped(signal: int, step: int, output: Path) -> TrainingStopped:
    """Return the error that ends a run on a signal, with where it will continue from."""
    saved = max((step_of(folder) for folder in output.iterdir()), default=-1)
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
    """Save weights (or the adapter) and tokenizer to a temporary folder, then move it into place.

    Args:
        write: Writes them into a folder. Every rank calls it, in case weights must be gathered.
        recipe: The training's recipe.
        folder: Where to.
        needed: Approximate bytes, for the message if the disk is full.
    """
    temporary = folder.with_name(folder.name + ".partial")
    if ranks.is_first():
        shutil.rmtree(temporary, ignore_errors=True)
    with saving(temporary, needed=needed):
        write(temporary)
        if ranks.is_first():
            if recipe.adapter is not None and recipe.adapter.is_pissa:
                save_as_lora(temporary, RunPaths(folder.parent).initial_adapter)
            shutil.rmtree(folder, ignore_errors=True)
            sync_folder(temporary)
            temporary.rename(folder)
    ranks.wait()
