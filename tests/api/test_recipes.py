"""Recipes from Python: overrides in each form, the same sentences, planning."""

from __future__ import annotations

from pathlib import Path

import pytest

import mathtune as mt


def test_knobs_texts_and_mappings_say_the_same(tmp_path: Path) -> None:
    by_text = mt.load_recipe("demo", ["train.max_steps=7", "seed=3", "adapter=null"])
    by_key = mt.load_recipe("demo", {"train.max_steps": 7, "seed": 3}, adapter=None)
    by_section = mt.load_recipe("demo", train={"max_steps": 7}, seed=3, adapter=None)
    assert by_text == by_key == by_section
    assert by_section.train.learning_rate == mt.load_recipe("demo").train.learning_rate
    assert mt.load_recipe("demo", model=tmp_path / "m").model.name_or_path == str(tmp_path / "m")


def test_a_file_is_a_recipe_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nmodel: tiny-base\ndata: {train: a, test: b}\n")
    assert mt.load_recipe(tmp_path / "mine.yaml").name == "mine"


def test_all_faults_come_as_one_value_error() -> None:
    with pytest.raises(ValueError) as caught:
        mt.load_recipe("demo", train={"learning_rate": -1, "max_stps": 3}, sede=1)
    assert isinstance(caught.value, mt.MathtuneError)
    text = str(caught.value)
    assert "train.learning_rate=-1 is too small" in text and "did you mean 'max_steps'" in text
    assert "did you mean 'seed'" in text and len(caught.value.faults) == 3
    with pytest.raises(mt.MathtuneError, match="is a single string; give a list"):
        mt.load_recipe("demo", "train.max_steps=1")
    with pytest.raises(mt.MathtuneError, match="seed is a object; give a number"):
        mt.load_recipe("demo", seed=object())


def test_the_checks_of_the_command_come_before_any_work() -> None:
    with pytest.raises(mt.MathtuneError) as caught:
        mt.train("demo", train={"optim": "adamw_trch"}, model="./nowhere")
    assert len(caught.value.faults) == 2
    assert "train.optim=adamw_trch is unknown" in str(caught.value)
    assert "'./nowhere' does not exist" in str(caught.value)
    assert not Path("runs").exists()


def test_plan_of_the_published_projects() -> None:
    plan = mt.plan("gemma-2b-orca", device="RTX 4090")
    assert plan.parameters["trainable"] == 9_805_824
    assert plan.fits is True and plan.remedies == ()
    shown = repr(plan)
    assert (
        "9,805,824 (0.39\u00a0% of all, 0.64\u00a0% with two 4-bit weights counted as one)" in shown
    )
    assert plan.to_pandas()["bytes"].sum() == plan.peak
    facts = {"train": {"generated": "facts", "n": 20}}
    small = mt.plan("demo", data=facts, device="RTX 4090", memory="700MB")
    assert small.fits is False and small.remedies
    assert small.remedies[0]["change"] in small._repr_html_()


def test_load_problems_from_a_recipe_and_from_a_source() -> None:
    recipe = mt.load_recipe("demo", data={"max_train_samples": 9, "max_test_samples": 4})
    splits = mt.load_problems(recipe)
    assert (len(splits.train), len(splits.test[0])) == (9, 4)
    problems = mt.load_problems({"generated": "problems", "n": 6}, limit=5)
    assert len(problems) == 5 and isinstance(problems[0], mt.Problem)
    assert problems == mt.load_problems({"generated": "problems", "n": 6}, limit=5)
    assert problems != mt.load_problems({"generated": "problems", "n": 6}, limit=5, seed=1)
    assert repr(problems) == "Problems('generated', 5 problems)"
    assert list(problems.to_pandas()["gold"]) == [problem.gold for problem in problems]
    assert len(problems[1:3]) == 2
