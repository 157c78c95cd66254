"""Training on CPU: mathtune against TRL's ``SFTTrainer`` at its defaults and at its best settings.

    MATHTUNE_DATA_DIR=FOLDER python benchmarks/train_vs_trl.py --shape 14m --rounds 3
    MATHTUNE_DATA_DIR=FOLDER python benchmarks/train_vs_trl.py --shape smollm2-135m

All train the same model from the same weights on the same tokens of GSM8K, 8 examples a step, in
float32 with AdamW, in turn, each in a process of its own so that peak memory is its own. Prints one
JSON line a run and a last one with ratios. Needs ``pip install "mathtune[bench]"``.

Shapes ``14m`` (hidden 384, 6 layers, vocabulary 8,192) and ``36m`` (hidden 256, 4 layers,
vocabulary 128,000) are Llama with tied embeddings and random weights: speed does not depend on what
the weights are. ``smollm2-135m`` (vocabulary 49,152) and ``gemma-3-270m`` (262,144) are the real
models, as ``mathtune models fetch`` gets them; all of TRL's settings are tried in the first round,
and the defaults and the fastest go on.

TRL's defaults are kept but for ``bf16``, which is off for all: on most CPUs it is emulated. They
include gradient checkpointing. Its best settings are tried: without checkpointing, grouped by
length, and packed.

The share of the matmul rate is the work that the maths asks for (6 operations a weight and token,
the output layer at supervised positions only, causal attention) over time and the rate of a large
float32 product, of PyTorch or oneDNN, measured before and after in the same process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import shapes
from shapes import build, gsm8k

EXAMPLES_PER_STEP = 8
LEARNING_RATE = 2e-4
TRL_SETTINGS: dict[str, dict[str, Any]] = {
    "trl defaults": {},
    "trl no checkpointing": {"gradient_checkpointing": False},
    "trl grouped": {
        "gradient_checkpointing": False,
        "train_sampling_strategy": "group_by_length",
    },
    "trl packed": {"gradient_checkpointing": False, "packing": True, "max_length": 1024},
}
OURS = "mathtune"


def render(tokenizer: Any, steps: int) -> list[Any]:
    """Return the examples of so many steps."""
    from mathtune.prompts.render import Renderer
    from mathtune.records import Problem, content_id

    renderer = Renderer(tokenizer, "qa")
    return [
        renderer.example(Problem(content_id(row["question"]), row["question"], row["answer"], ""))
        for row in gsm8k("train")[: steps * EXAMPLES_PER_STEP]
    ]


def run_mathtune(
    model: Any,
    tokenizer: Any,
    examples: Sequence[Any],
    steps: int,
    *,
    compute: Any = None,
    settings: dict[str, Any] | None = None,
) -> list[tuple[float, float]]:
    """Train as ``mathtune train`` does; return time and loss after each step.

    Args:
        model: With the weights to start from.
        tokenizer: Saved beside the weights.
        examples: Those of all steps.
        steps: Optimiser steps.
        compute: Where and how; default: in float32.
        settings: Keys of the recipe's ``train`` that differ from the comparison's.
    """
    from mathtune.config.schema import Recipe
    from mathtune.models.compute import pick_compute
    from mathtune.training.run import train

    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.model_validate(
            {
                "name": "benchmark",
                "model": {"name_or_path": "tiny-base", "dtype": "float32"},
                "data": {"train": "gsm8k", "test": "gsm8k"},
                "train": {
                    "max_steps": steps,
                    "per_device_train_batch_size": EXAMPLES_PER_STEP,
                    "learning_rate": LEARNING_RATE,
                    "lr_scheduler_type": "constant",
                    "optim": "adamw_torch_fused",
                    "eval_strategy": "steps",
                    "eval_steps": 10**6,
                    "logging_steps": 1,
                    **(settings or {}),
                },
            }
        )
        train(
            recipe,
            model=model,
            tokenizer=tokenizer,
            compute=compute or pick_compute("float32"),
            train_examples=examples,
            validation_examples=examples[:1],
            run_dir=Path(folder),
        )
        lines = Path(folder, "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [(record["seconds"], record["loss"]) for record in records if "loss" in record]


def run_trl(
    model: Any, tokenizer: Any, examples: Sequence[Any], steps: int, settings: dict[str, Any]
) -> list[tuple[float, float]]:
    """Train with ``SFTTrainer``; return time and loss after each step."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    records: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                records.append((time.perf_counter(), float(logs["loss"])))

    dataset = Dataset.from_dict(
        {
            "input_ids": [list(example.ids) for example in examples],
            # Of data that are tokenised already, TRL reads no completion mask.
            "labels": [
                [token if flag else -100 for token, flag in zip(e.ids, e.supervised, strict=True)]
                for e in examples
            ],
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        packed = settings.get("packing", False)
        config = SFTConfig(
            output_dir=folder,
            # Packed rows hold about as many tokens as a step's examples do unpacked.
            per_device_train_batch_size=2 if packed else EXAMPLES_PER_STEP,
            max_steps=-1 if packed else steps,
            num_train_epochs=1,
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            dataloader_pin_memory=False,
            **settings,
        )
        SFTTrainer(
            model=model,
            args=config,
            train_dataset=dataset,
            processing_class=tokenizer,
            callbacks=[Clock()],
        ).train()
    return records


def useful_work(model: Any, examples: Sequence[Any]) -> float:
    """Return the operations that forward and backward of an example ask for, on average."""
    config = model.config
    heads = config.num_attention_heads * config.head_dim
    weights = sum(p.numel() for n, p in model.named_parameters() if p.dim() == 2)
    weights -= config.vocab_size * config.hidden_size
    total = 0.0
    for example in examples:
        tokens, targets = len(example.ids) - 1, sum(example.supervised[1:])
        total += 6 * weights * tokens
        total += 6 * config.vocab_size * config.hidden_size * targets
        total += 6 * config.num_hidden_layers * heads * tokens**2
    return total / len(examples)


def memory(field: str) -> int:
    """Return VmRSS or VmHWM of this process, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def measure(arm: str, shape: str, steps: int, threads: int, same: bool) -> dict[str, Any]:
    """Train in this process and return what came out; with ``same`` on one step's examples."""
    import torch
    import transformers

    os.environ["HF_HUB_OFFLINE"] = "1"
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    model, tokenizer = build(shape)
    examples = render(tokenizer, 1 if same else steps)
    from mathtune.models.compute import matmul_rate

    before = matmul_rate("cpu", torch.float32, 2048)
    importlib.import_module("mathtune.training.run" if arm == OURS else "trl.trainer.sft_trainer")
    base = memory("VmRSS")
    if arm == OURS:
        records = run_mathtune(model, tokenizer, examples, steps)
    else:
        records = run_trl(model, tokenizer, examples, steps, TRL_SETTINGS[arm])
    peak = memory("VmHWM") - base
    rate = max(before, matmul_rate("cpu", torch.float32, 2048))
    seconds = records[-1][0] - records[0][0]
    # As many a step as were drawn; packed rows hold varying numbers of them.
    drawn = len(examples) if not same else steps * EXAMPLES_PER_STEP
    done = drawn * (len(records) - 1) / len(records)
    total = sum(len(example.ids) for example in examples) / len(examples)
    targets = sum(sum(example.supervised[1:]) for example in examples) / len(examples)
    return {
        "arm": arm,
        "shape": shape,
        "examples_per_second": round(done / seconds, 3),
        "tokens_per_second": round(done * total / seconds, 1),
        "supervised_tokens_per_second": round(done * targets / seconds, 1),
        "peak_memory_mb": round(peak / 2**20, 1),
        "matmul_gflops": round(rate / 1e9, 1),
        "matmul_share": round(done / seconds * useful_work(model, examples) / rate, 3),
        "final_loss": records[-1][1],
        "losses": [loss for _, loss in records],
    }


def in_own_process(arm: str, options: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Run one arm in a new process and return what it measured."""
    command = [sys.executable, __file__, "--arm", arm, "--shape", options.shape]
    command += ["--steps", str(options.steps), "--threads", str(options.threads), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{arm} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--shape", choices=[*shapes.RANDOM, *shapes.REAL], default="14m")
    parser.add_argument("--steps", type=int, help="default: 12; 3 of a real model")
    parser.add_argument("--rounds", type=int, help="default: 3; 2 of a real model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arm", choices=[OURS, *TRL_SETTINGS], help="one run, in this process")
    parser.add_argument("--same", action="store_true", help="with --arm: one step's examples only")
    options = parser.parse_args()
    real = options.shape in shapes.REAL
    options.steps = options.steps or (3 if real else 12)
    options.rounds = options.rounds or (2 if real else 3)
    shapes.check(options.shape)
    if options.arm:
        result = measure(options.arm, options.shape, options.steps, options.threads, options.same)
        print(json.dumps(result), flush=True)
        return
    runs: dict[str, list[dict[str, Any]]] = {arm: [] for arm in (OURS, *TRL_SETTINGS)}
    for number in range(options.rounds):
        for arm in goes_on(runs) if number and real else runs:
            found = in_own_process(arm, options)
            runs[arm].append(found)
            shown = {key: value for key, value in found.items() if key != "losses"}
            print(json.dumps({"round": number, **shown}), flush=True)
    # Losses are compared where each step has the same examples, in whatever order they are drawn.
    ours, theirs = (in_own_process(arm, options, "--same") for arm in (OURS, "trl defaults"))
    pairs = zip(ours["losses"], theirs["losses"], strict=True)
    trajectory = max(abs(a - b) / b for a, b in pairs)
    print(json.dumps({**summary(runs), "largest_relative_loss_difference": trajectory}), flush=True)


def middle(runs: list[dict[str, Any]], key: str) -> float:
    """Return the median of a figure."""
    return statistics.median(run[key] for run in runs)


def best_of_trl(runs: dict[str, list[dict[str, Any]]]) -> str:
    """Return the fastest of TRL's settings."""
    measured = [arm for arm in TRL_SETTINGS if len(runs[arm]) == len(runs[OURS])]
    return max(measured, key=lambda arm: middle(runs[arm], "examples_per_second"))


def goes_on(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Return the arms that the ratios need, once every setting has been tried."""
    return list(dict.fromkeys([OURS, "trl defaults", best_of_trl(runs)]))


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Return ratios against TRL's defaults and the best of its settings, a round each."""

    def ratios(arm: str) -> list[float]:
        speed: Callable[[dict[str, Any]], float] = lambda run: run["examples_per_second"]  # noqa: E731
        pairs = zip(runs[OURS], runs[arm], strict=True)
        return [round(speed(ours) / speed(theirs), 2) for ours, theirs in pairs]

    best = best_of_trl(runs)
    memory_share = middle(runs[OURS], "peak_memory_mb")
    memory_share /= middle(runs["trl defaults"], "peak_memory_mb")
    return {
        "against_defaults": ratios("trl defaults"),
        "best_of_trl": best,
        "against_best": ratios(best),
        "memory_share_of_defaults": round(memory_share, 3),
        "matmul_share": middle(runs[OURS], "matmul_share"),
    }


if __name__ == "__main__":
    main()
