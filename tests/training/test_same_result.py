"""Same seed, same result; and a run killed at random moments ends as one that was not."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from command_for_tests import mathtune, start, wait_for
from mathtune.training.callbacks import VOLATILE_KEYS
from models_for_tests import saved_model

STEPS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model"), "llama")[0]


def command(model: Path, run_dir: Path) -> list[str]:
    return [
        "run", "demo", f"model={model}", "--run-dir", str(run_dir), "--json",
        "data.train.0.n=60", "data.train.1.n=20",
        "data.validation.0.n=10", "data.max_test_samples=4",
        f"train.max_steps={STEPS}", "train.eval_steps=3", "train.logging_steps=2",
        "train.per_device_train_batch_size=4", "train.learning_rate=1e-3", "train.max_length=500",
        "train.micro_batch_tokens=600", "adapter.lora_dropout=0.1", "eval.max_new_tokens=12",
    ]  # fmt: skip


def outcome(run_dir: Path) -> dict[str, object]:
    """Everything a run leaves that must not depend on when it was made."""
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    metrics = [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in metrics]
    weights = load_file(run_dir / "model" / "adapter_model.safetensors")
    return {
        "metrics": metrics,
        "weights": {name: array.tobytes() for name, array in sorted(weights.items())},
        "predictions": {
            path.name: path.read_bytes()
            for path in sorted((run_dir / "predictions").glob("*.jsonl"))
        },
    }


def finish(model: Path, run_dir: Path) -> dict[str, object]:
    """Give the command and let it end; return its figures."""
    done = mathtune(*command(model, run_dir), cwd=run_dir.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    finish(model, run_dir)
    return outcome(run_dir)


def test_two_runs_of_one_seed_are_identical(model, uninterrupted, tmp_path):
    finish(model, tmp_path / "run")
    assert outcome(tmp_path / "run") == uninterrupted


def test_killed_run_ends_as_one_that_was_not(model, uninterrupted, tmp_path):
    """kill -9 between two checkpoints, at any later step, and while the tuned model is measured."""
    run_dir, chance = tmp_path / "run", random.Random()
    metrics, tuned = run_dir / "metrics.jsonl", run_dir / "predictions" / "tuned.jsonl"
    first = 4  # lines, of steps 0, 2, 3 and 4; checkpoints are at 3, 6, 9 and 12
    later = first + chance.randint(1, 4)
    for ready in (
        lambda: lines(metrics) >= first,
        lambda: lines(metrics) >= later,
        lambda: lines(tuned) >= 1,
    ):
        process = start(*command(model, run_dir), cwd=tmp_path)
        wait_for(ready, process)
        process.send_signal(signal.SIGKILL)  # which asserts that it is still running
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert finish(model, run_dir)["n"] == 4
    assert outcome(run_dir) == uninterrupted


def test_sigterm_saves_and_the_same_command_goes_on(model, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    process = start(*command(model, run_dir), cwd=tmp_path)
    wait_for((run_dir / "metrics.jsonl").exists, process)
    process.send_signal(signal.SIGTERM)  # which asserts that it is still running
    _, stderr = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "give the same command again" in stderr
    assert "Traceback" not in stderr
    assert list((run_dir / "checkpoints").glob("checkpoint-*"))
    finish(model, run_dir)
    assert outcome(run_dir) == uninterrupted
