"""Short trainings whose every loss and gradient norm is on record.

    PYTHONPATH=tests python tests/invariants/trajectories.py [CASE …]

trains them with the real command and writes ``recorded/CASE.json``. What is recorded must not
change when the code is rearranged; record again only where a change of the numbers is the purpose,
and say so in the commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

RECORDED = Path(__file__).with_name("recorded")
KEYS = ("step", "epoch", "loss", "grad_norm", "learning_rate", "eval_loss")

RECIPE: dict[str, Any] = {
    "name": "trajectory",
    "model": {"name_or_path": "model", "dtype": "float32"},
    "data": {
        "train": "train.jsonl",
        "validation": "validation.jsonl",
        "test": "test.jsonl",
        "contamination": "report",
    },
    "train": {
        "max_steps": 9,
        "max_length": 256,
        "per_device_train_batch_size": 8,
        "learning_rate": 5e-3,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "weight_decay": 0.1,
        "logging_steps": 1,
        "eval_strategy": "epoch",
        "optim": "adamw_torch",
    },
    "eval": {"max_new_tokens": 16},
}
LORA = {"r": 4, "lora_alpha": 8}

CASES: dict[str, dict[str, dict[str, Any]]] = {
    "full": {"train": {"padding_free": False}},
    "lora": {"train": {"padding_free": False}, "adapter": LORA},
    "qlora": {  # NF4 weights, double quantisation, 8-bit moments
        "model": {"load_in_4bit": True},
        "train": {"optim": "paged_adamw_8bit"},
        "adapter": LORA,
    },
    "accumulation": {  # a step of 8 in padded micro-batches of 2 at most
        "train": {
            "padding_free": False,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4,
            "label_smoothing_factor": 0.1,
        }
    },
    "packed": {"train": {"micro_batch_tokens": 300}},
    "two_ranks": {"train": {"per_device_train_batch_size": 4, "micro_batch_tokens": 150}},
}
"""What each case changes in the recipe. 18 training problems make steps of 8, 8 and 2 an epoch."""

RANKS = {"two_ranks": 2}


def trained(case: str, folder: Path, *overrides: str) -> list[dict[str, float]]:
    """Train a case in a folder with the real command; return its figures, a step or validation a
    line.
    """
    from command_for_tests import jsonl, mathtune, solved
    from models_for_tests import saved_model

    folder.mkdir(parents=True, exist_ok=True)
    saved_model(folder / "model", "llama", hidden_size=64, intermediate_size=128)
    jsonl(folder / "train.jsonl", [solved(n, "pens " * (n % 5 + 1)) for n in range(1, 19)])
    jsonl(folder / "validation.jsonl", [solved(n, "cups") for n in range(1, 5)])
    jsonl(folder / "test.jsonl", [solved(n, "nuts") for n in range(1, 4)])
    recipe = dict(RECIPE)
    for section, values in CASES[case].items():
        recipe[section] = {**recipe.get(section, {}), **values}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    arguments = ["train", "recipe.yaml", "--run-dir", "run", *overrides]
    if count := RANKS.get(case):
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        done = subprocess.run(
            [sys.executable, *launcher, "-m", "mathtune", *arguments],
            cwd=folder,
            env={**os.environ, "MATHTUNE_DATA_DIR": ""},
            capture_output=True,
            text=True,
            timeout=200,
        )
    else:
        done = mathtune(*arguments, cwd=folder)
    if done.returncode:
        raise AssertionError(done.stderr[-3000:])
    lines = (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{k: v for k, v in json.loads(line).items() if k in KEYS} for line in lines]


def main() -> None:
    import tempfile

    for case in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as place:
            rows = ",\n ".join(json.dumps(line) for line in trained(case, Path(place)))
        (RECORDED / f"{case}.json").write_text(f"[{rows}]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
