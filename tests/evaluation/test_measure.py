"""Measuring a model: what is asked, what is reused, what is measured once only."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import PreTrainedTokenizerFast

from log_for_tests import logged
from mathtune import config, progress, runs
from mathtune.config.schema import EvalConfig
from mathtune.evaluation import time_left
from mathtune.evaluation.measure import answer_example, compare_all, measure, measured_decoding
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.evaluation.results import Results
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.prompts import Renderer, named_shots
from mathtune.records import Completion, Example, Problem, ProblemSet, Prompt, StopReason
from mathtune.runs import Run
from tokenizers_for_tests import bpe

PROBLEMS = ProblemSet(
    "sums",
    tuple(
        Problem(name, f"What is {a}+{a}?", f"{a}+{a}={2 * a}\n#### {2 * a}", str(2 * a), steps=1)
        for name, a in (("a", 1), ("b", 2), ("c", 3))
    ),
)


class Noting(ScriptedEngine):
    """Also keeps what it was asked; its calculator corrects the text of every annotation."""

    def __init__(self, answers: dict[str, str | list[str]]) -> None:
        super().__init__(answers)
        self.calls: list[tuple[list[Prompt], Decoding]] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        self.calls.append((list(prompts), decoding))
        return map(
            self._corrected if decoding.calculator else lambda made: made,
            super().generate(prompts, decoding),
        )

    @staticmethod
    def _corrected(made: Completion) -> Completion:
        acts = "<<" in made.text
        return replace(made, inserted_tokens=2, corrected_tokens=1) if acts else made


class Model:
    """Scripted answers, the real renderer, and 1/4 as the probability of every token."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, **answers: str | list[str]) -> None:
        self.asked = Noting({"a": "#### 2", "b": "#### 4", "c": "#### 6", "example": "x"} | answers)
        self.tokenizer = tokenizer
        self.scored: list[Example] = []

    def engine(self) -> Noting:
        return self.asked

    def renderer(self, *, shots: Sequence[Problem] = ()) -> Renderer:
        return Renderer(self.tokenizer, "qa", shots=shots)

    def score(self, examples: Sequence[Example]) -> Iterator[list[float]]:
        for example in examples:
            self.scored.append(example)
            yield [math.log(0.25)] * len(example.ids)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return bpe()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with runs.create(tmp_path / "run", config.load("demo"), command=["mathtune"]) as run:
        yield run


def measured(model: Model, run: Run, config: EvalConfig, label: str = "base", **options: object):
    return measure(model, label, (PROBLEMS,), run, config, **{"seed": 42, **options})


def test_greedy_answers_without_annotations_are_taken_over(tokenizer, run: Run) -> None:
    model = Model(tokenizer, b="2+2=<<2+2=4>>4\n#### 4")
    off, on = measured(model, run, EvalConfig())
    assert (off["calculator"], on["calculator"]) == (False, True)
    # With the calculator off only b is asked again: it inserted nothing into the others.
    assert [[p.problem_id for p in prompts] for prompts, _ in model.asked.calls] == [
        ["a", "b", "c"],
        ["b"],
    ]
    assert {decoding.seed for _, decoding in model.asked.calls} == {0}
    assert off["exact_match"]["correct"] == on["exact_match"]["correct"] == 3


def test_samples_are_drawn_with_the_recipes_seed_and_voted_on(tokenizer, run: Run) -> None:
    model = Model(
        tokenizer,
        a=["#### 2", "#### 2", "no idea", "#### 9"],  # 2 of 4, votes 2 2 9: right
        b=["none", "none", "none", "#### 4"],  # 1 of 4, votes 4: right
        c=["#### 5", "#### 5", "#### 6", "#### 6"],  # 2 of 4, votes 5 5 6 6: the first, wrong
    )
    config = EvalConfig(temperature=0.7, top_p=0.9, samples=4, perplexity=False)
    off, on = measured(model, run, config, seed=7)
    wanted = {"temperature": 0.7, "top_p": 0.9, "samples": 4, "seed": 7}
    assert len(model.asked.calls) == 2  # nothing is reused
    for prompts, decoding in model.asked.calls:
        assert [p.problem_id for p in prompts] == ["a", "b", "c"]
        assert {key: getattr(decoding, key) for key in wanted} == wanted
    for figures in (off, on):
        assert figures["exact_match"]["value"] == pytest.approx((2 + 1 + 2) / 12)
        assert figures["majority"]["correct"] == 2
        # Chance that 2 of the 4 are not all wrong: 1 - C(wrong, 2)/6 = 5/6, 3/6, 5/6.
        assert figures["pass_at"] == {
            "1": pytest.approx(5 / 12),
            "2": pytest.approx(13 / 18),
            "4": 1.0,
        }
        assert figures["rates"]["no_answer"]["value"] == pytest.approx(4 / 12)
        assert figures["perplexity"] is None
    rows = read_rows(run.predictions("base", "sums", False, headline=True))
    assert [row["sample"] for row in rows] == [0, 1, 2, 3] * 3
    assert {row["decoding"]["seed"] for row in rows} == {7}


def test_the_headline_line_is_small_and_says_it_all(tokenizer, run: Run) -> None:
    model = Model(tokenizer, b=["none", "#### 4"])
    config = EvalConfig(temperature=1, samples=2, confidence=0.8)
    results = Results.open(run, config, (PROBLEMS,))
    results.add(measured(model, run, config), answer_example(model, "base", config))
    figures = results.headline()
    assert figures["base.exact_match"] == figures["base"]["exact_match"] == pytest.approx(5 / 6)
    assert figures["base"]["majority"] == 1.0
    assert figures["base"]["pass_at"] == {"1": pytest.approx(5 / 6), "2": 1.0}
    assert figures["base"]["rates"] == {
        "no_answer": pytest.approx(1 / 6),
        "truncated": 0.0,
        "repetition": 0.0,
        "no_eos": 0.0,
        "last_resort": 0.0,
    }
    assert figures["base"]["published"]["openai"] == pytest.approx(5 / 6)
    assert figures["base"]["errors"] == {"arithmetic_slip": 0, "reasoning": 0, "format": 1}
    assert figures["base"]["perplexity"]["completion"] == pytest.approx(4)
    assert "evaluations" not in figures
    assert len(json.dumps(figures)) < 1500
    assert {evaluation["confidence"] for evaluation in results.data["evaluations"]} == {0.8}


def test_the_example_is_answered_greedily_whatever_is_measured(tokenizer, run: Run) -> None:
    model = Model(tokenizer, example=["one", "two"])
    answers = answer_example(model, "base", EvalConfig(temperature=0.5, samples=2))
    assert [answer["completion"] for answer in answers] == ["one", "one"]
    assert {(d.temperature, d.samples) for _, d in model.asked.calls} == {(0.0, 1)}


def test_shots_stand_before_questions_and_not_in_what_is_scored(tokenizer, run: Run) -> None:
    model = Model(tokenizer)
    shots = named_shots("word-problems", 2)
    shown = "".join(f"Question: {shot.question}\nAnswer: {shot.answer}\n\n" for shot in shots)
    measured(model, run, EvalConfig(), shots=shots)
    prompts, _ = model.asked.calls[0]
    assert [prompt.text for prompt in prompts] == [
        f"{shown}Question: What is {a}+{a}?\nAnswer:" for a in (1, 2, 3)
    ]
    scored = [tokenizer.decode(e.ids, skip_special_tokens=True) for e in model.scored]
    assert scored == [
        f"Question: What is {a}+{a}?\nAnswer: {a}+{a}={2 * a}\n#### {2 * a}" for a in (1, 2, 3)
    ]


def test_perplexity_is_measured_once(tokenizer, run: Run) -> None:
    first = measured(Model(tokenizer), run, EvalConfig())[0]
    again = Model(tokenizer)
    assert measured(again, run, EvalConfig())[0]["perplexity"] == first["perplexity"]
    assert again.scored == []
    assert again.asked.calls == []
    # Both calculator settings stand on one measurement, another model on one of its own.
    tuned = Model(tokenizer)
    measured(tuned, run, EvalConfig(), label="tuned")
    assert len(tuned.scored) == 3


def test_damaged_or_foreign_perplexity_is_measured_again(tokenizer, run: Run) -> None:
    first = measured(Model(tokenizer), run, EvalConfig())[0]
    predictions = run.predictions("base", "sums", False, headline=True)
    kept = predictions.with_name(predictions.name + ".perplexity.json")
    whole = json.loads(kept.read_text())
    for content in ("", "[]", "{}", json.dumps({**whole, "tokens": "of other texts"})):
        kept.write_text(content)
        again = Model(tokenizer)
        assert measured(again, run, EvalConfig())[0]["perplexity"] == first["perplexity"]
        assert len(again.scored) == 3
        assert json.loads(kept.read_text()) == whole


def test_sampled_models_are_compared_by_their_majority(tokenizer, run: Run) -> None:
    config = EvalConfig(temperature=1, samples=3, perplexity=False)
    base = Model(tokenizer, a=["#### 2", "#### 0", "#### 0"])  # the majority of a is wrong
    measured(base, run, config)
    measured(Model(tokenizer), run, config, label="tuned")
    comparison = compare_all(run, (PROBLEMS,), config)[0]
    assert (comparison["gained"], comparison["lost"], comparison["n"]) == (1, 0, 3)


def test_answers_stopped_in_a_loop_are_counted_and_said(tokenizer, run: Run) -> None:
    class Looping(Noting):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
            assert decoding.stop_repetition
            for made in super().generate(prompts, decoding):
                loops = made.text == "on and on and "
                yield replace(made, stop_reason=StopReason.REPETITION) if loops else made

    model = Model(tokenizer)
    model.asked = Looping({"a": "on and on and ", "b": "#### 4", "c": "#### 6"})
    with logged() as said:
        measured(model, run, EvalConfig())
    line = "1 answer of 3 stopped for repetition"
    assert said.getvalue().splitlines().count(line) == 2  # calculator on and off


def test_a_loop_is_left_alone_where_that_is_asked_for_or_answers_are_sampled(tokenizer) -> None:
    renderer = Renderer(tokenizer, "qa")
    for given, stops in [
        (EvalConfig(), True),
        (EvalConfig(stop_repetition=False), False),
        (EvalConfig(temperature=0.7), False),
        (EvalConfig(engine="openai"), False),
    ]:
        decoding = measured_decoding(given, renderer, calculator=False, seed=1)
        assert decoding.stop_repetition == stops


def test_the_time_in_all_is_said_after_the_first_answers(
    tokenizer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 8.0, 8.5, 9.0, *range(10, 60)])
    monkeypatch.setattr(time_left.time, "monotonic", lambda: next(clock))
    engine = ScriptedEngine({})
    engine.stats = SimpleNamespace(rows=10)  # answers in progress
    with logged() as said, progress.bar("", 40) as bar:
        count = time_left.AnswerCount(bar, 40, 2, engine)
        for _ in range(20):
            count({"correct": True})
    # After 9 s 3 answers are there and 10 half done: 8 of 40.
    assert said.getvalue().splitlines() == ["about 45 s for 20 problems (2.2 s a problem)"]


def test_what_comes_after_the_last_answer_is_said(
    tokenizer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time_left, "SECONDS_BETWEEN_LINES", 0.0)
    model, config = (
        Model(tokenizer, b="2+2=<<2+2=4>>4\n#### 4"),
        EvalConfig(),
    )
    with logged() as said:
        measured(model, run, config)
        measured(model, run, config, label="tuned")
        answer_example(model, "base", config)
        compare_all(run, (PROBLEMS,), config)
        measured(model, run, config)
    lines = [re.sub(r"about \d+ s", "about N s", line) for line in said.getvalue().splitlines()]
    assert lines[:9] == [
        "base on sums, calculator on: answering 3 problems",
        "1 of 3 answered, 1 right, about N s left",
        "2 of 3 answered, 2 right, about N s left",
        "3 of 3 answered, 3 right, about N s left",
        "base on sums, calculator off: answering 3 problems",
        "1 of 3 answered, 1 right, about N s left",
        "2 of 3 answered, 2 right, about N s left",
        "reused 2 answers, the same with the calculator off; the others are asked",
        "3 of 3 answered, 3 right, about N s left",
    ]
    assert lines[9:11] == [
        "base on sums: perplexity of 3 solutions",
        "base on sums: counting, intervals",
    ]
    assert "base: answering the example problem" in lines
    assert "comparing base and tuned on sums, calculator on" in lines
    assert "3 answers are saved already, 0 are missing" in lines
