"""When checkpoints are written, which are kept, and that each is a place to go on from exactly."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from log_for_tests import logged
from mathtune import config
from mathtune.errors import DiskError, TrainingStopped, ValidationInterrupted
from mathtune.models import loading as models
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Example, Problem, content_id
from mathtune.storage import publish, recover, seal
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.checkpointing.storage import newest_whole, step_of
from mathtune.training.run import TrainingResult, train
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")


def examples(first: int, last: int, factor: int = 1) -> list[Example]:
    made = []
    for n in range(first, last):
        question, answer = f"What is {n}?", f"It is {factor * n}. #### {factor * n}"
        problem = Problem(content_id(question, answer), question, answer, "1")
        made.append(Renderer(TOKENIZER, "qa").example(problem))
    return made


TRAIN = examples(10, 24)  # 14: steps of 4 make 4 an epoch, the last of 2
VALIDATION = examples(24, 28)


def model() -> torch.nn.Module:
    """Make a model whose dropout needs the random state restored."""
    return tiny_model("llama", len(TOKENIZER), attention_dropout=0.2)


def run(
    folder: Path,
    *overrides: str,
    session: torch.nn.Module | None = None,
    exact_match: Callable[[Callable[[], bool]], float] | None = None,
    validation: Sequence[Example] = VALIDATION,
) -> tuple[TrainingResult, str]:
    settings = {
        "train.num_train_epochs": "3",
        "train.learning_rate": "3e-3",
        "train.logging_steps": "3",
        "train.per_device_train_batch_size": "2",
        "train.gradient_accumulation_steps": "2",
        **dict(override.split("=") for override in overrides),
    }
    recipe = config.load("smollm2-135m-gsm8k", [f"{k}={v}" for k, v in settings.items()])
    folder.mkdir(exist_ok=True)
    with logged() as said:
        result = train(
            recipe,
            model=session or model(),
            tokenizer=TOKENIZER,
            compute=FLOAT32,
            train_examples=TRAIN,
            validation_examples=validation,
            run_dir=folder,
            exact_match=exact_match,
        )
    return result, said.getvalue()


def saved(folder: Path) -> list[int]:
    return sorted(map(step_of, (folder / "checkpoints").iterdir()))


def metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in lines]


def weights(folder: Path) -> bytes:
    return (folder / "model" / "model.safetensors").read_bytes()


def test_save_steps_lie_between_validations(tmp_path):
    """A place to continue every 3 steps, though validations come every 5 and may be worse."""
    keep = "train.save_total_limit=20"
    every = ("train.eval_strategy=steps", "train.eval_steps=5", "train.save_steps=3", keep)
    result, _ = run(tmp_path / "steps", *every)
    assert set(saved(tmp_path / "steps")) >= {3, 6, 9, 12, result.best_step}
    assert set(saved(tmp_path / "steps")) <= {3, 5, 6, 9, 10, 12}
    result, _ = run(tmp_path / "no", "train.eval_strategy=no", "train.save_steps=3", keep)
    assert [line["step"] for line in metrics(tmp_path / "no") if "eval_loss" in line] == [0, 12]
    assert result.best_step == 12 and saved(tmp_path / "no") == [3, 6, 9, 12]
    run(tmp_path / "epochs", "train.save_steps=3", keep)
    assert set(saved(tmp_path / "epochs")) >= {3, 6, 9}
    # A checkpoint that is due at the end of an epoch is written after its validation.
    for folder in (tmp_path / "epochs" / "checkpoints").iterdir():
        state = json.loads((folder / "trainer_state.json").read_text())
        validated = [log["step"] for log in state["log_history"] if "eval_loss" in log]
        assert validated == [step for step in (0, 4, 8, 12) if step <= step_of(folder)]


@pytest.mark.parametrize("limit", [1, 2])
def test_the_best_is_never_deleted(tmp_path, limit):
    """Validation is best early and worse ever after; the newest is kept to continue from."""
    contradicting = examples(10, 14, factor=3)
    settings = (
        "train.num_train_epochs=12", "train.learning_rate=1e-2", "train.save_steps=5",
        f"train.save_total_limit={limit}",
    )  # fmt: skip
    session = model()
    result, _ = run(tmp_path, *settings, session=session, validation=contradicting)
    losses = {
        m["step"]: m["eval_loss"] for m in metrics(tmp_path) if "eval_loss" in m and m["step"]
    }
    assert result.best_step == min(losses, key=losses.__getitem__)
    assert result.best_step < 45  # several worse validations and a newer checkpoint follow
    assert saved(tmp_path) == [result.best_step, 45]
    best = load_file(tmp_path / "checkpoints" / f"checkpoint-{result.best_step}/model.safetensors")
    for name, tensor in load_file(tmp_path / "model" / "model.safetensors").items():
        assert torch.equal(tensor, best[name])
        assert torch.equal(tensor, session.state_dict()[name])


SHARES = (0.0, 0.5, 0.75, 0.5, 1.0)
"""Exact match of each validation; by the fourth training has stopped, for the third was no better.
"""


def solves(first: int = 0, interrupt_at: int = -1) -> Callable[[Callable[[], bool]], float]:
    """Return what gives the shares from one on; a signal comes in one of the validations."""
    validations = iter(range(first, 5))

    def exact_match(interrupted: Callable[[], bool]) -> float:
        number = next(validations)
        if number == interrupt_at:
            os.kill(os.getpid(), signal.SIGTERM)
            assert interrupted()
            raise ValidationInterrupted
        return SHARES[number]

    return exact_match


@pytest.mark.parametrize("when", ["epoch", "steps", "steps, reduce_lr_on_plateau"])
def test_a_signal_while_problems_are_solved_is_heeded_at_once(tmp_path, when):
    """The checkpoint lies before the validation, with which the next start begins.

    Twice in a row in the same validation, and one run in two different ones.
    """
    strategy, _, schedule = when.partition(", ")
    settings = [
        "train.num_train_epochs=4", "train.exact_match_samples=4",
        "train.metric_for_best_model=eval_exact_match", "train.early_stopping_patience=1",
        f"train.eval_strategy={strategy}", "train.eval_steps=3",
    ]  # fmt: skip
    if schedule:
        settings.append(f"train.lr_scheduler_type={schedule}")
    every = 3 if strategy == "steps" else 4
    settings.append(f"train.save_steps={every}")
    whole_folder = tmp_path / "whole"
    whole, _ = run(whole_folder, *settings, exact_match=solves())
    assert (whole.steps, whole.best_step, whole.stopped) == (3 * every, 2 * every, "early")
    for interruptions in ([0], [1], [2, 2], [3], [1, 2, 3]):
        folder = tmp_path / "-".join(map(str, interruptions))
        first = 0
        for number in interruptions:
            expected = f"step {number * every}, checkpoint saved; give the same command again to co"
            if number == 0:
                expected = "step 0, there is no checkpoint yet; give the same command again to star"
            with pytest.raises(TrainingStopped, match=expected):
                run(folder, *settings, exact_match=solves(first, interrupt_at=number))
            first = number
        result, _ = run(folder, *settings, exact_match=solves(first))
        assert (result.steps, result.best_step, result.stopped) == (
            3 * every,
            2 * every,
            "early",
        )
        assert metrics(folder) == metrics(tmp_path / "whole")
        assert weights(folder) == weights(tmp_path / "whole")
        best = [each / "checkpoints" / f"checkpoint-{2 * every}" for each in (folder, whole_folder)]
        schedules = [torch.load(each / "scheduler.pt") for each in best]
        assert schedules[0] == schedules[1]


def test_a_validation_that_is_cut_off_is_saved_once(tmp_path, monkeypatch):
    """Transformers comes by once more at the end of an epoch."""
    sealed = []
    monkeypatch.setattr(
        "mathtune.training.checkpointing.checkpoint.seal",
        lambda folder: [sealed.append(folder), seal(folder)],
    )
    settings = ("train.eval_strategy=steps", "train.eval_steps=3", "train.save_steps=3")
    with pytest.raises(TrainingStopped):
        run(tmp_path, *settings, "train.exact_match_samples=4", exact_match=solves(0, 1))
    assert len(sealed) == 1


def test_a_validation_that_was_due_and_then_not_saved_is_logged_once(tmp_path, monkeypatch):
    """As where the disk is full just then."""
    settings = ("train.num_train_epochs=2", "train.exact_match_samples=4")
    run(tmp_path / "whole", *settings, exact_match=solves())
    with pytest.raises(TrainingStopped):
        run(tmp_path / "cut", *settings, exact_match=solves(0, interrupt_at=1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(DiskError):
        broken.setattr("mathtune.training.checkpointing.checkpoint.seal", full)
        run(tmp_path / "cut", *settings, exact_match=solves(1))
    run(tmp_path / "cut", *settings, exact_match=solves(1))
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_a_crash_while_a_checkpoint_takes_the_place_of_another_loses_neither(tmp_path, monkeypatch):
    final, rename, renamed = tmp_path / "checkpoint-4", os.rename, []

    def publish_text(text: str) -> None:
        staged = tmp_path / "staging" / "checkpoint-4"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True)
        (staged / "weights").write_text(text)
        seal(staged)
        publish(staged, final)

    def crash(old: Path, new: Path) -> None:
        renamed.append(new)
        if len(renamed) == 2:
            raise KeyboardInterrupt
        rename(old, new)

    publish_text("old")
    with monkeypatch.context() as crashing, pytest.raises(KeyboardInterrupt):
        crashing.setattr(os, "rename", crash)
        publish_text("new")
    assert not final.exists()
    recover(tmp_path)
    assert newest_whole(tmp_path) == (final, []) and (final / "weights").read_text() == "old"
    publish_text("new")
    assert newest_whole(tmp_path) == (final, []) and (final / "weights").read_text() == "new"
    # As after a crash before the old one was deleted; and it is kept where the new one is torn.
    shutil.copytree(final, tmp_path / "replaced-checkpoint-4")
    recover(tmp_path)
    assert not (tmp_path / "replaced-checkpoint-4").exists()
    shutil.copytree(final, tmp_path / "replaced-checkpoint-4")
    (final / "weights").write_text("torn")
    recover(tmp_path)
    assert newest_whole(tmp_path) == (None, [final])
    final.rename(tmp_path / "damaged-checkpoint-4")
    recover(tmp_path)
    assert newest_whole(tmp_path) == (final, [])


def test_exact_match_chooses(tmp_path):
    shares = iter([0.0, 0.25, 0.75, 0.75, 0.5])
    result, _ = run(
        tmp_path, "train.num_train_epochs=4", "train.exact_match_samples=4",
        "train.metric_for_best_model=eval_exact_match", exact_match=lambda _: next(shares),
    )  # fmt: skip
    assert result.best_step == 8  # of two equal ones the first
    logged = [m["eval_exact_match"] for m in metrics(tmp_path) if "eval_exact_match" in m]
    assert logged == [0.0, 0.25, 0.75, 0.75, 0.5]


@pytest.mark.parametrize("only_better", ["true", "false"])
def test_early_stopping_is_not_undone_by_a_kill_before_the_model_is_saved(tmp_path, only_better):
    settings = (
        "train.num_train_epochs=30", "train.learning_rate=1e-30", "train.early_stopping_patience=2",
        f"train.save_only_when_better={only_better}", "train.save_total_limit=9",
    )  # fmt: skip
    first, _ = run(tmp_path, *settings)
    assert (first.steps, first.best_step, first.stopped) == (12, 4, "early")
    assert saved(tmp_path) == ([4] if only_better == "true" else [4, 8, 12])
    before, whole = metrics(tmp_path), weights(tmp_path)
    shutil.rmtree(tmp_path / "model")  # as a kill in the middle of its saving leaves it
    again, _ = run(tmp_path, *settings)
    assert (again.steps, again.best_step, again.stopped) == (12, 4, "early")
    assert again.train_tokens == first.train_tokens
    assert metrics(tmp_path) == before
    assert weights(tmp_path) == whole


class Signals:
    """Sends this process a signal at a moment of training, by hooks on the model."""

    def __init__(self, session: torch.nn.Module, when: str, forward: int) -> None:
        self._student, self._when, self._forward_pass = session, when, forward
        self._trained = 0
        embedding = session.get_input_embeddings()
        embedding.register_forward_hook(self._forward)
        session.register_state_dict_pre_hook(self._save)

    def _forward(self, *_: object) -> None:
        self._trained += self._student.training
        now = "training" if self._student.training else "validation"
        if now == self._when and self._trained >= self._forward_pass:
            self._send()

    def _save(self, *_: object) -> None:
        if self._when == "saving":
            self._send()

    def _send(self) -> None:
        self._when = "done"
        os.kill(os.getpid(), signal.SIGTERM)


MOMENTS = {  # what is under way, in which forward pass of training (7 an epoch), last step
    "in an epoch": ("training", 11, 6),
    "at the end of an epoch": ("training", 14, 8),
    "at the last step": ("training", 21, 12),
    "while validating": ("validation", 7, 4),
    "while saving": ("saving", 0, 5),
}


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_at_any_moment_saves_and_the_same_run_goes_on(
    tmp_path, moment, strategy, uninterrupted
):
    when, forward, expected = MOMENTS[moment]
    session, settings = model(), settings_of(strategy)
    Signals(session, when, forward)
    with pytest.raises(TrainingStopped, match="stopped by signal 15 at step") as stopped:
        run(tmp_path, *settings, session=session)
    assert stopped.value.exit_code == 143
    assert f"at step {expected}, checkpoint saved" in str(stopped.value)
    assert expected in saved(tmp_path)
    validated = [m["step"] for m in metrics(tmp_path) if "eval_loss" in m]
    assert validated == [s for s in (0, 4, 8, 12) if s <= expected]  # none in mid-epoch
    run(tmp_path, *settings)
    assert metrics(tmp_path) == metrics(uninterrupted[strategy])
    assert weights(tmp_path) == weights(uninterrupted[strategy])


def settings_of(strategy: str) -> tuple[str, ...]:
    limit = "train.save_total_limit=1"  # the hardest: the newest must not go with the rest
    return (f"train.eval_strategy={strategy}", "train.eval_steps=4", limit)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for strategy in ("epoch", "steps"):
        made[strategy] = tmp_path_factory.mktemp(strategy)
        run(made[strategy], *settings_of(strategy))
    return made


def test_second_signal_ends_at_once(tmp_path):
    session = model()

    def twice(*_: object) -> None:
        if session.training:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    session.get_input_embeddings().register_forward_hook(twice)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, session=session)
    assert saved(tmp_path) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_nothing_is_drawn_where_there_is_no_terminal(tmp_path):
    _, said = run(tmp_path)
    assert said.splitlines()
    assert all(line.strip() for line in said.splitlines())


def test_qlora_with_an_8_bit_optimiser_goes_on_exactly(tmp_path):
    """NF4 weights, dropout in the adapter and block-wise moments, left in mid-epoch and resumed."""
    base, tokenizer = saved_model(tmp_path / "base", "llama", hidden_size=64)
    recipe = config.load(
        "gemma-2b-orca",
        [
            f"model={base}", "adapter.lora_dropout=0.2", "train.max_steps=8", "train.eval_steps=4",
            "train.logging_steps=1", "tracking.report_to=[]",
        ],
    )  # fmt: skip
    assert recipe.model.load_in_4bit and recipe.train.optim == "paged_adamw_8bit"

    def qlora(folder: Path, stop_in_pass: int | None = None) -> None:
        session = models.add_adapter(models.load_model(recipe.model, FLOAT32), recipe.adapter, 1)
        passes = 0

        def forward(*_: object) -> None:
            nonlocal passes
            passes += session.training
            if passes == stop_in_pass and session.training:
                os.kill(os.getpid(), signal.SIGTERM)

        session.get_input_embeddings().register_forward_hook(forward)
        folder.mkdir(exist_ok=True)
        train(
            recipe,
            model=session,
            tokenizer=tokenizer,
            compute=FLOAT32,
            train_examples=TRAIN,
            validation_examples=VALIDATION,
            run_dir=folder,
        )

    qlora(tmp_path / "whole")
    with pytest.raises(TrainingStopped, match="at step 6"):  # 4 + 4 + 4 + 2 examples an epoch
        qlora(tmp_path / "parts", stop_in_pass=20)
    qlora(tmp_path / "parts")
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    one, two = (tmp_path / name / "model" for name in ("whole", "parts"))
    stored = [path / "adapter_model.safetensors" for path in (one, two)]
    assert stored[0].read_bytes() == stored[1].read_bytes()


def seconds(folder: Path) -> list[float]:
    return [json.loads(line)["seconds"] for line in (folder / "metrics.jsonl").open()]


def test_time_is_summed_over_all_starts(tmp_path):
    """Of a start that a signal ended, and of one that was killed after its last checkpoint."""
    settings = ("train.num_train_epochs=4", "train.exact_match_samples=4")
    with pytest.raises(TrainingStopped):
        run(tmp_path, *settings, exact_match=solves(0, interrupt_at=2))
    state = tmp_path / "checkpoints" / "checkpoint-8" / "trainer_state.json"
    first = json.loads(state.read_text())["seconds"]
    assert first > max(seconds(tmp_path)) > 0
    with (tmp_path / "metrics.jsonl").open("a") as file:  # a step that was lost with the process
        file.write(json.dumps({"step": 9, "loss": 1.0, "seconds": first + 5000}) + "\n")
    result, _ = run(tmp_path, *settings, exact_match=solves(2))
    assert first + 5000 < result.seconds < first + 6000
    found = seconds(tmp_path)
    assert found == sorted(found) and first + 5000 < found[-1] <= result.seconds
