"""Named example sets, and the prompts they make, to the letter of lm-evaluation-harness."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path

import jinja2
import pytest
import yaml

from mathtune.errors import ConfigError
from mathtune.grading import grade, published_grades
from mathtune.grading.steps import check_steps
from mathtune.problems.contamination import overlap
from mathtune.prompts import NAMED_SHOTS, Renderer, named_shots
from mathtune.records import Problem, content_id
from tokenizers_for_tests import bpe


def read(path: Path) -> list[Problem]:
    rows = [json.loads(line) for line in path.open(encoding="utf-8")]
    return [Problem(content_id(r["question"]), r["question"], r["answer"], "") for r in rows]


@pytest.mark.parametrize("name", NAMED_SHOTS)
def test_every_example_is_right(name: str) -> None:
    shots = named_shots(name, 8)
    assert len({shot.id for shot in shots}) == 8
    for shot in shots:
        assert grade(shot.answer, shot.gold).correct, shot.question
        assert check_steps(shot.answer).wrong == (), shot.question


def test_the_two_sets_end_as_their_tasks_graders_want_it() -> None:
    for name, grader in (("gsm8k-cot", "lm_eval_cot_strict"), ("word-problems", "lm_eval_strict")):
        for shot in named_shots(name, 8):
            assert published_grades(shot.answer, shot.gold)[grader], shot.question


def test_our_own_set_is_not_gsm8k(data_dir: Path) -> None:
    for split in ("train", "test"):
        gsm8k = read(data_dir / "gsm8k" / f"{split}.jsonl")
        assert not list(overlap(named_shots("word-problems", 8), gsm8k, n=8))


def test_k_takes_the_first_of_them_and_never_fewer() -> None:
    assert named_shots("gsm8k-cot", 3) == named_shots("gsm8k-cot", 8)[:3]
    with pytest.raises(ConfigError, match=r"prompt\.shots=9.* has 8 examples.*prompt\.shots=8"):
        named_shots("gsm8k-cot", 9)
    with pytest.raises(ConfigError, match="gsm8k-cod is unknown; did you mean 'gsm8k-cot'"):
        named_shots("gsm8k-cod", 1)


def test_five_shots_of_gsm8k_are_the_harness_prompt_to_the_letter(data_dir: Path) -> None:
    shots = read(data_dir / "gsm8k" / "train.jsonl")[:5]
    (question,) = {row.question for row in read(data_dir / "gsm8k" / "test.jsonl")[:1]}
    tokenizer = bpe()
    wanted = ""
    for shot in shots:
        wanted += f"Question: {shot.question}\nAnswer: {shot.answer}\n\n"
    wanted += f"Question: {question}\nAnswer:"
    prompt = Renderer(tokenizer, "qa", shots=shots).prompt(question)
    assert prompt.text == wanted
    assert list(prompt.ids) == tokenizer(wanted)["input_ids"]  # one BOS, then the text


def test_gsm8k_cot_is_the_harness_prompt_to_the_letter() -> None:
    """Rendered from the harness' own task file, where it is installed."""
    try:
        files = metadata.files("lm_eval") or []
    except metadata.PackageNotFoundError:
        pytest.skip("lm_eval is not installed")
    task = next(f for f in files if str(f) == "lm_eval/tasks/gsm8k/gsm8k-cot.yaml")
    config = yaml.safe_load(Path(task.locate()).read_text("utf-8"))
    ask = jinja2.Template(config["doc_to_text"])
    shown = "".join(
        f"{ask.render(question=shot['question'])} {shot['target']}\n\n"
        for shot in config["fewshot_config"]["samples"]
    )
    renderer = Renderer(bpe(), "cot", shots=named_shots("gsm8k-cot", config["num_fewshot"]))
    question = "Robes take 2 bolts each. How many do 3 take?"
    assert renderer.prompt(question).text == shown + ask.render(question=question)
    assert list(renderer.stop) == config["generation_kwargs"]["until"]


def test_a_chat_shows_them_as_turns() -> None:
    shots = named_shots("word-problems", 1)
    prompt = Renderer(bpe(), "chat", system="Be brief.", shots=shots).prompt("What is 1+1?")
    assert prompt.text == (
        "<s><|im_start|>system\nBe brief.<|im_end|>\n"
        f"<|im_start|>user\n{shots[0].question}<|im_end|>\n"
        f"<|im_start|>assistant\n{shots[0].answer}<|im_end|>\n"
        "<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("style", ["qa", "cot", "chat"])
def test_a_prompt_is_shown_with_its_one_bos(style: str) -> None:
    renderer = Renderer(bpe(), style)
    shown = renderer.visible(renderer.prompt("What is 1+1?"))
    assert shown.count("<s>") == 1
    assert shown.startswith("<s>")
