"""Same seed, same result; and a run killed at random moments ends as one that was not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from mathtune.training.callbacks import VOLATILE_KEYS
from models_for_tests import saved_model

STEPS = 12


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("model"), "llama")[0]


def command(model: Path, run_dir: Path) -> list[str]:
    return [
        sys.executable, "-c", "from mathtune.cli.main import main; main()",
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


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(model, run_dir), check=True, capture_output=True)
    return outcome(run_dir)


def test_two_runs_of_one_seed_are_identical(model, uninterrupted, tmp_path):
    subprocess.run(command(model, tmp_path / "run"), check=True, capture_output=True)
    assert outcome(tmp_path / "run") == uninterrupted


def test_killed_run_ends_as_one_that_was_not(model, uninterrupted, tmp_path):
    """kill -9 once while training (after some step), then once anywhere; then the same command."""
    run_dir = tmp_path / "run"
    chance = random.Random(7)
    metrics = run_dir / "metrics.jsonl"
    for wait_for_metrics in (True, False):
        process = subprocess.Popen(
            command(model, run_dir), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while wait_for_metrics and process.poll() is None and time.monotonic() < deadline:
            if metrics.exists() and metrics.stat().st_size > 600:  # between two checkpoints
                break
            time.sleep(0.01)
        else:
            time.sleep(chance.uniform(1.0, 8.0))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished = subprocess.run(command(model, run_dir), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1])["n"] == 4
    assert outcome(run_dir) == uninterrupted


def test_sigterm_saves_and_the_same_command_goes_on(model, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    process = subprocess.Popen(
        command(model, run_dir), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    metrics = run_dir / "metrics.jsonl"
    while process.poll() is None and not metrics.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate()
    if process.returncode == 0:
        pytest.skip("training ended before the signal came")
    assert process.returncode == 128 + signal.SIGTERM, stderr
    assert "give the same command again" in stderr
    assert "Traceback" not in stderr
    assert list((run_dir / "checkpoints").glob("checkpoint-*"))
    subprocess.run(command(model, run_dir), check=True, capture_output=True)
    assert outcome(run_dir) == uninterrupted
