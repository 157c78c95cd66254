"""Peak memory as planned from a configuration against that of real training steps on the CPU.

    python benchmarks/plan_vs_measured.py
    python benchmarks/plan_vs_measured.py --only lora qlora

Each case trains a few steps in a process of its own, through the code that `mathtune train` uses:
saved weights loaded, quantised, adapter added, validation, checkpoint, best weights loaded again.
Measured is the highest resident memory (VmHWM) above that of the process after a training of a
tiny model, which imports the libraries and sets them up.
Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from mathtune import config
from mathtune.config.schema import Recipe
from mathtune.models import loading as models
from mathtune.models.adapters import add_adapter
from mathtune.models.compute import Compute
from mathtune.planning.peak_memory import plan_memory
from mathtune.planning.workload import lay_out
from mathtune.records import Example
from mathtune.training.batching.limits import limits_on
from mathtune.training.memory import glibc_malloc as allocator
from mathtune.training.run import train

LLAMA_36M = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 256,
    "intermediate_size": 688,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": True,
}
LLAMA_80M = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 640,
    "intermediate_size": 1728,
    "num_hidden_layers": 12,
    "num_attention_heads": 10,
    "num_key_value_heads": 5,
    "tie_word_embeddings": True,
}
GEMMA = {
    "model_type": "gemma",
    "vocab_size": 64_000,
    "hidden_size": 768,
    "intermediate_size": 6144,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 192,
    "tie_word_embeddings": True,
}
QUICK = {**LLAMA_36M, "hidden_size": 128, "intermediate_size": 344, "vocab_size": 64_000}
QUICK_GEMMA = {**GEMMA, "num_hidden_layers": 2, "vocab_size": 32_000}
FEW = ["train.per_device_train_batch_size=4", "train.num_train_epochs=2"]
WIDE = ["train.micro_batch_tokens=4096", "train.logits_chunk_bytes=1073741824"]
LORA = ["adapter.r=8", "adapter.lora_alpha=16"]
CHECKPOINTING = ["train.gradient_checkpointing=true"]
CASES: Mapping[str, tuple[Mapping[str, Any], Sequence[str], str]] = {
    "quick-full": (QUICK, FEW, "float32"),
    "quick-qlora": (
        QUICK_GEMMA,
        [*FEW, *LORA, "model.load_in_4bit=true", "train.optim=paged_adamw_8bit"],
        "float32",
    ),
    "36m-128k": (LLAMA_36M, [], "float32"),
    "80m": (LLAMA_80M, [], "float32"),
    "80m-wide": (LLAMA_80M, WIDE, "float32"),
    "80m-wide-checkpointing": (LLAMA_80M, WIDE + CHECKPOINTING, "float32"),
    "80m-wide-autocast": (LLAMA_80M, WIDE, "autocast"),
    "80m-wide-8bit": (LLAMA_80M, [*WIDE, "train.optim=adamw_8bit"], "float32"),
    "lora": (LLAMA_80M, WIDE + LORA, "float32"),
    "lora-checkpointing": (LLAMA_80M, WIDE + LORA + CHECKPOINTING, "float32"),
    "qlora-gemma-wide": (GEMMA, [*WIDE, *LORA, "model.load_in_4bit=true"], "float32"),
    "qlora-gemma-wide-checkpointing": (
        GEMMA,
        [*WIDE, *LORA, *CHECKPOINTING, "model.load_in_4bit=true"],
        "float32",
    ),
}
STEPS = 2
"""Optimiser steps; gradients, states and freed memory of the first are there in the second."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", default=[], help="Cases whose names begin so.")
    parser.add_argument(
        "--plenty", action="store_true", help="Freed memory is held for speed, beyond the plan."
    )
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    if options.measure:
        print(json.dumps(measure(options.measure[0], Path(options.measure[1]), options.plenty)))
        return
    for case in CASES:
        if not options.only or case.startswith(tuple(options.only)):
            print(json.dumps(compare(case, options.plenty)), flush=True)


def compare(case: str, plenty: bool = False) -> dict[str, Any]:
    shape = CASES[case][0]
    recipe, compute = recipe_of(case, "unused"), compute_of(case)
    start = time.perf_counter()
    hf_config = AutoConfig.for_model(**shape)
    limits = limits_on(recipe, hf_config, "cpu")
    work = lay_out(examples(case), recipe.train, limits, seed=0)
    plan = plan_memory(
        recipe, hf_config, compute, work.largest, limits=limits, accumulates=work.accumulates
    )
    planning = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        AutoModelForCausalLM.from_config(hf_config).save_pretrained(folder)
        gc.collect()
        command = [sys.executable, __file__, "--measure", case, folder]
        command += ["--plenty"] if plenty else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    return {
        "benchmark": "plan_vs_measured",
        "case": case,
        "parameters": plan.parameters.total,
        "planned_mb": round(plan.peak / 2**20),
        "measured_mb": round(measured["peak"] / 2**20),
        "error": round(plan.peak / measured["peak"] - 1, 3),
        "moment": plan.moment,
        **{f"{use.value}_mb": round(size / 2**20) for use, size in plan.by_use.items()},
        "planning_seconds": round(planning, 1),
        "training_seconds": measured["seconds"],
        "cpu_seconds": measured["cpu_seconds"],
        "gflops": round(plan.flops_per_token * work.tokens / 1e9),
    }


def measure(case: str, folder: Path, plenty: bool) -> dict[str, float]:
    """Train and return the peak above what the process took before."""
    recipe, compute, rows = recipe_of(case, str(folder)), compute_of(case), examples(case)
    if not plenty:  # as on a machine where the plan is about to be put to the test
        allocator.free_memory = lambda: 0
    # A training of two layers on three examples first: it imports and sets up what any takes.
    shape = CASES[case][0]
    sizes = {"hidden_size": 16 * shape["num_attention_heads"], "vocab_size": 1024}
    small = {**shape, **sizes, "num_hidden_layers": 2}
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**small)).save_pretrained(
        folder / "small"
    )
    warm = recipe.model_copy(
        update={"model": recipe.model.model_copy(update={"name_or_path": str(folder / "small")})}
    )
    run(warm, load(warm, compute), compute, rows[:3], folder / "warm")
    gc.collect()
    before, started = memory("VmRSS"), time.process_time()
    model = load(recipe, compute)
    for parameter in model.parameters():  # else pages of the file are counted that can be dropped
        parameter.data = parameter.data.clone()
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM begins anew
    seconds = run(recipe, model, compute, rows, folder / "run")
    return {
        "peak": memory("VmHWM") - before,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def run(
    recipe: Recipe, model: Any, compute: Compute, rows: Sequence[Example], run_dir: Path
) -> float:
    result = train(
        recipe,
        model=model,
        tokenizer=NoTokenizer(),
        compute=compute,
        train_examples=rows,
        validation_examples=rows[:1],
        run_dir=run_dir,
    )
    return result.seconds


def load(recipe: Recipe, compute: Compute) -> Any:
    model = models._from_pretrained(recipe.model.name_or_path or "", recipe.model, compute)
    return add_adapter(model, recipe.adapter, 0) if recipe.adapter else model


class NoTokenizer:
    """Stands where a tokenizer is saved; the examples are ids already."""

    bos_token_id = eos_token_id = pad_token_id = None

    def save_pretrained(self, *_: Any, **__: Any) -> tuple[()]:
        return ()


def recipe_of(case: str, folder: str) -> Recipe:
    settings = {
        "model": folder,
        "train.per_device_train_batch_size": "16",
        "train.num_train_epochs": "1",
        **dict(setting.split("=") for setting in CASES[case][1]),
    }
    return config.load("smollm2-135m-gsm8k", [f"{key}={value}" for key, value in settings.items()])


def compute_of(case: str) -> Compute:
    return Compute("cpu", "CPU", torch.float32, CASES[case][2] == "autocast", "a benchmark")


def examples(case: str) -> list[Example]:
    """Lengths like those of GSM8K; so few in the quick cases that a step has all of them."""
    drawn = random.Random(0)
    rows = []
    for number in range(3 if case.startswith("quick") else 16 * STEPS):
        prompt, solution = drawn.randint(40, 120), drawn.randint(60, 280)
        ids = tuple(drawn.randrange(1000) for _ in range(prompt + solution))
        flags = (False,) * prompt + (True,) * solution
        rows.append(Example(str(number), ids, flags, prompt))
    return rows


def memory(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


if __name__ == "__main__":
    main()
