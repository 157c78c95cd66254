"""Both seed recipes run the whole way on real GSM8K, with tiny models of the same kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from log_for_tests import logged
from mathtune import config, pipeline
from models_for_tests import saved_model

SIZES = [
    "data.max_train_samples=24", "data.max_validation_samples=6", "data.max_test_samples=5",
    "eval.max_new_tokens=16",
]  # fmt: skip


@pytest.fixture
def real_data(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(data_dir))


def run(recipe: str, overrides: list[str], run_dir: Path) -> tuple[dict, str]:
    with logged() as said:
        figures = pipeline.run(config.load(recipe, [*overrides, *SIZES]), run_dir)
    return figures, said.getvalue()


def check_run_folder(run_dir: Path) -> dict:
    for name in ("recipe.yaml", "manifest.json", "metrics.jsonl", "report.html", "README.md"):
        assert (run_dir / name).stat().st_size > 0, name
    for label in ("base", "tuned"):
        rows = (run_dir / "predictions" / f"{label}.jsonl").read_text().splitlines()
        assert len(rows) == 5
    return json.loads((run_dir / "manifest.json").read_text())


def test_gemma_2b_orca_runs_in_nf4_with_paged_adamw_8bit(real_data, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    model, _ = saved_model(tmp_path / "gemma", "gemma", hidden_size=64, head_dim=16)
    seen: dict[str, object] = {}
    watch_training(monkeypatch, seen)
    overrides = [f"model={model}", "data.train=gsm8k", "train.max_steps=4", "train.eval_steps=2"]
    figures, _ = run("gemma-2b-orca", overrides, tmp_path / "run")
    manifest = check_run_folder(tmp_path / "run")
    assert figures["n"] == 5
    assert seen["weight"] == "Params4bit"
    assert seen["quant_type"] == "nf4"
    assert seen["nested"] is True  # double quantisation
    assert seen["optimizer"] == "AdamW"
    assert seen["optimizer_module"].startswith("bitsandbytes")
    assert seen["adapted"] == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    parameters = manifest["parameters"]
    assert parameters["total_packed"] < parameters["total"]
    assert (tmp_path / "run" / "model" / "quantization.json").is_file()
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*"))


def test_llama_2_7b_gsm8k_trains_every_weight(real_data, tmp_path, monkeypatch):
    model, _ = saved_model(tmp_path / "llama", "llama")
    overrides = [f"model={model}", "train.num_train_epochs=2", "tracking.report_to=[]"]
    figures, said = run("llama-2-7b-gsm8k", overrides, tmp_path / "run")
    manifest = check_run_folder(tmp_path / "run")
    assert figures["n"] == 5
    assert manifest["parameters"]["trainable"] == manifest["parameters"]["total"]
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    validations = [line for line in metrics if "eval_loss" in line]
    assert [round(line["epoch"]) for line in validations] == [0, 1, 2]  # before, after each epoch
    best = min(validations[1:], key=lambda line: line["eval_loss"])
    assert manifest["training"]["best_step"] == best["step"]
    assert "13 words with a test problem" in said  # what was left out is said


def test_finished_run_is_not_done_again(real_data, tmp_path):
    model, _ = saved_model(tmp_path / "llama", "llama")
    overrides = [f"model={model}", "train.max_steps=2", "tracking.report_to=[]"]
    first, _ = run("llama-2-7b-gsm8k", overrides, tmp_path / "run")
    before = (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns
    again, said = run("llama-2-7b-gsm8k", overrides, tmp_path / "run")
    assert again == first
    assert (tmp_path / "run" / "model" / "model.safetensors").stat().st_mtime_ns == before
    assert "training" not in said


def watch_training(monkeypatch: pytest.MonkeyPatch, seen: dict[str, object]) -> None:
    """Note what the trainer really holds when training begins; nothing is replaced."""
    from mathtune.training.loop import TrainingLoop

    original = TrainingLoop.run

    def note(self):
        model, optimizer = self.model, self.optimizer
        layers = [m for m in model.modules() if hasattr(m, "lora_A")]
        weight = layers[0].base_layer.weight
        seen["weight"] = type(weight).__name__
        seen["quant_type"] = weight.quant_state.quant_type
        seen["nested"] = weight.quant_state.nested
        inner = getattr(optimizer, "optimizer", optimizer)
        seen["optimizer"], seen["optimizer_module"] = type(inner).__name__, type(inner).__module__
        seen["adapted"] = {
            name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "lora_A")
        }
        original(self)

    monkeypatch.setattr(TrainingLoop, "run", note)
