"""Which graded samples become training solutions: right, sound, distinct, not too many.

A sample is dropped for the first reason that holds, in the order of ``REASONS``; every drop is
counted. What is left is a list of solved problems like any other training source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

from mathtune.config.schema import SelectConfig
from mathtune.grading.steps import check_steps
from mathtune.grading.visible import cut_next_question
from mathtune.learning.distinct import equation_list, same_text
from mathtune.problems.splits import question_key
from mathtune.records import CUT_OFF, Outcome, PredictionRow

BAND = "problem solved too rarely or too often (pass rate outside the band)"
NOT_RIGHT: Mapping[str, str] = {
    Outcome.WRONG.value: "wrong answer",
    Outcome.NO_ANSWER.value: "no answer",
    Outcome.TRUNCATED.value: "no answer, cut off",
    Outcome.UNGRADABLE.value: "ungradable",
}
UNFINISHED = "right, but cut off"
FALSE_STEP = "right, but an equation in it is false"
SAME_TEXT = "same text as another"
SAME_EQUATIONS = "same equations as another"
BEYOND = "beyond select.max_per_problem"

REASONS = (
    *("question of a test set", BAND, *NOT_RIGHT.values()),
    *(UNFINISHED, FALSE_STEP, SAME_TEXT, SAME_EQUATIONS, BEYOND),
)
"""In the order in which they are looked for; the first also names the set."""

BARE_GOLD = "without a worked solution"

_NOT_WORKED = re.compile(r"[\s#$,.]+")


class SelectedRow(TypedDict):
    """One line of a selection: a solved problem."""

    question: str
    answer: str
    """The solution: a sample's completion, or the published one."""
    gold: str
    type: str | None
    problem_id: str
    """Of the problem as it was sampled."""
    sample: int | None
    """Number of the sample; None for a published solution."""
    source: str
    """``sample`` or ``gold``."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What was selected, and what was not.

    Attributes:
        rows: Solved problems; of each problem the published solution first, if mixed in.
        problems: Problems with samples.
        samples: Samples read.
        dropped: Dropped samples by reason.
        gold_dropped: Published solutions that were not mixed in, by reason.
    """

    rows: tuple[SelectedRow, ...]
    problems: int
    samples: int
    dropped: Mapping[str, int]
    gold_dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Samples kept."""
        return sum(row["source"] == "sample" for row in self.rows)

    @property
    def gold(self) -> int:
        """Published solutions mixed in."""
        return len(self.rows) - self.kept

    @property
    def learnable(self) -> int:
        """Problems with at least one sample kept."""
        return len({row["problem_id"] for row in self.rows if row["source"] == "sample"})

    def lines(self) -> list[str]:
        """Return the counts as lines to print."""
        each = f", from {self.learnable:,} of {self.problems:,} problems" if self.problems else ""
        lines = [f"{self.samples:,} samples: {self.kept:,} kept{each}"]
        lines += [f"  dropped, {why}: {count:,}" for why, count in self.dropped.items()]
        if self.gold or self.gold_dropped:
            lines.append(f"{self.gold:,} published solutions mixed in")
            lines += [f"  left out, {why}: {n:,}" for why, n in self.gold_dropped.items()]
        return lines


def select(
    rows: Iterable[PredictionRow],
    rules: SelectConfig,
    test_questions: Mapping[str, str] | None = None,
) -> Selection:
    """Select training solutions from graded samples.

    Args:
        rows: Samples of one or several files; those of one problem are taken together, in the
            order given, so earlier ones win over later ones of the same reasoning.
        rules: Cap, pass-rate band, and whether published solutions are mixed in. These come first,
            so that a sample which repeats one is dropped.
        test_questions: Question (``question_key``) → name of the test set it belongs to, whose
            samples are dropped.
    """
    groups: dict[str, list[PredictionRow]] = {}
    for row in rows:
        groups.setdefault(row["problem_id"], []).append(row)
    dropped: Counter[str] = Counter()
    gold_dropped: Counter[str] = Counter()
    kept: list[SelectedRow] = []
    for group in groups.values():
        if of := (test_questions or {}).get(question_key(group[0]["question"])):
            dropped[f"question of the {of} test set"] += len(group)
            continue
        published = _published(group[0]) if rules.gold else None
        if rules.gold and published is None:
            gold_dropped[BARE_GOLD] += 1
        kept += [published] if published else []
        kept += _of_problem(group, rules, published, dropped)
    order = {why: place for place, why in enumerate(REASONS)}
    ordered = sorted(dropped.items(), key=lambda item: order.get(item[0], -1))
    samples = sum(map(len, groups.values()))
    return Selection(tuple(kept), len(groups), samples, dict(ordered), dict(gold_dropped))


def _of_problem(
    group: Sequence[PredictionRow],
    rules: SelectConfig,
    published: SelectedRow | None,
    dropped: Counter[str],
) -> list[SelectedRow]:
    rate = sum(row["correct"] for row in group) / len(group)
    if not rules.min_pass_rate <= rate <= rules.max_pass_rate:
        dropped[BAND] += len(group)
        return []
    texts, equations = set[str](), set[tuple[str, ...]]()
    if published is not None:
        texts.add(same_text(published["answer"]))
        equations.add(equation_list(published["answer"]))
    kept: list[SelectedRow] = []
    for row in group:
        text = solution_text(row["completion"])
        stated = equation_list(text)
        why = _fault(row, text)
        if why is None and same_text(text) in texts:
            why = SAME_TEXT
        if why is None and stated and stated in equations:
            why = SAME_EQUATIONS
        if why is None and len(kept) >= rules.max_per_problem:
            why = BEYOND
        if why is not None:
            dropped[why] += 1
            continue
        texts.add(same_text(text))
        equations.add(stated)
        kept.append(_selected(row, text, row["sample"]))
    return kept


def solution_text(completion: str) -> str:
    """Return the part of a completion that solves the problem, as a training solution."""
    return cut_next_question(completion)[0].strip()


def _fault(row: PredictionRow, text: str) -> str | None:
    """Return why a sample cannot be learned from, or None."""
    if not row["correct"]:
        return NOT_RIGHT.get(row["outcome"], row["outcome"])
    if row["stop_reason"] in CUT_OFF:
        return UNFINISHED  # its end was not the model's, and EOS would be learned there
    return FALSE_STEP if check_steps(text).wrong else None


def _published(row: PredictionRow) -> SelectedRow | None:
    """Return a problem's published solution, or None where that is the bare final answer."""
    bare = _NOT_WORKED.sub("", row["answer"]) == _NOT_WORKED.sub("", row["gold"])
    return None if bare else _selected(row, row["answer"], None)


def _selected(row: PredictionRow, answer: str, sample: int | None) -> SelectedRow:
    return {
        "question": row["question"],
        "answer": answer,
        "gold": row["gold"],
        "type": row["type"],
        "problem_id": row["problem_id"],
        "sample": sample,
        "source": "gold" if sample is None else "sample",
    }
