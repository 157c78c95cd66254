"""A merged model is its adapter on its base, from disk; anything else is never published."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from peft import PeftModel
from transformers import AutoModelForCausalLM

from command_for_tests import faults_of, jsonl, mathtune, solved
from log_for_tests import logged
from mathtune import config, pipeline
from mathtune.cli.commands.merge import command
from mathtune.config.schema import ModelConfig
from mathtune.errors import DiskError, ModelError
from mathtune.generation.engine import Decoding
from mathtune.models import merge as merging
from mathtune.models.adapters import add_adapter
from mathtune.models.base_fingerprint import note_base
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model
from mathtune.prompts import Renderer
from mathtune.run_paths import RunPaths
from mathtune.training.run import save_model
from models_for_tests import saved_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
PROMPTS = [Renderer(TOKENIZER, "qa").prompt(f"What is {n} + {n}?", str(n)) for n in range(3)]
IDS = torch.arange(40).reshape(2, 20)
QLORA = ["model.load_in_4bit=true"]


def compute(dtype: torch.dtype = torch.float32) -> Compute:
    return Compute("cpu", "CPU", dtype, False, "a test")


def saved_adapter(
    folder: Path, name: str, *overrides: str, dtype: torch.dtype = torch.float32
) -> torch.nn.Module:
    """Save an adapter with weights that matter as a run does; return it on its base."""
    base, _ = saved_model(folder / "base", name, hidden_size=64, head_dim=16)
    recipe = config.load("qwen2.5-0.5b-gsm8k-lora", [f"model={base}", "adapter.r=8", *overrides])
    assert recipe.adapter is not None
    model = load_model(recipe.model, compute(dtype))
    model = add_adapter(model, recipe.adapter, 0, RunPaths(folder).initial_adapter)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    noting = partial(note_base, config=recipe.model, dtype=str(dtype).removeprefix("torch."))

    def write(aside: Path) -> None:
        model.save_pretrained(aside)
        TOKENIZER.save_pretrained(aside)
        noting(aside)

    save_model(write, recipe, folder / "model", needed=0)
    return model.eval()


def merge(folder: Path, dtype: str = "auto") -> merging.Merged:
    adapter = ModelConfig(name_or_path=str(folder / "model"))
    decoding = Decoding(max_new_tokens=12)
    return merging.merge_adapter(adapter, folder / "merged", PROMPTS, decoding, dtype)


def spread(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).float().pow(2).mean().sqrt() / other.float().std())


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("llama", ["adapter.use_rslora=true"]),
        ("qwen2", ["adapter.use_dora=true", "adapter.init_lora_weights=pissa"]),
        ("gemma", QLORA),
        ("llama-tied", [*QLORA, "adapter.use_dora=true", "model.bnb_4bit_quant_type=fp4"]),
    ],
)
def test_merged_model_is_the_adapter_on_its_base(tmp_path, name, overrides):
    adapted = saved_adapter(tmp_path, name, *overrides)
    merged = merge(tmp_path)
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")  # nothing of mathtune
    with torch.no_grad():
        assert spread(plain(IDS).logits, adapted(IDS).logits) < 1e-5
        assert spread(plain(IDS).logits, adapted.unload()(IDS).logits) > 0.05
    assert merged.check.same_answers == merged.check.problems == 3
    assert merged.parameters == sum(parameter.numel() for parameter in plain.parameters())
    assert (merged.dtype, plain.dtype) == ("float32", torch.float32)
    note = json.loads((tmp_path / "merged" / "merged_from.json").read_text())
    assert note["adapter"] == str(tmp_path / "model")
    assert note["base_model_name_or_path"] == str(tmp_path / "base")
    assert note["base"] == json.loads((tmp_path / "model" / "base.json").read_text())
    assert (note["quantization"] is None) == (QLORA[0] not in overrides)
    assert not getattr(plain.config, "quantization_config", None)


def test_bf16_training_is_merged_in_bf16_and_float32_can_be_narrowed(tmp_path):
    saved_adapter(tmp_path, "llama", *QLORA, dtype=torch.bfloat16)
    assert merge(tmp_path).dtype == "bfloat16"
    full = saved_adapter(tmp_path / "full", "llama")
    assert merge(tmp_path / "full", "bfloat16").check.relative_difference < 0.02
    narrowed = AutoModelForCausalLM.from_pretrained(tmp_path / "full" / "merged")
    assert narrowed.dtype == torch.bfloat16
    with torch.no_grad():
        assert spread(narrowed(IDS).logits, full(IDS).logits) < 0.02


def test_merge_into_the_weights_before_rounding_is_not_published(tmp_path, monkeypatch):
    """The mistake of peft#2321, planted: the original float weights in place of the 4-bit ones."""
    saved_adapter(tmp_path, "gemma", *QLORA)

    def into_the_original(adapted: object, adapter: Path) -> torch.nn.Module:
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        return PeftModel.from_pretrained(base, adapter).merge_and_unload()

    monkeypatch.setattr(merging, "_merged", into_the_original)
    with pytest.raises(
        ModelError, match=r"differs from the adapter: logits differ by 0\.\d+ of their"
    ):
        merge(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base", "model"]


def test_what_is_in_the_way_stays(tmp_path):
    saved_adapter(tmp_path, "llama")
    (tmp_path / "merged").mkdir()
    (tmp_path / "merged" / "thesis.tex").write_text("mine")
    with pytest.raises(
        DiskError, match="exists and is not a merged model; choose another --output"
    ):
        merge(tmp_path)
    (tmp_path / "merged" / "thesis.tex").unlink()
    merge(tmp_path)
    first = (tmp_path / "merged" / "model.safetensors").read_bytes()
    merge(tmp_path)  # in place of its own earlier work
    assert (tmp_path / "merged" / "model.safetensors").read_bytes() == first


def test_adapter_from_elsewhere_says_nothing_of_its_base(tmp_path):
    adapted = saved_adapter(tmp_path, "llama", *QLORA)
    for file in ("base.json", "quantization.json"):
        (tmp_path / "model" / file).unlink()
    with logged() as said:
        done = CliRunner().invoke(
            command,
            [str(tmp_path / "model"), "--load-in-4bit", "--limit", "2", "--json",
             "model.dtype=float32", "--output", str(tmp_path / "out")],
            catch_exceptions=False,
        )  # fmt: skip
    assert "does not record how its base was held; assuming 4 bits" in said.getvalue()
    assert json.loads(done.stdout)["check"]["problems"] == 2  # generated ones
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert spread(plain(IDS).logits, adapted(IDS).logits) < 1e-5


def test_a_run_is_merged_and_measured_as_its_adapter_was(tmp_path, monkeypatch):
    """The folder loads by `mathtune eval`, and gives each answer that the tuned model gave."""
    monkeypatch.chdir(tmp_path)
    saved_model(Path("base"), "gemma", hidden_size=64, head_dim=16)
    jsonl(Path("train.jsonl"), (solved(n) for n in range(1, 41)))
    jsonl(Path("test.jsonl"), (solved(n, "cups") for n in range(1, 7)))
    settings = [
        "model=base", "model.load_in_4bit=true", "data.train=train.jsonl", "data.test=test.jsonl",
        "data.contamination=report", "train.max_steps=4", "train.max_length=200",
        "train.optim=paged_adamw_8bit", "train.learning_rate=1e-2", "eval.max_new_tokens=12",
        "eval.perplexity=false",
    ]  # fmt: skip
    pipeline.run(config.load("gemma-2b-gsm8k-qlora", settings), Path("run"))
    done = CliRunner().invoke(command, ["run"], catch_exceptions=False)
    assert "as the adapter: 6 of 6 greedy answers to the token; logits differ by" in done.output
    merged = ["model=run/merged", "model.load_in_4bit=false", *settings[2:]]
    pipeline.evaluate(config.load("gemma-2b-gsm8k-qlora", merged), "tuned", Path("again"))
    one, two = (
        [
            json.loads(line)["completion"]
            for line in (Path(run) / "predictions" / "tuned.jsonl").read_text().splitlines()
        ]
        for run in ("run", "again")
    )
    assert one == two and len(one) == 6


def test_bad_input(tmp_path):
    saved_adapter(tmp_path, "llama")
    (tmp_path / "base").rename(tmp_path / "gone")
    (fault,) = faults_of(mathtune("merge", "model", cwd=tmp_path))
    assert fault.startswith(
        f"the base of adapter 'model' cannot be used: model folder '{tmp_path}/base' does not exist"
    )
    for source, words in {
        "gone": "gone is already a full model; use it as it is",
        "modell": "modell does not exist; did you mean 'model'?",
    }.items():
        assert faults_of(mathtune("merge", source, cwd=tmp_path)) == [words]
    (fault,) = faults_of(mathtune("train", "demo", "model=./model", cwd=tmp_path))
    assert fault.startswith("the base of adapter './model' ")
    (tmp_path / "gone").rename(tmp_path / "base")
    (fault,) = faults_of(mathtune("train", "demo", "model=./model", cwd=tmp_path))
    assert fault.startswith("model=./model is an adapter, and training starts from a full model")
