"""Steps and figures do not depend on how steps are cut; faults stop training cleanly."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters
from torch.utils._python_dispatch import TorchDispatchMode

from command_for_tests import jsonl, mathtune, solved
from mathtune import config
from mathtune.attention.onednn_linear import onednn_available
from mathtune.config.schema import ModelConfig
from mathtune.errors import ConfigError, DataError, ModelError, TrainingStopped
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.training.batching.max_length import fitting
from mathtune.training.batching.micro_batches import collate, supervised_count
from mathtune.training.batching.padding_free import attention_within_examples
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.kernels import check_kernels
from mathtune.training.loss.supervised import summed_loss
from mathtune.training.run import train
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")
TEXTS = [
    ("What is it? " * (1 + n % 5), f"It is {n}. " * (1 + n % 3) + f"#### {n}") for n in range(22)
]  # 22 is no multiple of 8: the last optimiser step of an epoch has 6
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(Problem(content_id(q, a), q, a, "1")) for q, a in TEXTS
]
TRAIN, VALIDATION = EXAMPLES[:22], EXAMPLES[3:9]


def metrics_of(
    run_dir: Path, overrides: list[str], model: torch.nn.Module | None = None
) -> list[dict]:
    settings = {
        "num_train_epochs": "2",
        "learning_rate": "1e-2",
        "logging_steps": "1",
        "warmup_steps": "0",
        "lr_scheduler_type": "constant",
        **dict(text.removeprefix("train.").split("=") for text in overrides),
    }
    recipe = config.load(
        "smollm2-135m-gsm8k", [f"train.{key}={value}" for key, value in settings.items()]
    )
    run_dir.mkdir(parents=True)
    train(
        recipe,
        model=model or tiny_model("llama", len(TOKENIZER)),
        tokenizer=TOKENIZER,
        compute=FLOAT32,
        train_examples=TRAIN,
        validation_examples=VALIDATION,
        run_dir=run_dir,
    )
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in VOLATILE_KEYS} for line in lines
    ]


@pytest.mark.parametrize(
    "cut",
    [(1, 8, 1024), (2, 4, 1024), (4, 2, 1024), (8, 1, 60), (8, 1, 1024, "false")],
    ids=["1x8", "2x4", "4x2", "8x1 by tokens", "padded"],
)
def test_trajectory_is_the_same_however_steps_are_cut(tmp_path, cut):
    """Loss, gradient norm and validation loss of every step, the partial last ones included."""
    whole = metrics_of(tmp_path / "whole", shape(8, 1, 10**6))
    other = metrics_of(tmp_path / "other", shape(*cut))
    assert [line["step"] for line in whole] == [line["step"] for line in other]
    assert max(line["step"] for line in whole) == 6  # ceil(22 / 8) steps an epoch
    for one, two in zip(whole, other, strict=True):
        for key in one:
            assert math.isclose(one[key], two[key], rel_tol=1e-5), (one["step"], key)


@pytest.mark.skipif(
    not onednn_available(torch.zeros(1)), reason="this PyTorch has no oneDNN for x86 here"
)
def test_training_and_validation_use_onednn_and_leave_the_model_as_it_was(tmp_path):
    class Products(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func is torch.ops.mkldnn._linear_pointwise.default
            return func(*args, **(kwargs or {}))

    model = tiny_model("llama", len(TOKENIZER))
    with Products() as products:
        metrics_of(tmp_path / "run", ["train.max_steps=1"], model)
    layers = [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert products.count == (3 + 1 + 1) * len(layers)  # one step, a validation before and after
    assert not any("forward" in vars(layer) for layer in layers)


def shape(rows: int, accumulation: int, tokens: int, padding_free: str = "true") -> list[str]:
    return [
        f"train.padding_free={padding_free}",
        f"train.per_device_train_batch_size={rows}",
        f"train.gradient_accumulation_steps={accumulation}",
        f"train.micro_batch_tokens={tokens}",
    ]


@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs g++ here")
def test_compiled_layers_give_the_same_trajectory(tmp_path):
    eager = metrics_of(tmp_path / "eager", ["train.max_steps=3"])
    model = tiny_model("llama", len(TOKENIZER))
    compiled = metrics_of(
        tmp_path / "compiled", ["train.max_steps=3", "train.torch_compile=true"], model
    )
    assert all(layer._compiled_call_impl is not None for layer in model.model.layers)
    compiled_graphs = counters["stats"]["unique_graphs"]
    for count in range(1, 12):  # none of them is a shape to compile for
        with attention_within_examples(model):
            summed_loss(model.train(), collate(TRAIN[:count], padding_free=True)).backward()
    assert counters["stats"]["unique_graphs"] == compiled_graphs > 0
    for one, two in zip(eager, compiled, strict=True):
        for key in one:
            assert math.isclose(one[key], two[key], rel_tol=1e-5), (one["step"], key)


def test_a_compiler_that_fails_is_told_in_a_sentence(tmp_path):
    """A process of its own, for a compiler once found is remembered."""
    jsonl(tmp_path / "train.jsonl", (solved(n) for n in range(9)))
    jsonl(tmp_path / "test.jsonl", (solved(n, "cups") for n in range(3)))
    saved_model(tmp_path / "model", "llama")
    (tmp_path / "recipe.yaml").write_text(
        "{name: broken, model: model, data: {train: train.jsonl, test: test.jsonl}, "
        "train: {torch_compile: true, max_steps: 2, max_length: 256}, eval: {max_new_tokens: 4}}"
    )
    done = mathtune(
        "train", "recipe.yaml",
        cwd=tmp_path, CXX="/bin/false", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"),
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("mathtune: train.torch_compile=true: PyTorch ")
    assert done.stderr.endswith("or set train.torch_compile=false to go on\n")
    assert "Traceback" not in done.stderr


def test_liger_kernels_are_refused_without_a_gpu(tmp_path):
    with pytest.raises(ConfigError, match=r"train\.use_liger_kernel=true on CPU"):
        metrics_of(tmp_path / "run", ["train.use_liger_kernel=true"])


def test_an_attention_kernel_that_cannot_train_here_is_refused(tmp_path):
    folder, _ = saved_model(tmp_path / "model", "llama")
    with pytest.raises(ModelError, match=r"FlashAttention2.*set model\.attn_implementation=sdpa"):
        load_model(
            ModelConfig(name_or_path=str(folder), attn_implementation="flash_attention_2"), FLOAT32
        )
    recipe = config.load("smollm2-135m-gsm8k", ["model.attn_implementation=flex_attention"])
    with pytest.raises(ConfigError, match=r"flex_attention on CPU has no backward pass"):
        check_kernels(recipe, FLOAT32)


def test_validation_loss_is_the_token_weighted_mean(tmp_path):
    """Sum of all tokens' losses over their number, each example alone: no mean of batch means."""
    model = tiny_model("llama", len(TOKENIZER))
    lines = metrics_of(
        tmp_path / "run", [*shape(3, 1, 10**6), "train.learning_rate=1e-30"], model
    )  # a rate that moves nothing, so the weights are known
    fresh = tiny_model("llama", len(TOKENIZER)).eval()
    with torch.no_grad():
        total = sum(float(summed_loss(fresh, collate([example]))) for example in VALIDATION)
    expected = total / supervised_count(VALIDATION)
    logged = next(line for line in lines if "eval_loss" in line)
    assert math.isclose(logged["eval_loss"], expected, rel_tol=1e-5)
    assert math.isclose(logged["eval_perplexity"], math.exp(expected), rel_tol=1e-5)


def test_loss_that_is_not_finite_stops_the_run_and_names_the_problems(tmp_path):
    model = tiny_model("llama", len(TOKENIZER))
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] = float("inf")
    named = r"loss is not finite at step 1 on problems [0-9a-f]{16}"
    with pytest.raises(TrainingStopped, match=named):
        metrics_of(tmp_path / "run", shape(4, 1, 10**6), model)


def test_best_checkpoint_is_kept_and_saved(tmp_path):
    """The validation loss of model/ is the lowest that was logged, not the last."""
    model = tiny_model("llama", len(TOKENIZER))
    overrides = [*shape(2, 1, 10**6), "train.num_train_epochs=6", "train.learning_rate=0.05"]
    lines = metrics_of(tmp_path / "run", overrides, model)
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line and line["step"] > 0]
    with torch.no_grad():
        total = sum(float(summed_loss(model.eval(), collate([e]))) for e in VALIDATION)
    assert math.isclose(total / supervised_count(VALIDATION), min(losses), rel_tol=1e-5)
    kept = list((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    assert 1 <= len(kept) <= 2


def test_early_stopping(tmp_path):
    overrides = [
        *shape(2, 1, 10**6), "train.num_train_epochs=30", "train.learning_rate=1e-30",
        "train.early_stopping_patience=2",
    ]  # fmt: skip
    lines = metrics_of(tmp_path / "run", overrides)
    validations = [line for line in lines if "eval_loss" in line]
    assert len(validations) == 4  # before training, the first, and two without gain


def test_overlong_examples_are_dropped_and_counted_never_cut():
    longest = max(len(example.ids) for example in EXAMPLES)
    kept, dropped = fitting(EXAMPLES, longest - 1, "drop", "training")
    assert dropped == sum(len(example.ids) == longest for example in EXAMPLES)
    assert all(example.ids[-1] == TOKENIZER.eos_token_id for example in kept)
    with pytest.raises(DataError, match=f"the longest has {longest}"):
        fitting(EXAMPLES, longest - 1, "error", "training")
    with pytest.raises(DataError, match=r"22 of 22 training examples are longer"):
        fitting(EXAMPLES, 3, "drop", "training")
