"""Kills a short training with SIGKILL at random moments; every resume must end the same.

    python benchmarks/kill_and_resume.py [--kills 20] [--in-saves 10] [--seed 1] [--qlora]

Each kill is of a fresh run, which the same command then takes up again. Its final weights and
metrics are compared, bit for bit, with those of a run that was left alone. Of the kills,
`--in-saves` wait for a checkpoint's staging folder to appear; the rest come at any moment between
the start of training and its end. One JSON line a kill, then a summary; the exit code is 1 if any
run differs.

The run has what makes resuming hard: dropout, accumulated micro-batches, epochs that end in
mid-interval, checkpoints between validations. `--qlora` trains on 4-bit weights with an 8-bit
optimiser.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS = 32


def command(run_dir: Path, qlora: bool) -> list[str]:
    return [
        sys.executable, "-c", "from mathtune.cli.main import main; main()",
        "train", "demo", "--run-dir", str(run_dir),
        "data.train.0.n=40", "data.train.1.n=6", "data.train.2.n=5",
        "data.validation.0.n=4", "data.max_test_samples=2", f"train.max_steps={STEPS}",
        "train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=2",
        "train.micro_batch_tokens=400", "train.eval_steps=10", "train.save_steps=3",
        "train.logging_steps=4", "train.learning_rate=1e-3", "adapter.lora_dropout=0.1",
        *(["model.load_in_4bit=true", "train.optim=paged_adamw_8bit"] if qlora else []),
    ]  # fmt: skip


def start(run_dir: Path, qlora: bool) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command(run_dir, qlora), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def outcome(run_dir: Path) -> dict[str, str]:
    """Return hashes of the final weights and of the metrics without what may differ."""
    from mathtune.training.callbacks import VOLATILE_KEYS

    metrics = []
    for line in (run_dir / "metrics.jsonl").read_text().splitlines():
        figures = json.loads(line)
        metrics.append({k: v for k, v in figures.items() if k not in VOLATILE_KEYS})
    weights = (run_dir / "model" / "adapter_model.safetensors").read_bytes()
    return {
        "weights": hashlib.sha256(weights).hexdigest(),
        "metrics": hashlib.sha256(json.dumps(metrics).encode()).hexdigest(),
    }


def training_seconds(process: subprocess.Popen[bytes], run_dir: Path) -> float:
    """Wait for a run to end; return how long it was from its first metrics to its end."""
    while not (run_dir / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)
    began = time.monotonic()
    if process.wait() != 0:
        raise SystemExit("the undisturbed run failed")
    return time.monotonic() - began


def kill_in_save(process: subprocess.Popen[bytes], run_dir: Path, chance: random.Random) -> None:
    """Kill within the nth save: as soon as its staging folder is seen, or a little later."""
    staging = run_dir / "checkpoints" / "staging"
    for _ in range(chance.randrange(1, 10)):
        while staging.exists() and process.poll() is None:
            pass
        while not staging.exists() and process.poll() is None:
            pass
    time.sleep(chance.uniform(0.0, 0.03))
    process.send_signal(signal.SIGKILL)


def kill_anywhere(
    process: subprocess.Popen[bytes], run_dir: Path, chance: random.Random, seconds: float
) -> None:
    """Kill at a moment between the first metrics and the end."""
    while not (run_dir / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(chance.uniform(0.0, seconds))
    process.send_signal(signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--in-saves", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--qlora", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    place = Path(tempfile.mkdtemp(prefix="kill-and-resume-"))
    whole = place / "whole"
    seconds = training_seconds(start(whole, options.qlora), whole)
    expected = outcome(whole)
    kinds = [n < options.in_saves for n in range(options.kills)]
    chance.shuffle(kinds)
    same = inside = 0
    for number, in_save in enumerate(kinds, 1):
        run_dir = place / f"run-{number}"
        while True:
            process = start(run_dir, options.qlora)
            if in_save:
                kill_in_save(process, run_dir, chance)
            else:
                kill_anywhere(process, run_dir, chance, seconds)
            if process.wait() == -signal.SIGKILL:
                break
            shutil.rmtree(run_dir)  # it ended before the kill: no kill, so another try
        checkpoints = run_dir / "checkpoints"
        staging = (checkpoints / "staging").exists()
        saved = [int(path.name.partition("-")[2]) for path in checkpoints.glob("checkpoint-*")]
        resumed = start(run_dir, options.qlora).wait()
        ended = resumed == 0 and outcome(run_dir) == expected
        same += ended
        inside += staging
        print(
            json.dumps(
                {
                    "kill": number,
                    "inside_a_save": staging,
                    "newest_checkpoint": max(saved, default=None),
                    "same_weights_and_metrics": ended,
                }
            ),
            flush=True,
        )
        shutil.rmtree(run_dir)
    summary = {
        "kills": options.kills,
        "inside_a_save": inside,
        "same": same,
        "steps": STEPS,
        "seconds_of_training": round(seconds, 2),
        "weights_sha256": expected["weights"],
    }
    print(json.dumps(summary))
    shutil.rmtree(place)
    sys.exit(same != options.kills)


if __name__ == "__main__":
    main()
