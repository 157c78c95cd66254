"""Sampled groups: what is rewarded, dropped, refilled, refused and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from log_for_tests import logged
from mathtune.config.schema import GrpoConfig
from mathtune.errors import DataError, TrainingStopped
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.learning import reward as rewards
from mathtune.learning.figures import Figures
from mathtune.learning.policy_gradient.loss import Answer
from mathtune.learning.policy_gradient.rollouts import SampledAnswers, _answer
from mathtune.learning.reward import check_pass_rate, rewardable
from mathtune.learning.rollouts import Task
from mathtune.records import Completion, Grade, Outcome, Problem, Prompt, StopReason

RIGHT, WRONG, BARE = "It is 7. #### 7", "It is 8. #### 8", "7"


class Engine:
    """Answers by problem; the source names each drawing of a problem apart."""

    name = "scripted"

    def __init__(self, answers: Mapping[str, Sequence[str]], truncated: Sequence[str] = ()) -> None:
        self._answers, self._truncated = answers, truncated
        self.asked: list[str] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        names = [prompt.problem_id for prompt in prompts]
        self.asked += names
        scripted = ScriptedEngine(
            {name: self._answers[name.partition("#")[0]] for name in names},
            truncated=[name for name in names if name.partition("#")[0] in self._truncated],
        )
        # Samples come in another order than asked for, as from a real engine.
        yield from reversed(list(scripted.generate(prompts, decoding)))


def problem(name: str) -> Problem:
    return Problem(name, f"Question {name}?", RIGHT, "7")


def source(engine: Engine, problems: Sequence[str], **settings: Any) -> SampledAnswers:
    config = GrpoConfig(**{"num_generations": 4, **settings})

    def scores(answers: Sequence[Answer]) -> list[tuple[float, ...]]:
        return [(-1.5,) * answer.targets for answer in answers]

    return SampledAnswers(
        [Task(problem(name), Prompt(name, "", (1, 2, 3))) for name in problems],
        engine,
        Decoding(max_new_tokens=16),
        config,
        problems_per_step=2,
        seed=5,
        memory_budget=1,
        figures=Figures(),
        old=scores,
        reference=scores,
    )


def test_dead_groups_are_dropped_refilled_and_counted():
    answers = {
        "right": [RIGHT] * 4, "wrong": [WRONG] * 4,
        "live": [RIGHT, WRONG, WRONG, WRONG], "other": [RIGHT, RIGHT, RIGHT, WRONG],
    }  # fmt: skip
    engine = Engine(answers)
    made = source(engine, list(answers), max_refills=3)
    step = made.next_step()
    assert len(step) == 8 and {answer.problem_id for answer in step} == {"live", "other"}
    by_problem = {
        name: [answer.advantage for answer in step if answer.problem_id == name]
        for name in ("live", "other")
    }
    # In the order of the samples, whatever order the engine finished them in.
    assert by_problem == {"live": [0.75, -0.25, -0.25, -0.25], "other": [0.25, 0.25, 0.25, -0.75]}
    figures = made._figures.means()
    groups = len(engine.asked)
    drawn = [name.partition("#")[0] for name in engine.asked]
    assert len(set(engine.asked)) == groups > 2  # each drawing has random numbers of its own
    dead = sum(name in ("right", "wrong") for name in drawn)
    assert figures["dead_groups"] == pytest.approx(dead / groups)
    share = {"right": 1.0, "wrong": 0.0, "live": 0.25, "other": 0.75}
    assert figures["reward"] == pytest.approx(sum(share[name] for name in drawn) / groups)

    without = source(Engine(answers), list(answers), max_refills=0)
    assert len(without.next_step()) <= 8


def test_only_dead_groups_end_the_training_and_say_so():
    engine = Engine({"a": [RIGHT] * 4, "b": [WRONG] * 4, "c": [WRONG] * 4})
    with pytest.raises(TrainingStopped) as stopped:
        source(engine, ["a", "b", "c"]).next_step()
    assert str(stopped.value) == (
        "before the first step each of 20 groups of 4 answers has equal rewards (7 all right, 13 "
        "all wrong), so there is nothing to learn from; give easier problems, or raise "
        "grpo.num_generations or grpo.temperature"
    )
    assert stopped.value.exit_code == 2

    learned = {"a": [RIGHT, WRONG, WRONG, WRONG], "b": [RIGHT, WRONG, WRONG, WRONG]}
    later = source(Engine(learned), ["a", "b"])
    assert later.next_step()
    learned.update(a=[RIGHT] * 4, b=[RIGHT] * 4)
    with logged() as said:
        assert later.next_step() == []
    assert "training ends after step 1: each of 20 groups of 4 answers has equal" in said.getvalue()
    assert "give harder problems" in said.getvalue()


def test_truncated_answers_are_punished_or_left_out():
    answers = {"a": [BARE, RIGHT, WRONG, WRONG], "b": [RIGHT, WRONG, WRONG, WRONG]}
    punished = source(Engine(answers, truncated="a"), ["a", "b"]).next_step()
    assert [a.advantage for a in punished if a.problem_id == "a"] == [-0.25, 0.75, -0.25, -0.25]
    # All four of "a" were cut; the marked answer is right all the same, as in evaluation.
    left_out = source(
        Engine(answers, truncated="a"), ["a", "b"], mask_truncated_completions=True
    ).next_step()
    assert {a.problem_id for a in left_out} == {"b"}


def test_a_reward_for_the_form_is_added_and_logged_apart():
    answers = {"a": [RIGHT, WRONG, BARE, "8"], "b": [RIGHT, WRONG, BARE, "8"]}
    made = source(Engine(answers), ["a", "b"], format_reward_weight=0.5)
    step = made.next_step()
    # Rewards 1.5, 0.5, 1, 0 with mean 0.75.
    assert [a.advantage for a in step if a.problem_id == "a"] == [0.75, -0.25, 0.25, -0.75]
    figures = made._figures.means()
    assert (figures["reward"], figures["format_reward"]) == (0.5, 0.5)


def test_a_number_with_zeros_in_front_earns_nothing():
    """Its value is right, but nobody writes so, and a policy that is paid for it learns to."""

    def earned(text: str, gold: str) -> float:
        return rewards.reward(Completion("a", 0, text, (), StopReason.EOS), gold).value(0.0)

    assert [earned(f"#### {text}", "9") for text in ("9", "09", "9.0", "8")] == [1, 0, 1, 0]
    assert earned("#### 0.05", "0.05") == earned("#### .05", "0.05") == 1
    for thousand in ("1,005", "1 005", "1005.0"):
        assert earned(f"#### {thousand}", "1005") == 1
    assert earned(r"So \boxed{1{,}005}.", "1005") == 1
    assert earned(r"So \boxed{005}.", "5") == 0
    assert earned("#### 09", "09") == 1


def test_the_calculators_tokens_are_no_actions():
    completion = Completion(
        "a#0", 0, "", (9, 8, 7, 6), StopReason.EOS, logprobs=(-1.0, -2.0, -3.0, -4.0),
        inserted_tokens=2, inserted_at=(1, 2),
    )  # fmt: skip
    made = _answer(Task(problem("a"), Prompt("a", "", (1, 2))), completion, 0.5)
    assert made == Answer(
        "a", (1, 2, 9, 8, 7, 6), (False, False, True, False, False, True), 0.5, (-1.0, -4.0)
    )
    assert made.targets == 2 and made.lengths == (6,)


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_source_goes_on_where_its_state_was_taken(steps: int):
    """Also between two optimiser steps on one batch."""
    answers = {name: [RIGHT, WRONG, WRONG, WRONG] for name in "abcde"}
    settings = {"num_iterations": 2, "beta": 0.1}
    whole, again = (source(Engine(answers), "abcde", **settings) for _ in range(2))
    for _ in range(steps):
        whole.next_step()
    again.restore(json.loads(json.dumps(whole.state())))
    assert again.epoch == whole.epoch == steps / 6
    for _ in range(3):
        assert again.next_step() == whole.next_step()
    assert again.state() == whole.state()
    first = whole.next_step()
    assert all(a.old and a.reference for a in first)


def test_a_reward_that_never_pays_is_refused(monkeypatch: pytest.MonkeyPatch):
    given = [problem("a"), replace(problem("b"), answer="no number here", gold="x")]
    with logged() as said:
        assert rewardable(given) == [given[0]]
    assert "1 of 2 training problems are left out" in said.getvalue()
    with pytest.raises(DataError, match="none of the 1 training problems rewards its own solution"):
        rewardable([replace(problem("c"), gold="")])
    monkeypatch.setattr(rewards, "grade", lambda *_, **__: Grade(Outcome.WRONG, reason="so it is"))
    with pytest.raises(DataError, match=r"2: so it is\), so every answer would be wrong"):
        rewardable([problem("a"), problem("b")])


def test_a_pass_rate_near_none_or_all_is_refused():
    def rates(right: int, of: int) -> list[tuple[rewards.Reward, ...]]:
        made = [rewards.Reward(Outcome.CORRECT, True, False)] * right
        made += [rewards.Reward(Outcome.TRUNCATED, False, True)] * (of - right)
        return [tuple(made)]

    with pytest.raises(TrainingStopped) as low:
        check_pass_rate(rates(1, 100), 32)
    assert str(low.value).startswith(
        "1.0 % of 100 answers to 1 training problems are right (99 cut at eval.max_new_tokens=32), "
        "and below 2 % hardly any group"
    )
    with pytest.raises(TrainingStopped, match=r"^99\.0 % .* above 98 % .* harder problems"):
        check_pass_rate(rates(99, 100), 32)
    for right in (2, 98):
        check_pass_rate(rates(right, 100), 32)
