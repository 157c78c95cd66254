"""Two real gloo processes do what one does, started by the shipped examples as a user starts them.

The training set has 17 problems and a step 8, so that the last step of each epoch has one example
and one rank has none.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command_for_tests import jsonl, solved
from log_for_tests import logged
from mathtune import config, pipeline
from mathtune.training.callbacks import VOLATILE_KEYS
from models_for_tests import saved_model

ROOT = Path(__file__).parents[2]
SLURM = ROOT / "examples" / "slurm"
RECIPE = """
name: ranks
model: {name_or_path: MODEL, dtype: float32}
data: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl, contamination: report}
train: {max_steps: STEPS, max_length: 256, eval_strategy: steps, eval_steps: EVERY,
  logging_steps: 1, learning_rate: 5.0e-3, per_device_train_batch_size: BATCH,
  micro_batch_tokens: 300, save_only_when_better: false, save_total_limit: 9, MORE}
eval: {max_new_tokens: 16}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and two models, all paths relative to it."""
    folder = tmp_path_factory.mktemp("ranks")
    for name in ("llama", "llama-tied"):
        saved_model(folder / name, name)
    jsonl(folder / "train.jsonl", [solved(n, "pens " * (n % 5 + 1)) for n in range(1, 18)])
    jsonl(folder / "validation.jsonl", [solved(n, "cups") for n in range(1, 4)])
    jsonl(folder / "test.jsonl", [solved(n, "nuts") for n in range(1, 8)])
    return folder


def recipe(place: Path, name: str, batch: int, **values: object) -> Path:
    text = RECIPE
    for key, value in {"BATCH": batch, "MORE": "", **values}.items():
        text = text.replace(key, str(value))
    path = place / f"{name}.yaml"
    path.write_text(text)
    return path


def start(script: str, place: Path, *arguments: object, **extra: str) -> subprocess.Popen[str]:
    """Start an example's local form, which takes two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    config_file = str(ROOT / "examples" / "accelerate" / "fsdp2.yaml")
    return subprocess.Popen(
        ["bash", str(SLURM / script), *map(str, arguments), "--json"],
        cwd=place,
        env={**os.environ, "PATH": path, "PORT": str(port), "CONFIG": config_file, **extra},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=200)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)  # the launchers end their workers
        process.wait(40)
        raise


def figures(process: subprocess.Popen[str]) -> dict:
    out, err = ended(process)
    assert process.returncode == 0, err
    (line,) = (line for line in out.splitlines() if line.startswith("{"))  # of one rank only
    return json.loads(line)


def in_this_process(what, place: Path, path: Path, run_dir: Path) -> str:
    before = Path.cwd()
    os.chdir(place)
    try:
        with logged() as said:
            what(config.load(str(path), []), run_dir)
    finally:
        os.chdir(before)
    return said.getvalue()


def metrics(run_dir: Path) -> list[dict]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{k: value for k, value in line.items() if k not in VOLATILE_KEYS} for line in lines]


def assert_same_trajectory(one: Path, other: Path) -> None:
    """Every loss, gradient norm, validation loss and exact match of every step."""
    ours, theirs = metrics(one), metrics(other)
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    for a, b in zip(ours, theirs, strict=True):
        for key in a:
            assert math.isclose(a[key], b[key], rel_tol=1e-4), (a["step"], key, a[key], b[key])


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next(folder.glob("*model.safetensors")))


def assert_close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-5)


LORA = {"MODEL": "llama", "STEPS": 45, "EVERY": 9}
ADAPTER = "exact_match_samples: 3}\nadapter: {r: 4"


@pytest.fixture(scope="module")
def ddp(place: Path) -> Path:
    """A whole run of two processes with LoRA, on two "nodes"."""
    path = recipe(place, "ddp", 4, **LORA, MORE=ADAPTER)
    found = figures(start("several-nodes.sbatch", place, path, "--run-dir", "ddp"))
    assert found["n"] == 7
    return place / "ddp"


def test_ddp_and_shared_out_evaluation_are_those_of_one_process(place: Path, ddp: Path) -> None:
    one = place / "one"
    in_this_process(pipeline.run, place, recipe(place, "one", 8, **LORA, MORE=ADAPTER), one)
    assert_same_trajectory(one, ddp)
    training = json.loads((ddp / "manifest.json").read_text())["training"]
    assert (training["processes"], training["parallelism"]) == (2, "DDP")
    assert_close(weights(one / "model"), weights(ddp / "model"))
    names = sorted(path.name for path in (one / "predictions").iterdir())
    assert names == sorted(path.name for path in (ddp / "predictions").iterdir())
    for name in names:
        if name.endswith(".jsonl"):
            rows, theirs = ((run / "predictions" / name).read_text() for run in (one, ddp))
            assert rows == theirs
    for key in ("perplexity", "exact_match"):
        ours, theirs = (
            [each[key] for each in json.loads((run / "results.json").read_text())["evaluations"]]
            for run in (one, ddp)
        )
        for a, b in zip(ours, theirs, strict=True):
            assert a == pytest.approx(b, rel=1e-4)


def test_a_killed_rank_is_survived(place: Path, ddp: Path) -> None:
    """kill -9 in mid-epoch: all begin again from the last checkpoint and end the same."""
    run_dir = place / "killed"
    process = start("one-node.sbatch", place, place / "ddp.yaml", "--run-dir", run_dir)
    while not (run_dir / "metrics.jsonl").exists() or len(metrics(run_dir)) < 24:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process_of(rank=1, run_dir=run_dir), signal.SIGKILL)
    _, err = ended(process)
    assert process.returncode == 0, err
    step = int(err.partition("continuing from checkpoint-")[2].split()[0])
    assert step % 9 == 0 and step >= 18
    assert "another rank is gone" in err
    assert metrics(run_dir) == metrics(ddp)
    ours, theirs = weights(ddp / "model"), weights(run_dir / "model")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (run_dir / "predictions/tuned.jsonl").read_text() == (
        ddp / "predictions/tuned.jsonl"
    ).read_text()


def process_of(rank: int, run_dir: Path) -> int:
    """Return the worker's process id by its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables = (folder / "environ").read_bytes().split(b"\0")
            command = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        worker = str(run_dir).encode() in command and b"--nproc-per-node" not in command
        if worker and f"RANK={rank}".encode() in variables:
            return int(folder.name)
    raise AssertionError("no such process")


def test_fsdp2_reaches_the_same_and_its_checkpoints_load_on_one_process(place: Path) -> None:
    full = {"MODEL": "llama-tied", "STEPS": 9, "EVERY": 2}
    one, two = place / "full", place / "fsdp"
    in_this_process(pipeline.train, place, recipe(place, "full", 8, **full), one)
    path = recipe(place, "fsdp", 4, **full)
    found = figures(
        start("several-nodes-fsdp2.sbatch", place, path, "--run-dir", two, COMMAND="train")
    )
    assert (found["processes"], found["parallelism"]) == (2, "FSDP2")
    assert_same_trajectory(one, two)
    assert_close(weights(one / "model"), weights(two / "model"))
    assert json.loads((two / "model/config.json").read_text())["architectures"] == [
        "LlamaForCausalLM"
    ]

    # One process goes on from the middle of an epoch, with the steps that two had begun.
    moved = place / "moved"
    shutil.copytree(two, moved)
    shutil.rmtree(moved / "model")
    for folder in (moved / "checkpoints").iterdir():
        if int(folder.name.rpartition("-")[2]) > 4:
            shutil.rmtree(folder)
    said = in_this_process(pipeline.train, place, path, moved)
    assert "continuing from checkpoint-4" in said
    assert "1 process would make steps of 4 problems; the run continues with steps of 8" in said
    assert_same_trajectory(one, moved)
    assert_close(weights(one / "model"), weights(moved / "model"))


@pytest.mark.parametrize("script", sorted(SLURM.glob("*.sbatch")), ids=lambda path: path.name)
def test_examples_are_sound_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
