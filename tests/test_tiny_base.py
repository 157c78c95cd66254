"""The toy model in the package: any text encodes, it is small, and it does what its card says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mathtune import config, problems
from mathtune.config.schema import ModelConfig
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.grading import grade
from mathtune.models.compute import pick_compute
from mathtune.models.loading import load_model, load_tokenizer, resolve
from mathtune.problems.generate import BASE_TYPES, NEW_TYPES, generate
from mathtune.prompts import Renderer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("tiny-base")


def test_it_is_small_safetensors_with_a_card():
    folder = Path(resolve("tiny-base"))
    files = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert sum(files.values()) <= 12 * 2**20
    assert {"model.safetensors", "tokenizer.json", "README.md"} <= set(files)
    assert not [name for name in files if name.endswith((".bin", ".pt", ".pkl"))]
    assert "toy" in (folder / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    "text", ["1234.5", "Grüße, 東京 🎈", "<<48/2=24>>24", "a\tb\n\n c", "\x00\x7f", "naïve ½ ≤ 3"]
)
def test_any_text_encodes_and_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


def test_digits_are_single_tokens(tokenizer):
    ids = tokenizer("90817", add_special_tokens=False)["input_ids"]
    assert [tokenizer.decode([token]) for token in ids] == list("90817")


def test_it_solves_base_types_and_not_the_new_ones(tokenizer):
    """Card: 95.7 % of base types with the calculator and 0.7 % of new types."""
    recipe = ModelConfig(name_or_path="tiny-base")
    model = load_model(recipe, pick_compute("float32"))
    renderer = Renderer(tokenizer, "qa")
    decoding = Decoding(max_new_tokens=160, stop=renderer.stop, calculator=True)
    right = {}
    for name, types in (("base", BASE_TYPES), ("new", NEW_TYPES)):
        asked = generate(30, seed=77, types=types, part="test")
        gold = {problem.id: problem.gold for problem in asked}
        prompts = [renderer.prompt(problem.question, problem.id) for problem in asked]
        right[name] = sum(
            grade(completion.text, gold[completion.problem_id]).correct
            for completion in HFEngine(model, tokenizer).generate(prompts, decoding)
        )
    assert right["base"] >= 24
    assert right["new"] <= 3


def test_demo_never_trains_on_what_it_is_tested_on():
    recipe = config.load("demo")
    splits = problems.load(recipe.data, seed=recipe.seed)
    learned_from = (*splits.train.problems, *splits.validation.problems)
    trained = {problem.question for problem in learned_from}
    solved = {problem.answer for problem in splits.train.problems}
    for test in splits.test:
        assert not trained & {problem.question for problem in test.problems}, test.label
        assert not solved & {problem.answer for problem in test.problems}, test.label
    assert len(splits.test[0]) == 200
