"""``mathtune select``: what is kept, what is dropped and why, and what the files say of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from mathtune.cli.main import cli
from mathtune.config.schema import DataConfig, SelectConfig, SourceConfig
from mathtune.errors import ConfigError, DataError
from mathtune.evaluation.predictions.rows import write_rows
from mathtune.evaluation.request import EvaluationRequest
from mathtune.generation.engine import Decoding
from mathtune.learning.distinct import equation_list
from mathtune.learning.select import select
from mathtune.learning.selection_file import select_files
from mathtune.problems import load
from mathtune.records import (
    Completion,
    PredictionRow,
    Problem,
    ProblemSet,
    Prompt,
    StopReason,
    content_id,
)

QUESTION = "Ann buys 3 boxes of 4 pens and finds 2 more. How many pens has she?"
GOLD = "She buys 3*4=<<3*4=12>>12 pens.\nShe has 12+2=<<12+2=14>>14.\n#### 14"
RIGHT = "The boxes hold 3*4=<<3*4=12>>12.\nSo 12+2=<<12+2=14>>14.\n#### 14"
OTHER = "Of 4+2=<<4+2=6>>6 and 2*4=<<2*4=8>>8 pens she has 6+8=<<6+8=14>>14.\n#### 14"
SWAPPED = "2*4=<<2*4=8>>8 and 4+2=<<4+2=6>>6, so 6+8=<<6+8=14>>14.\n#### 14"


def problem(question: str = QUESTION, answer: str = GOLD, gold: str = "14") -> Problem:
    return Problem(content_id(question, answer), question, answer, gold, "test", "pens", 2)


def samples(
    *texts: str, of: Problem | None = None, cut: int | None = None, label: str = "set"
) -> list[PredictionRow]:
    """Return graded samples of a problem; number ``cut`` ended by the token limit."""
    of = of or problem()
    decoding = Decoding(temperature=0.7, samples=len(texts))
    prompts = [Prompt(of.id, of.question, (1,))]
    request = EvaluationRequest(ProblemSet(label, (of,)), prompts, decoding, "qa")
    return [
        request.row(
            Completion(of.id, i, text, (1, 2), StopReason.LENGTH if i == cut else StopReason.EOS)
        )
        for i, text in enumerate(texts)
    ]


def test_one_sample_of_each_reasoning_is_kept_and_every_drop_has_its_reason() -> None:
    rows = samples(
        RIGHT,  # 0 kept
        RIGHT.upper().replace("####", " ####"),  # the same text
        f"It is {RIGHT}",  # other words, same equations
        OTHER,  # 3 kept
        SWAPPED,  # 4 kept: the order counts
        "3*4=<<3*4=12>>12\n#### 13",  # wrong
        "I do not know.",  # no answer
        "3*4=<<3*4=11>>11, 12+2=<<12+2=14>>14.\n#### 14",  # right with a false step
        "She has 14 pens.",  # 8 kept: states no equation
        "There are 14 pens.",  # 9 kept
        "#### 14\nShe has as many as",
        cut=10,
    )
    found = select(rows, SelectConfig())
    assert [row["sample"] for row in found.rows] == [0, 3, 4, 8, 9]
    assert dict(found.dropped) == {
        "wrong answer": 1,
        "no answer": 1,
        "right, but cut off": 1,
        "right, but an equation in it is false": 1,
        "same text as another": 1,
        "same equations as another": 1,
    }
    assert found.kept + sum(found.dropped.values()) == found.samples == len(rows)
    assert found.rows[0] == {
        "question": QUESTION, "answer": RIGHT, "gold": "14", "type": "pens",
        "problem_id": problem().id, "sample": 0, "source": "sample",
    }  # fmt: skip


def test_gold_comes_first_and_a_sample_that_repeats_it_is_dropped() -> None:
    found = select(samples(RIGHT, OTHER), SelectConfig(gold=True))
    assert [(row["source"], row["sample"]) for row in found.rows] == [("gold", None), ("sample", 1)]
    assert found.rows[0]["answer"] == GOLD
    bare = select(samples("#### 14", of=problem(answer="14")), SelectConfig(gold=True))
    assert (bare.gold, dict(bare.gold_dropped)) == (0, {"without a worked solution": 1})


def test_the_cap_and_the_band() -> None:
    capped = select(samples(RIGHT, OTHER, SWAPPED), SelectConfig(max_per_problem=2))
    assert (capped.kept, capped.dropped) == (2, {"beyond select.max_per_problem": 1})
    easy = samples(RIGHT, OTHER)
    hard = samples(RIGHT, "#### 1", "#### 2", of=problem("Another one?"))
    found = select([*easy, *hard], SelectConfig(min_pass_rate=0.2, max_pass_rate=0.8))
    assert {row["question"] for row in found.rows} == {"Another one?"}
    band = "problem solved too rarely or too often (pass rate outside the band)"
    assert found.dropped == {band: 2, "wrong answer": 2}


def test_samples_of_several_files_are_one_pool_per_problem(tmp_path: Path) -> None:
    write_rows(tmp_path / "one.jsonl", samples(RIGHT, OTHER))
    write_rows(tmp_path / "two.jsonl", samples(SWAPPED, RIGHT))
    found = select_files(
        [tmp_path / "one.jsonl", tmp_path / "two.jsonl"], tmp_path / "out.jsonl", SelectConfig()
    )
    assert [row["answer"] for row in found.rows] == [RIGHT, OTHER, SWAPPED]
    assert (found.samples, found.problems) == (4, 1)


def test_what_follows_the_answer_is_not_learned() -> None:
    found = select(samples(f" {RIGHT}\n\nQuestion: What is 1+1?\nAnswer: 2"), SelectConfig())
    assert found.rows[0]["answer"] == RIGHT


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("So 3 x 4 = 12.", "Thus 3*4 = 12", True),
        ("It costs $1,200 + $300 = $1,500.", "1200+300=1500", True),
        ("5 * 0.50 = 2.50", "5*0.5=2.5", True),
        ("48/2 = <<48/2=24>>24", "half: <<48/2=24>>24", True),
        ("3 * 4 = 12", "4 * 3 = 12", False),
        ("1+2=3, 3+4=7", "3+4=7, 1+2=3", False),
        ("100/10=10", "100/1=100", False),
    ],
)
def test_what_makes_two_lists_of_equations_the_same(one: str, other: str, same: bool) -> None:
    assert equation_list(one)
    assert (equation_list(one) == equation_list(other)) is same


def call(*arguments: object) -> Any:
    result = CliRunner().invoke(cli, ["select", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_output_is_an_ordinary_training_source_with_provenance(tmp_path: Path) -> None:
    rows = samples(RIGHT, OTHER, "#### 1")
    more = samples(RIGHT.replace("pens", "cups"), OTHER, "#### 1", of=problem("And how many cups?"))
    write_rows(tmp_path / "samples.jsonl", [*rows, *more])
    out = tmp_path / "train.jsonl"
    said = call(tmp_path / "samples.jsonl", "--out", out, "--max-per-problem", "2").output
    assert "6 samples: 4 kept, from 2 of 2 problems" in said
    assert "dropped, wrong answer: 2" in said
    test = {"question": "What is 7 - 5?", "answer": "7-5=<<7-5=2>>2\n#### 2"}
    (tmp_path / "held.jsonl").write_text(json.dumps(test) + "\n")
    held = str(tmp_path / "held.jsonl")
    splits = load(DataConfig.model_validate({"train": str(out), "test": held}))
    everything = [*splits.train.problems, *splits.validation.problems]
    assert sorted(p.answer for p in everything) == sorted(
        [RIGHT, OTHER, RIGHT.replace("pens", "cups"), OTHER]
    )
    noted = yaml.safe_load((tmp_path / "train.jsonl.provenance.yaml").read_text())
    assert (noted["kept"], noted["dropped"], noted["rules"]["max_per_problem"]) == (
        4, {"wrong answer": 2}, 2,
    )  # fmt: skip
    assert noted["samples"][0]["right"] == 4
    before = out.read_bytes(), (tmp_path / "train.jsonl.provenance.yaml").read_bytes()
    call(tmp_path / "samples.jsonl", "--out", out, "--max-per-problem", "2")
    assert before == (out.read_bytes(), (tmp_path / "train.jsonl.provenance.yaml").read_bytes())


def test_questions_of_a_published_test_set_on_this_machine_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    row = {"question": QUESTION, "answer": GOLD}
    (tmp_path / "data" / "gsm8k" / "test.jsonl").write_text(json.dumps(row) + "\n")
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(tmp_path / "data"))
    write_rows(tmp_path / "samples.jsonl", samples(RIGHT))
    with pytest.raises(DataError, match=r"question of the gsm8k test set: 1"):
        call(tmp_path / "samples.jsonl", "--out", tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    call(tmp_path / "samples.jsonl", "--out", tmp_path / "out.jsonl", "--allow-test")
    noted = yaml.safe_load((tmp_path / "out.jsonl.provenance.yaml").read_text())
    assert noted["kept"] == 1

    def in_a_round(*trained_on: SourceConfig) -> int:
        paths, out = [tmp_path / "samples.jsonl"], tmp_path / "round.jsonl"
        return select_files(paths, out, SelectConfig(), trained_on=trained_on).kept

    # A recipe may train on part of a published test set, and measure on another part.
    assert in_a_round(SourceConfig(name="gsm8k", split="test", limit=750)) == 1
    with pytest.raises(DataError, match="question of the gsm8k test set"):
        in_a_round(SourceConfig(name="gsm8k"), SourceConfig(name="svamp", split="test"))


def test_what_cannot_be_selected_from_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    write_rows(path, samples("#### 1", "#### 2"))
    with pytest.raises(DataError, match=r"none of 2 samples is left \(wrong answer: 2\)"):
        call(path, "--out", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"does not end in \.jsonl"):
        call(path, "--out", tmp_path / "out.csv")
    with pytest.raises(ConfigError, match="one of the sample files"):
        call(path, "--out", path)
    with pytest.raises(DataError, match=r"holds no predictions/base\.jsonl"):
        call(tmp_path, "--out", tmp_path / "out.jsonl")
    with pytest.raises(DataError, match=r"none\.jsonl"):
        call(tmp_path / "none.jsonl", "--out", tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"min_pass_rate=0\.9 is above max_pass_rate=0\.5"):
        call(path, "--out", tmp_path / "o.jsonl", "--min-pass-rate", "0.9", "--max-pass-rate", ".5")
    write_rows(path, samples(RIGHT, OTHER)[:1])  # the second sample is missing
    with pytest.raises(DataError, match="expected 0 to 1 once each"):
        call(path, "--out", tmp_path / "out.jsonl")
