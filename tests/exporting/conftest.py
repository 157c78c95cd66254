"""One small run with an adapter, shared by the tests of this room."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from command_for_tests import jsonl, solved
from mathtune import config, pipeline
from models_for_tests import saved_model


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run: LoRA on a tiny Llama, measured before and after; tests only read it."""
    folder = tmp_path_factory.mktemp("run")
    saved_model(folder / "base", "llama", hidden_size=64)
    jsonl(folder / "train.jsonl", (solved(n) for n in range(1, 41)))
    jsonl(folder / "test.jsonl", (solved(n, "cups") for n in range(1, 26)))
    settings = [
        f"model={folder}/base", f"data.train={folder}/train.jsonl",
        f"data.test={folder}/test.jsonl", "data.contamination=report", "train.max_steps=2",
        "train.max_length=200", "train.learning_rate=1e-2", "eval.max_new_tokens=8",
        "eval.perplexity=false", "model.dtype=float32", "data.max_test_samples=6",
    ]  # fmt: skip
    here = Path.cwd()
    os.chdir(folder)
    try:
        pipeline.run(config.load("qwen2.5-0.5b-gsm8k-lora", settings), folder / "run")
    finally:
        os.chdir(here)
    return folder / "run"
