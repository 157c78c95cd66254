"""Training on a GPU: dtypes, 4-bit weights, Liger, memory that runs out, resuming."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from log_for_tests import logged
from mathtune import config
from mathtune.config.schema import AdapterConfig
from mathtune.errors import TrainingStopped
from mathtune.models.adapters import add_adapter
from mathtune.models.compute import Compute, pick_compute
from mathtune.models.loading import count_parameters, load_model
from mathtune.prompts import Renderer
from mathtune.records import Example, Problem, content_id
from mathtune.training.run import TrainingResult, train
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
TEXTS = [("What is it? " * (1 + n % 5), f"It is {n}. " * (1 + n % 3)) for n in range(16)]
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(Problem(content_id(q, a), q, a, "1")) for q, a in TEXTS
]
SETTINGS = {
    "train.max_steps": "4", "train.logging_steps": "1", "train.learning_rate": "1e-3",
    "train.warmup_steps": "0", "train.eval_strategy": "steps", "train.eval_steps": "2",
}  # fmt: skip
FLOAT32 = Compute("cuda", "a GPU", torch.float32, False, "a test")


def trained(
    folder: Path,
    model: torch.nn.Module,
    compute: Compute,
    *changes: str,
    examples: list[Example] = EXAMPLES,
) -> tuple[list[float], TrainingResult]:
    folder.mkdir(exist_ok=True)
    settings = SETTINGS | dict(change.split("=") for change in changes)
    recipe = config.load("smollm2-135m-gsm8k", [f"{key}={v}" for key, v in settings.items()])
    result = train(
        recipe,
        model=model,
        tokenizer=TOKENIZER,
        compute=compute,
        train_examples=examples,
        validation_examples=examples[:4],
        run_dir=folder,
    )
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line], result


def in_float32(folder: Path) -> list[float]:
    model = tiny_model("llama", len(TOKENIZER)).cuda()
    return trained(folder, model, FLOAT32)[0]


def test_all_weights_in_bf16_autocast_learn_as_in_float32(tmp_path: Path) -> None:
    compute = pick_compute(trains_all_weights=True)
    assert (compute.device, compute.dtype, compute.autocast_bf16) == ("cuda", torch.float32, True)
    losses, _ = trained(tmp_path / "bf16", tiny_model("llama", len(TOKENIZER)).cuda(), compute)
    assert losses == pytest.approx(in_float32(tmp_path / "float32"), rel=3e-2)
    assert losses[-1] < losses[0]


def test_adapter_on_bf16_weights_learns_and_resumes(tmp_path: Path) -> None:
    def start() -> torch.nn.Module:
        model = tiny_model("gemma", len(TOKENIZER)).bfloat16().cuda()
        return add_adapter(model, AdapterConfig(r=4), seed=0)

    compute = pick_compute()
    assert (compute.dtype, compute.autocast_bf16) == (torch.bfloat16, False)
    constant = "train.lr_scheduler_type=constant"
    whole, _ = trained(tmp_path / "whole", start(), compute, constant)
    assert whole[-1] < whole[0]
    trained(tmp_path / "parts", start(), compute, constant, "train.max_steps=2")
    parts, _ = trained(tmp_path / "parts", start(), compute, constant)
    assert parts == pytest.approx(whole, rel=1e-3)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="no bitsandbytes")
@pytest.mark.parametrize("optim", ["paged_adamw_8bit", "adamw_8bit"])
def test_nf4_weights_with_an_8_bit_optimiser(tmp_path: Path, optim: str) -> None:
    name, _ = saved_model(tmp_path / "model", "llama", hidden_size=128, intermediate_size=256)
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [f"model.name_or_path={name}", "model.load_in_4bit=true", "adapter.r=8"],
    )
    compute = pick_compute()
    model = load_model(recipe.model, compute)
    assert {p.device.type for p in model.parameters()} == {"cuda"}
    counts = count_parameters(model)
    assert counts.total_packed < counts.total
    model = add_adapter(model, AdapterConfig(r=8), seed=0)
    changes = (f"train.optim={optim}", "adapter.r=8")
    losses, result = trained(tmp_path / "run", model, compute, *changes)
    assert losses[-1] < losses[0] and result.steps == 4


@pytest.mark.skipif(importlib.util.find_spec("liger_kernel") is None, reason="no liger-kernel")
def test_ligers_kernels_compute_the_same(tmp_path: Path) -> None:
    compute = pick_compute(trains_all_weights=True)
    with_them, _ = trained(
        tmp_path / "liger",
        tiny_model("llama", len(TOKENIZER)).cuda(),
        compute,
        "train.use_liger_kernel=true",
    )
    without, _ = trained(tmp_path / "plain", tiny_model("llama", len(TOKENIZER)).cuda(), compute)
    assert with_them == pytest.approx(without, rel=3e-2)


def wide() -> torch.nn.Module:
    """A model whose logits are nearly all that it takes: 50,000 of each token."""
    return tiny_model("llama", 50_000, num_hidden_layers=1).cuda()


def long_examples() -> list[Example]:
    draw = torch.Generator().manual_seed(1)
    return [
        Example(
            str(n), tuple(torch.randint(500, (120,), generator=draw).tolist()),
            (False, *(True,) * 119), 1,
        )
        for n in range(64)
    ]  # fmt: skip


WIDE = (
    "train.per_device_train_batch_size=64", "train.logits_chunk_bytes=4000000000",
    "train.micro_batch_tokens=100000", "train.max_steps=2", "train.optim=adamw_torch",
)  # fmt: skip


def test_step_that_does_not_fit_is_split_and_gives_the_same(tmp_path: Path) -> None:
    """The logits of 64 examples take 1.5 GB, and their gradient is written over them."""
    examples = long_examples()
    whole, result = trained(tmp_path / "whole", wide(), FLOAT32, *WIDE, examples=examples)
    assert result.oom_retries == 0
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    within = torch.cuda.memory_reserved() + 700 * 2**20
    torch.cuda.set_per_process_memory_fraction(within / total)
    try:
        with logged() as said:
            cut, result = trained(tmp_path / "cut", wide(), FLOAT32, *WIDE, examples=examples)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert result.oom_retries > 0
    assert "trying again with at most" in said.getvalue()
    assert cut == pytest.approx(whole, rel=1e-4)


def test_memory_that_holds_no_example_ends_with_a_sentence(tmp_path: Path) -> None:
    model = wide()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**21) / total)
    try:
        with pytest.raises(TrainingStopped, match="out of memory"):
            trained(tmp_path / "none", model, FLOAT32, *WIDE, examples=long_examples())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
