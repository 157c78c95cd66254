"""A verifier: what it is trained on, what it chooses, and that it never saw those problems."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from command_for_tests import jsonl, solved
from mathtune import config
from mathtune.cli.main import cli
from mathtune.errors import ConfigError, DataError, RunError
from mathtune.evaluation.evaluate import evaluate
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.learning.verifier.rerank import best, rerank, rerank_file, weighted
from mathtune.learning.verifier.texts import verdict_tokens, with_verdict
from mathtune.learning.verifier.training import VerdictLearning
from mathtune.prompts.render import Renderer
from mathtune.records import Problem, ProblemSet, Prompt, content_id
from models_for_tests import saved_model
from tokenizers_for_tests import bpe


def problem(number: int) -> Problem:
    given = solved(number)
    name = content_id(given["question"], given["answer"])
    return Problem(name, given["question"], given["answer"], str(2 * number))


def samples(path: Path, numbers: Sequence[int], answers: Sequence[str]) -> Path:
    """Write graded samples; in an answer, ``R`` is the right number and ``W`` a wrong one."""
    problems = [problem(number) for number in numbers]

    def written(p: Problem) -> list[str]:
        return [a.replace("R", p.gold).replace("W", str(int(p.gold) + 1)) for a in answers]

    evaluate(
        ScriptedEngine({p.id: written(p) for p in problems}),
        ProblemSet("sampled", tuple(problems)),
        lambda p: Prompt(p.id, p.question, (1,)),
        Decoding(samples=len(answers), temperature=1.0),
        path=path,
        style="qa",
    )
    return path


def recipe(source: Path, *more: str) -> Any:
    knobs = ["train.objective=verifier", f"verifier.samples={source}", *more]
    return config.load("demo", knobs)


def test_a_verdict_is_one_supervised_token_after_the_end() -> None:
    renderer = Renderer(bpe(), "qa")
    right, wrong = verdict_tokens(renderer.tokenizer)
    assert right != wrong
    for verdict, token in ((True, right), (False, wrong)):
        text = with_verdict(renderer, problem(3), " 3 + 3 = 6\n#### 6 ", verdict)
        assert text.ids[-2:] == (renderer.tokenizer.eos_token_id, token)
        assert text.supervised == (False,) * (len(text.ids) - 1) + (True,)
        assert text.targets == 1


def test_as_many_right_as_wrong_answers_of_training_problems_only(tmp_path: Path) -> None:
    answers = ["so #### R", "so #### R", "thus #### R", "um #### W", "no idea"]
    source = samples(tmp_path / "s.jsonl", [1, 2, 3], answers)
    learning = VerdictLearning(recipe(source), [problem(1), problem(2)], [problem(3), problem(9)])
    renderer = Renderer(bpe(), "qa")
    made = learning.prepare(renderer)
    right, wrong = verdict_tokens(renderer.tokenizer)
    # Of each two right texts and one wrong; the third problem's are for validation.
    assert [(e.problem_id, e.ids[-1]) for e in made] == [
        (problem(n).id, token) for n in (1, 2) for token in (right, wrong)
    ]
    assert {e.problem_id for e in learning.validation(renderer)} == {problem(3).id}
    one_sided = samples(tmp_path / "one.jsonl", [1], ["so #### R"])
    with pytest.raises(DataError, match="no training problem with both a right and a wrong"):
        VerdictLearning(recipe(one_sided), [problem(1)], []).prepare(renderer)


def test_the_choice_by_hand(tmp_path: Path) -> None:
    answers = ["a #### W", "b #### W", "c #### R", "no idea"]
    rows = list(read_rows(samples(tmp_path / "s.jsonl", [1, 2], answers)))
    group = rows[:4]
    assert best(group, [0.2, 0.3, 0.4, 0.9]) is group[2]  # what has no answer is never chosen
    assert weighted(group, [0.2, 0.3, 0.4, 0.9])["correct"] is False  # 0.2 + 0.3 > 0.4
    assert weighted(group, [0.1, 0.1, 0.4, 0.9]) is group[2]
    found = rerank(rows, [0.2, 0.3, 0.4, 0.9, 0.9, 0.1, 0.4, 0.0])
    values = {way: rate["value"] for way, rate in found.rates.items()}
    assert values == {"sample": 0.25, "majority": 0, "best": 0.5, "weighted": 0, "any": 1}
    test = found.against_majority["best"]
    assert (test["gained"], test["lost"], test["mcnemar_p"], test["holm_p"]) == (1, 0, 1, 1)
    with pytest.raises(DataError, match="nothing to choose from"):
        one = list(read_rows(samples(tmp_path / "one.jsonl", [1], ["so #### R"])))
        rerank(one, [0.5])


TOLD = ["so " * 9 + "#### R", "um " * 9 + "#### W", "um " * 8 + "#### W"]
"""Answers whose words give away which are right."""

RECIPE = """
name: verdicts
model: {name_or_path: model, dtype: float32}
data: {train: train.jsonl, validation: valid.jsonl, test: test.jsonl, contamination: report}
train:
  objective: verifier
  max_steps: 40
  per_device_train_batch_size: 16
  learning_rate: 1.0e-2
  lr_scheduler_type: constant
  max_length: 200
  logging_steps: 10
  eval_strategy: steps
  eval_steps: 10
verifier: {samples: samples.jsonl}
eval: {max_new_tokens: 4, perplexity: false}
"""


def test_it_learns_to_choose_and_beats_a_vote_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved_model(tmp_path / "model", "llama")
    (tmp_path / "r.yaml").write_text(RECIPE)
    jsonl(tmp_path / "train.jsonl", [solved(n) for n in range(1, 41)])
    jsonl(tmp_path / "valid.jsonl", [solved(n) for n in range(41, 51)])
    jsonl(tmp_path / "test.jsonl", [solved(990, "bags")])
    samples(tmp_path / "samples.jsonl", range(1, 51), TOLD)

    def call(*arguments: str) -> str:
        done = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
        if done.exception:
            raise done.exception
        return done.stdout

    call("train", "r.yaml", "--run-dir", "run")
    logged = (tmp_path / "run" / "metrics.jsonl").read_text("utf-8").splitlines()
    lines = list(map(json.loads, logged))
    losses = [line["eval_loss"] for line in lines if "eval_loss" in line]
    assert min(losses) < 0.4 < 0.69 < losses[0], losses  # ln 2 is a coin's

    # Two of three samples agree on a wrong number, and one is right.
    asked = samples(tmp_path / "asked.jsonl", range(100, 108), [*TOLD[1:], TOLD[0]])
    found = json.loads(call("rerank", "asked.jsonl", "--verifier", "run", "--json"))
    values = {way: rate["value"] for way, rate in found["rates"].items()}
    assert (values["majority"], values["best"], values["any"]) == (0, 1, 1)
    assert found["against_majority"]["best"]["mcnemar_p"] == 2 / 2**8
    written = Path(found["scores"]).read_text("utf-8").splitlines()
    scores = [json.loads(line)["score"] for line in written]
    rows = list(read_rows(asked))
    assert min(s for s, row in zip(scores, rows, strict=True) if row["correct"]) > 0.5
    greedy = samples(tmp_path / "greedy.jsonl", range(100, 108), TOLD[1:2])
    said = call("rerank", "asked.jsonl", "--verifier", "run", "--greedy", str(greedy))
    assert "best of 3 by the verifier" in said and "p = 0.0078 (0.0" in said
    assert re.search(r"one greedy answer +0\.0", said)
    noted = json.loads((tmp_path / "asked.jsonl.verifier.json").read_text("utf-8"))
    assert (noted["rates"]["greedy"]["value"], noted["rates"]["best"]["value"]) == (0, 1)
    with pytest.raises(DataError, match="to other problems than the samples"):
        other = samples(tmp_path / "other.jsonl", [100], TOLD[:1])
        rerank_file(asked, Path("run"), greedy=other)

    with pytest.raises(DataError, match=r"40 problems of samples\.jsonl are among those"):
        rerank_file(Path("samples.jsonl"), Path("run"))
    with pytest.raises(RunError, match="not the run folder of a trained verifier"):
        rerank_file(asked, tmp_path)


def test_what_a_verifier_cannot_be_trained_with_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"verifier\.samples empty"):
        config.load("demo", ["train.objective=verifier"])
    with pytest.raises(ConfigError, match="a verifier solves no problems"):
        recipe(
            tmp_path / "s", "train.metric_for_best_model=eval_exact_match",
            "train.exact_match_samples=4",
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"verifier\.max_per_problem=3 with train\.objective=sft"):
        config.load("demo", ["verifier.max_per_problem=3"])
