"""The flat example and mathtune's own loop give the same losses on the same data."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

import mathtune as mt
from command_for_tests import jsonl, python, solved

SCRIPT = Path(__file__).parents[2] / "examples" / "minimal_sft.py"

SETTINGS = {
    "num_train_epochs": 2,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("data")
    train = jsonl(folder / "train.jsonl", [solved(number) for number in range(2, 22)])
    return train, jsonl(folder / "validation.jsonl", [solved(number) for number in range(50, 54)])


@pytest.fixture(scope="module")
def said(files: tuple[Path, Path]) -> str:
    model = Path(mt.__file__).parent / "recipes" / "tiny-base"
    sizes = ["--num-train-epochs", "2", "--batch-size", "8", "--micro-batch-size", "3"]
    rest = ["--learning-rate", "1e-3", "--max-new-tokens", "24"]
    arguments = map(str, (model, *files, *sizes, *rest))
    done = python(SCRIPT.read_text("utf-8"), *arguments, cwd=files[0].parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_same_losses_as_mathtune_train(
    files: tuple[Path, Path], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, validation = map(str, files)
    test = str(jsonl(tmp_path / "test.jsonl", [solved(90)]))
    result = mt.train(
        mt.load_recipe(
            "tiny-gsm8k",
            model={"dtype": "float32"},  # the example knows no mixed precision
            data={
                **{"train": train, "validation": [validation], "test": test},
                "contamination": "report",  # all problems here are alike
            },
            train={**SETTINGS, "eval_strategy": "epoch", "warmup_steps": 0},
            eval={"max_new_tokens": 24},
        ),
        run_dir=tmp_path / "run",
    )
    ours = [line["loss"] for line in result.metrics if "loss" in line]
    validations = [line["eval_loss"] for line in result.metrics if "eval_loss" in line]
    theirs = [float(loss) for loss in re.findall(r"step \d+ loss ([\d.]+)", said)]
    their_validations = [float(loss) for loss in re.findall(r"eval_loss ([\d.]+)", said)]
    assert len(theirs) == 2 * math.ceil(20 / 8) and len(their_validations) == 3
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert validations == pytest.approx(their_validations, rel=1e-4)
    assert theirs[-1] < 0.7 * theirs[0]  # it learns


def test_it_says_how_many_answers_are_right(said: str) -> None:
    assert re.search(r"^exact match [01]\.\d{3} \(\d of 4\)$", said, re.MULTILINE)


def test_it_stands_alone_and_is_short() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(from|import) mathtune", text, re.MULTILINE)
    assert len(text.splitlines()) <= 175
