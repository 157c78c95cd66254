"""Training on the shapes of the two published projects, with random weights.

    GPU_WORK=FOLDER python benchmarks/gpu/train.py ARM --seconds 120

Each arm trains in a process of its own, until it has made its steps or the time is up; then the
process is ended, and what it logged is reported. No checkpoint is written and nothing is validated
but one example before the first step. Examples have random tokens and lengths like GSM8K's.

``gemma``: the recipe gemma-2b-orca, 500 steps of 4 micro-batches of 1 example; ``gemma-4x1``: the
same steps as one micro-batch of 4 examples, which gives the same gradient; ``trl`` and
``trl-no-checkpointing``: the same with TRL's ``SFTTrainer``. ``llama``: the recipe
llama-2-7b-gsm8k, with bf16 weights where float32 ones and their moments do not fit.

The share of the matmul rate counts what the maths asks for, without recomputation: 2 operations a
weight and token forward and 2 for the gradient of activations, 2 more where the weight is trained,
the output layer at supervised positions only, causal attention.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from shared import DRY_RUN, SHAPES, WORK, bf16, built, device, emit, matmul_rate, peak_gb, reported

PUBLISHED_SECONDS = 520  # of the 500 steps: 8 min 40 s, on a GPU that is not named
WARM_UP = 3  # steps in which kernels are chosen and memory is taken
STEPS = {"llama": 20}
GEMMA_STEPS = 500
FLOAT32_7B = 130 * 2**30  # bytes of memory from which the 7B recipe fits as it is
GEMMA_WEIGHTS = WORK / "gemma-2b"
TOGETHER = ["train.per_device_train_batch_size=4", "train.gradient_accumulation_steps=1"]


def recipe_of(arm: str) -> Any:
    """Return the recipe of an arm."""
    import torch

    from mathtune import config

    changes = ["train.eval_strategy=steps", "train.eval_steps=1000000", "train.logging_steps=1"]
    changes += ["tracking.report_to=[]"]
    if arm != "llama":
        changes += [
            f"model.name_or_path={GEMMA_WEIGHTS}",
            *(TOGETHER if arm == "gemma-4x1" else ()),
        ]
        return config.load("gemma-2b-orca", changes)
    changes += ["train.max_steps=1000000"]  # ended from outside
    small = not DRY_RUN and torch.cuda.get_device_properties(0).total_memory < FLOAT32_7B
    changes += ["model.dtype=bfloat16", "train.optim=adamw_torch_fused"] if small else []
    return config.load("llama-2-7b-gsm8k", changes)


def examples_of(recipe: Any, vocabulary: int) -> list[Any]:
    """Return examples as long as GSM8K's, of random tokens."""
    from mathtune.planning.text_lengths import lengths_of

    draw = random.Random(0)
    found = lengths_of(recipe, [], ["gsm8k"], None).examples
    found = found[:40] if DRY_RUN else found
    return [
        replace(each, ids=tuple(draw.randrange(vocabulary) for _ in each.ids)) for each in found
    ]


def work_of(shape: dict[str, Any], examples: list[Any], trained: bool) -> float:
    """Return the operations of an example's forward and backward, on average."""
    hidden, layers = shape["hidden_size"], shape["num_hidden_layers"]
    heads = shape["num_attention_heads"]
    size = shape.get("head_dim", hidden // heads)
    attention = hidden * size * (2 * heads + 2 * shape["num_key_value_heads"])
    weights = layers * (attention + 3 * hidden * shape["intermediate_size"])
    each, total = 6 if trained else 4, 0
    for example in examples:
        tokens, targets = len(example.ids) - 1, sum(example.supervised[1:])
        total += each * (weights * tokens + shape["vocab_size"] * hidden * targets)
        total += 6 * layers * heads * size * tokens**2
    return total / len(examples)


def prepare() -> None:
    """Save the weights of the Gemma shape, from which both tools load and quantise."""
    start = time.perf_counter()
    model = built("gemma-2b", bf16())
    model.save_pretrained(GEMMA_WEIGHTS)
    tokenizer().save_pretrained(GEMMA_WEIGHTS)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    seconds = time.perf_counter() - start
    emit("prepare", gb=round(size / 2**30, 2), seconds=round(seconds, 1))


def tokenizer() -> Any:
    """Return a tokenizer to save beside the weights; the examples are not made with it."""
    from mathtune.models.train_tokenizer import train_tokenizer

    return train_tokenizer((f"{n} + {n} = {n + n}" for n in range(200)), 300)


def run_mathtune(arm: str, folder: Path) -> None:
    """Train as ``mathtune train`` does."""
    from mathtune.models.adapters import add_adapter
    from mathtune.models.compute import pick_compute
    from mathtune.models.loading import count_parameters, load_model, quiet_libraries
    from mathtune.training.run import train

    quiet_libraries()
    recipe = recipe_of(arm)
    compute = pick_compute(recipe.model.dtype, trains_all_weights=recipe.adapter is None)
    if arm == "llama":
        model = built("llama-2-7b", compute.dtype)
    else:
        model = add_adapter(load_model(recipe.model, compute), recipe.adapter, seed=0)
    examples = examples_of(
        recipe, SHAPES["llama-2-7b" if arm == "llama" else "gemma-2b"]["vocab_size"]
    )
    dtype = str(compute.dtype).removeprefix("torch.")
    facts = {"trainable": count_parameters(model).trainable, "weights": dtype}
    facts |= {"autocast_bf16": compute.autocast_bf16, "optim": recipe.train.optim}
    (folder / "facts.json").write_text(json.dumps(facts))
    train(
        recipe,
        model=model,
        tokenizer=tokenizer(),
        compute=compute,
        train_examples=examples,
        validation_examples=examples[:1],
        run_dir=folder,
    )


def run_trl(arm: str, folder: Path) -> None:
    """Train with ``SFTTrainer`` on the same weights and examples."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    recipe = recipe_of("gemma")
    examples = examples_of(recipe, SHAPES["gemma-2b"]["vocab_size"])
    model = AutoModelForCausalLM.from_pretrained(
        GEMMA_WEIGHTS,
        dtype=bf16(),
        device_map={"": device()},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=bf16(),
        ),
    )

    class Log(TrainerCallback):
        start = time.monotonic()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                line = {"step": state.global_step, "loss": float(logs["loss"])}
                line |= {"seconds": time.monotonic() - self.start, "gpu_memory_gb": peak_gb()}
                with (folder / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps(line) + "\n")

    labels = [
        [token if flag else -100 for token, flag in zip(e.ids, e.supervised, strict=True)]
        for e in examples
    ]
    on_gpu = device().type == "cuda"
    checkpointing = {"gradient_checkpointing": False} if arm == "trl-no-checkpointing" else {}
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder),
            per_device_train_batch_size=1,
            gradient_accumulation_steps=4,
            max_steps=GEMMA_STEPS,
            learning_rate=recipe.train.learning_rate,
            optim=recipe.train.optim,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            bf16=on_gpu,
            use_cpu=not on_gpu,
            disable_tqdm=True,
            **checkpointing,
        ),
        train_dataset=Dataset.from_dict(
            {"input_ids": [list(e.ids) for e in examples], "labels": labels}
        ),
        processing_class=tokenizer(),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=recipe.adapter.r,
            lora_alpha=recipe.adapter.lora_alpha,
            target_modules=recipe.adapter.target_modules,
        ),
        callbacks=[Log()],
    )
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    weights = str(bf16()).removeprefix("torch.")
    facts = {"trainable": trainable, "weights": weights, "optim": recipe.train.optim}
    facts["gradient_checkpointing"] = trainer.args.gradient_checkpointing
    (folder / "facts.json").write_text(json.dumps(facts))
    Log.start = time.monotonic()
    trainer.train()


def logged(folder: Path) -> list[dict[str, Any]]:
    """Return the steps that an arm has logged."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    found = [json.loads(line) for line in lines if line.endswith("\n")]
    return [each for each in found if "loss" in each]


def measure(arm: str, seconds: float) -> None:
    """Train an arm in a process of its own; report its steps after the first few."""
    steps = 8 if DRY_RUN else STEPS.get(arm, GEMMA_STEPS)
    folder = WORK / f"train-{arm}"
    folder.mkdir()
    with (folder / "log.txt").open("w") as log:
        worker = subprocess.Popen(
            [sys.executable, __file__, arm, "--worker", str(folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        # From the process's start: importing PyTorch takes seconds, too.
        end = psutil.Process().create_time() + seconds
        try:
            examples_of(recipe_of(arm), 2)  # imports what the report needs, in the meantime
            while worker.poll() is None and time.time() < end and len(logged(folder)) < steps:
                time.sleep(0.2)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
    records = logged(folder)[:steps]
    if len(records) <= WARM_UP + 1:
        last = [line for line in (folder / "log.txt").read_text().splitlines() if line.strip()]
        sys.stderr.write("\n".join(last[-25:]) + "\n")
        raise RuntimeError(
            f"{len(records)} steps in {seconds:.0f} s: {(last or ['no output'])[-1]}"
        )
    report(arm, folder, records, steps)


def report(arm: str, folder: Path, records: list[dict[str, Any]], steps: int) -> None:
    """Print an arm's figures."""
    recipe = recipe_of("llama" if arm == "llama" else "gemma")
    shape = SHAPES["llama-2-7b" if arm == "llama" else "gemma-2b"]
    examples = examples_of(recipe, shape["vocab_size"])
    took = records[-1]["seconds"] - records[WARM_UP]["seconds"]
    a_step = took / (len(records) - 1 - WARM_UP)
    batch = recipe.train.per_device_train_batch_size * recipe.train.gradient_accumulation_steps
    work = work_of(shape, examples, trained=recipe.adapter is None) * batch
    tokens = sum(len(each.ids) for each in examples) / len(examples) * batch
    figures = {
        "steps": len(records),
        "seconds_per_step": round(a_step, 4),
        "tokens_per_second": round(tokens / a_step, 1),
        "matmul_share": round(work / a_step / matmul_rate(), 4),
        "peak_memory_gb": max(each.get("gpu_memory_gb", 0.0) for each in records),
        "first_loss": round(records[0]["loss"], 4),
        "last_loss": round(records[-1]["loss"], 4),
    }
    if arm != "llama":
        whole = records[-1]["seconds"] + a_step * (GEMMA_STEPS - len(records))
        figures |= {"seconds_for_500_steps": round(whole, 1), "published": PUBLISHED_SECONDS}
        figures["extrapolated_from"] = None if len(records) >= GEMMA_STEPS else len(records)
    facts = json.loads((folder / "facts.json").read_text())
    emit(arm, **figures, examples_per_step=batch, **facts)


def main() -> None:
    """Measure and print, or train as the process of one arm."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    arms = ("prepare", "gemma", "gemma-4x1", "trl", "trl-no-checkpointing", "llama")
    parser.add_argument("arm", choices=arms)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        (run_trl if options.arm.startswith("trl") else run_mathtune)(options.arm, options.worker)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the arm's process, too
    with reported(options.arm):
        prepare() if options.arm == "prepare" else measure(options.arm, options.seconds)


if __name__ == "__main__":
    main()
