"""A model that overfits 32 problems solves them; in-loop exact match can choose."""

from __future__ import annotations

import json

import pytest

from mathtune import config, stages
from mathtune.errors import ValidationInterrupted
from mathtune.evaluation.in_loop import validation_exact_match
from mathtune.problems import load
from mathtune.records import Problem, Splits
from mathtune.training.session import Session
from models_for_tests import saved_model


def test_overfitting_reaches_full_exact_match_and_stops_by_itself(tmp_path):
    """One set for training and validation: 32 memorised problems must be solved, by decoding."""
    model, _ = saved_model(tmp_path / "model", "llama", hidden_size=64, intermediate_size=128)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "".join(
            json.dumps({"question": f"Item {n} costs?", "answer": f"It is {n}.\n#### {n}"}) + "\n"
            for n in range(10, 42)
        )
    )
    test = tmp_path / "other.jsonl"
    test.write_text(json.dumps({"question": "Something else?", "answer": "#### 3"}) + "\n")
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [
            f"model={model}", f"data.train={problems}", f"data.test={test}",
            "data.validation_fraction=0.5", "train.max_steps=60", "train.learning_rate=5e-3",
            "train.per_device_train_batch_size=16", "train.eval_strategy=steps",
            "train.eval_steps=15", "train.exact_match_samples=12", "train.warmup_steps=5",
            "train.metric_for_best_model=eval_exact_match", "train.max_length=200",
            "eval.max_new_tokens=24",
        ],
    )  # fmt: skip
    splits = load(recipe.data, seed=recipe.seed)
    everything = splits.train.problems
    memorised = Splits(splits.train, splits.train, splits.test)
    with stages.open_run(recipe, tmp_path / "run") as run:
        session = Session.load(recipe)

        def exact_match(session, _):
            return validation_exact_match(session, everything[:12], recipe.eval)

        result = session.train(memorised, run, exact_match)
        final = validation_exact_match(session, everything, recipe.eval)
    metrics = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").open()]
    logged = {m["step"]: m["eval_exact_match"] for m in metrics if "eval_exact_match" in m}
    assert sorted(logged) == [0, 15, 30, 45, 60]
    assert result.best_step == max(logged, key=lambda step: (logged[step], -step))
    assert final == 1.0  # stopping by itself included: a text that ran on would be truncated
    assert [m["eval_loss"] for m in metrics if "eval_loss" in m][-1] < 0.05


def test_an_interruption_is_heeded_in_the_middle_of_an_answer(tmp_path):
    """And where all answers are there, none is thrown away."""
    model, _ = saved_model(tmp_path / "model", "llama")
    recipe = config.load(
        "smollm2-135m-gsm8k", [f"model={model}", "eval.max_new_tokens=4", "eval.batch_size=1"]
    )
    session = Session.load(recipe)
    problems = [Problem(str(n), f"What is {n}?", "", str(n)) for n in range(3)]
    steps = 0

    def interrupted() -> bool:
        nonlocal steps
        steps += 1
        return steps > last

    for last in (0, 1, 6, 11):
        steps = 0
        with pytest.raises(ValidationInterrupted):
            validation_exact_match(session, problems, recipe.eval, interrupted)
        assert steps == last + 1
    steps, last = 0, 12  # 3 answers of 4 tokens
    assert validation_exact_match(session, problems, recipe.eval, interrupted) == 0.0
    assert session.model.training is False
