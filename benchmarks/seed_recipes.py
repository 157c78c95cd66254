"""Both recipes that follow published projects, to the end, with the model's name as only override.

    python benchmarks/seed_recipes.py --keep runs/seed

Each model is a tiny one of the recipe's architecture. Models and data come by their hub ids from a
hub on loopback: Orca-Math and GSM8K in their published layout, with generated rows. Prints one JSON
line a recipe: what was trained, how, for how many steps and what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from mathtune.problems.generate import BASE_TYPES, NEW_TYPES, generate
from mathtune.records import Problem

RECIPES = {"gemma-2b-orca": "gemma", "llama-2-7b-gsm8k": "llama"}
GSM8K_CARD = """---
configs:
- config_name: main
  data_files: [{split: train, path: main/train-*}, {split: test, path: main/test-*}]
---
"""


def parquet(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write one file of a published set."""
    import pyarrow
    from pyarrow import parquet as format

    path.parent.mkdir(parents=True, exist_ok=True)
    format.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def as_orca(problem: Problem) -> dict[str, str]:
    """Return a row as Orca-Math has them: prose that ends in its answer, no marks."""
    prose, _, gold = problem.answer.rpartition("\n#### ")
    words = "".join(part.rpartition(">>")[2] for part in prose.split("<<"))
    return {"question": problem.question, "answer": f"{words} Therefore, the answer is {gold}."}


def serve_from(root: Path, train: int, test: int) -> None:
    """Lay out the hub: two problem sets and two models."""
    from models_for_tests import saved_model

    known = generate(train, types=BASE_TYPES, seed=1)
    unseen = generate(test, types=NEW_TYPES, seed=2)
    orca = root / "datasets/microsoft/orca-math-word-problems-200k"
    parquet(orca / "data/train-00000-of-00001.parquet", map(as_orca, known))
    gsm8k = root / "datasets/openai/gsm8k"
    for split, problems in (("train", known), ("test", unseen)):
        rows = ({"question": p.question, "answer": p.answer} for p in problems)
        parquet(gsm8k / f"main/{split}-00000-of-00001.parquet", rows)
    (gsm8k / "README.md").write_text(GSM8K_CARD)
    for architecture in RECIPES.values():
        saved_model(
            root / "models/someone" / f"tiny-{architecture}",
            architecture,
            hidden_size=64,
            head_dim=16,
        )


def run(recipe: str, model: str, folder: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """Give the command and read what it left."""
    command = [sys.executable, "-c", "from mathtune.cli.main import main; main()"]
    arguments = ["run", recipe, f"model={model}", "--run-dir", str(folder), "--json"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, *arguments], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise SystemExit(f"mathtune {' '.join(arguments)} ended with {done.returncode}")
    figures = json.loads(done.stdout.splitlines()[-1])
    manifest = json.loads((folder / "manifest.json").read_text())
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    validations = [line["eval_loss"] for line in metrics if "eval_loss" in line]
    form = folder / "model" / "quantization.json"
    return {
        "benchmark": "seed_recipes",
        "recipe": recipe,
        "overrides": [f"model={model}"],
        "seconds": round(time.monotonic() - start, 1),
        "training_seconds": round(manifest["training"]["seconds"], 1),
        "steps": manifest["training"]["steps"],
        "best_step": manifest["training"]["best_step"],
        "trainable": manifest["parameters"]["trainable"],
        "total": manifest["parameters"]["total"],
        "quantization": json.loads(form.read_text()) if form.is_file() else None,
        "validation_loss": [round(loss, 4) for loss in validations],
        "problems": {"train": manifest["data"]["train"]["n"], "test": figures["n"]},
        "exact_match": [figures["base.exact_match"], figures["tuned.exact_match"]],
        "report": (folder / "report.html").stat().st_size > 0,
    }


def main() -> None:
    from hub_server import HubServer

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--train", type=int, default=400, help="problems of each training set")
    parser.add_argument("--test", type=int, default=24, help="test problems")
    parser.add_argument("--keep", type=Path, help="folder for the run folders")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, HubServer(Path(scratch) / "hub") as hub:
        serve_from(hub.root, options.train, options.test)
        environment = hub.environment(Path(scratch) / "cache")
        environment |= {"MATHTUNE_DATA_DIR": "", "WANDB_MODE": "offline"}
        for recipe, architecture in RECIPES.items():
            folder = (options.keep or Path(scratch)) / recipe
            print(json.dumps(run(recipe, f"someone/tiny-{architecture}", folder, environment)))


if __name__ == "__main__":
    main()
