"""The reward of an answer, from the one grader, and whether it works before anything is learned."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mathtune.errors import DataError, TrainingStopped
from mathtune.grading import grade, is_padded
from mathtune.records import CUT_OFF, Completion, Outcome, Problem
from mathtune.text.counts import percent

log = logging.getLogger(__name__)

LOWEST, HIGHEST = 0.02, 0.98
"""Pass rates outside which nearly all groups are alike, so that there is nothing to learn from."""

MARKED = ("answer_tag", "boxed", "hash", "answer_is")
"""Methods of the grader that found a marked result."""


@dataclass(frozen=True, slots=True)
class Reward:
    """What one answer is worth.

    Attributes:
        outcome: The grader's verdict.
        well_formed: Whether the answer ends and marks its result, right or wrong.
        truncated: Whether it was cut at the limit of tokens.
        padded: Whether its result is a number with zeros in front, such as ``09``.
    """

    outcome: Outcome
    well_formed: bool
    truncated: bool
    padded: bool = False

    @property
    def correct(self) -> bool:
        """Whether the answer is right and not padded.

        A padded number has the right value, but graders that compare text refuse it, and a policy
        that is paid for it comes to write it.
        """
        return self.outcome is Outcome.CORRECT and not self.padded

    def value(self, format_weight: float) -> float:
        """Return the reward: 1 for a right answer, and the weight for a well-formed one."""
        return self.correct + format_weight * self.well_formed


def reward(completion: Completion, gold: str) -> Reward:
    """Grade a completion, exactly as evaluation does."""
    truncated = completion.stop_reason.value in CUT_OFF
    verdict = grade(completion.text, gold, finished=not truncated)
    marked = not truncated and verdict.method in MARKED
    return Reward(verdict.outcome, marked, truncated, is_padded(verdict.extracted, gold))


def rewardable(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems whose own solution is rewarded; the others are counted and reported.

    Raises:
        DataError: If none is: then every answer would be wrong, and nothing learned.
    """
    kept: list[Problem] = []
    reasons: Counter[str] = Counter()
    for problem in problems:
        # Without a solution, its final answer as a model would mark it.
        verdict = grade(problem.answer or f"#### {problem.gold}", problem.gold)
        if problem.gold and verdict.correct:
            kept.append(problem)
        else:
            reasons[verdict.reason if problem.gold else "the problem has no final answer"] += 1
    if kept and not reasons:
        return kept
    if not kept:
        why, count = reasons.most_common(1)[0] if reasons else ("there are none", 0)
        raise DataError(
            f"none of the {len(problems):,} training problems rewards its own solution "
            f"({count:,}: {why}), so every answer would be wrong and nothing be learned; give "
            "problems with final answers that the grader reads (mathtune grade shows how)"
        )
    log.info(
        f"{len(problems) - len(kept):,} of {len(problems):,} training problems are left out, as "
        f"their own solution is not rewarded (most often: {reasons.most_common(1)[0][0]})"
    )
    return kept


def check_pass_rate(rewards: Sequence[Sequence[Reward]], max_new_tokens: int) -> None:
    """Report how many of a sample of training problems' answers are right.

    Args:
        rewards: Those of each problem's answers.
        max_new_tokens: Longest answer, for the message.

    Raises:
        TrainingStopped: If hardly any answer is right, or nearly all are.
    """
    answers = [each for group in rewards for each in group]
    rate = sum(each.correct for each in answers) / len(answers)
    alike = sum(len({each.correct for each in group}) == 1 for group in rewards)
    what = (
        f"{percent(rate, 1)} of {len(answers):,} answers to {len(rewards):,} training problems are "
        "right"
    )
    log.info(f"before the first step {what}; {alike:,} problems have only right or wrong answers")
    if rate < LOWEST:
        outcomes = Counter(each.outcome for each in answers)
        wrong = ", ".join(
            f"{outcomes[outcome]:,} {text}"
            for outcome, text in (
                (Outcome.WRONG, "wrong"),
                (Outcome.NO_ANSWER, "without an answer"),
                (Outcome.TRUNCATED, f"cut at eval.max_new_tokens={max_new_tokens}"),
                (Outcome.UNGRADABLE, "not gradable"),
            )
            if outcomes[outcome]
        )
        raise TrainingStopped(
            f"{what} ({wrong}), and below {percent(LOWEST)} hardly any group of answers has a "
            "right one to learn from; train on solutions first (train.objective=sft), give easier "
            "problems, raise eval.max_new_tokens if many are cut, or set grpo.pass_rate_problems=0 "
            "to train anyway"
        )
    if rate > HIGHEST:
        raise TrainingStopped(
            f"{what}, and above {percent(HIGHEST)} hardly any group of answers has a wrong one to "
            "learn from; give harder problems, or set grpo.pass_rate_problems=0 to train anyway"
        )
