from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from mathtune.errors import ConfigError, DataError
from mathtune.evaluation.compare import compare, compare_files
from mathtune.evaluation.comparison_table import table, type_table
from mathtune.evaluation.difference import verdict
from mathtune.evaluation.predictions.rows import write_rows
from mathtune.evaluation.statistics import mcnemar_power

MakeRow = Callable[..., dict[str, Any]]


@pytest.fixture
def make_sides(make_row: MakeRow) -> Callable[..., tuple[list[dict[str, Any]], ...]]:
    """Two sides with so many problems both right, gained, lost and both wrong."""

    def make(
        both: int = 0, gained: int = 0, lost: int = 0, neither: int = 0, **fields: Any
    ) -> tuple[list[dict[str, Any]], ...]:
        pattern = (
            [(True, True)] * both
            + [(False, True)] * gained
            + [(True, False)] * lost
            + [(False, False)] * neither
        )
        return tuple(
            [make_row(f"p{i}", outcome[side], **fields) for i, outcome in enumerate(pattern)]
            for side in (0, 1)
        )

    return make


def test_figures_by_hand(make_sides: Any) -> None:
    before, after = make_sides(both=40, gained=30, lost=10, neither=20)
    found = compare(before, after[::-1])  # order plays no part
    assert (found.overall.before["value"], found.overall.after["value"]) == (0.5, 0.7)
    assert found.overall.difference == pytest.approx(0.2)
    assert (found.overall.gained, found.overall.lost, found.overall.n) == (30, 10, 100)
    # McNemar exact: 10 of 40 against a fair coin
    assert found.overall.mcnemar_p == pytest.approx(stats.binomtest(10, 40, 0.5).pvalue)
    # per problem +1 with 0.3, -1 with 0.1: variance 0.4 - 0.04 = 0.36, standard error 0.06,
    # so the textbook interval is 0.2 -+ 1.96 * 0.06 = 0.082 to 0.318, and Tango's is close to it
    assert found.overall.low == pytest.approx(0.0795, abs=5e-5)
    assert found.overall.high == pytest.approx(0.3170, abs=5e-5)
    assert found.result()["interval_method"] == "paired score (Tango 1998)"
    # The exact test has 80 % power there; Connor's formula, without it, says 0.1751.
    assert found.smallest_detectable_difference == pytest.approx(0.1818, abs=5e-5)
    assert mcnemar_power(100, 0.4 / 2 + 0.0909, 0.4 / 2 - 0.0909) == pytest.approx(0.8, abs=1e-3)


def test_gained_and_lost_with_both_answers(make_sides: Any) -> None:
    before, after = make_sides(both=1, gained=2, lost=1)
    found = compare(before, after)
    assert [pair.before["problem_id"] for pair in found.gained] == ["p1", "p2"]
    assert [(pair.before["extracted"], pair.after["extracted"]) for pair in found.gained] == [
        ("8", "7"),
        ("8", "7"),
    ]
    assert [pair.after["problem_id"] for pair in found.lost] == ["p3"]
    assert len(found.pairs) == 4


def test_a_gain_a_loss_and_none(make_sides: Any) -> None:
    before, after = make_sides(both=2, gained=161, neither=37, set="new types")
    assert verdict(compare(before, after)).startswith(
        "Tuning raised exact match on new types from 1.0 % to 81.5 % (+80.5 points, 95 % interval "
    )
    assert verdict(compare(before, after)).endswith("McNemar p = 6.8e-49): a real gain.")
    # 2 / 2^161 = 6.8e-49
    worse = verdict(compare(after, before))
    assert "Tuning lowered exact match on new types from 81.5 % to 1.0 % (-80.5 points" in worse
    assert worse.endswith("a real loss.")
    named = verdict(compare(before, after, labels=("8-shot", "tuned")))
    assert named.startswith("Against 8-shot, tuned raised exact match on new types from 1.0 %")

    before, after = make_sides(both=80, gained=12, lost=10, neither=98)
    none = verdict(compare(before, after))
    assert none.startswith(
        "No difference can be shown with 200 problems: exact match on test set is 45.0 % for base "
        "and 46.0 % for tuned (+1.0 points"
    )
    assert mcnemar_power(200, (0.11 + 0.0674) / 2, (0.11 - 0.0674) / 2) == pytest.approx(
        0.8, abs=1e-3
    )
    assert (
        "200 problems show a true difference of 6.7 points in 4 of 5 cases, a smaller one" in none
    )

    same, _ = make_sides(both=5, neither=195)
    equal = verdict(compare(same, same))
    assert "have the same ones of test set right (2.5 %)" in equal
    assert "3.9 points" in equal

    one, _ = make_sides(both=1)
    few = verdict(compare(one, one))
    assert few.startswith("No difference can be shown with 1 problem: base and tuned have")
    assert few.endswith("1 problem can never show one.")


def test_few_problems_prove_little(make_sides: Any) -> None:
    before, after = make_sides(gained=5)
    found = compare(before, after)
    assert found.overall.mcnemar_p == 2 / 2**5  # 0.0625
    assert verdict(found).startswith("Undecided with 5 problems: exact match on test set is 0.0 %")
    more = compare(*make_sides(gained=6))  # 2 / 2^6 = 0.03125
    assert verdict(more).endswith("a real gain.")
    stricter = compare(*make_sides(gained=6), confidence=0.99)
    assert "real" not in verdict(stricter)
    assert "99 % interval" in verdict(stricter)
    before, after = make_sides(both=40, gained=30, lost=10, neither=20)
    wider = compare(before, after, confidence=0.99).smallest_detectable_difference
    assert wider > compare(before, after).smallest_detectable_difference


def test_by_type_with_holm(make_row: MakeRow) -> None:
    before = [make_row(f"a{i}", False, type="age") for i in range(8)]
    after = [make_row(f"a{i}", True, type="age") for i in range(8)]
    before += [make_row(f"c{i}", i < 3, type="cost") for i in range(6)]
    after += [make_row(f"c{i}", i < 2, type="cost") for i in range(6)]
    before.append(make_row("x"))
    after.append(make_row("x"))
    found = compare(before, after)
    assert list(found.by_type) == ["age", "cost"]
    age, cost = found.by_type.values()
    assert (age.n, age.difference, age.mcnemar_p) == (8, 1.0, 2 / 2**8)
    assert age.holm_p == 2 * 2 / 2**8  # two types were tested
    assert (cost.n, cost.gained, cost.lost, cost.holm_p) == (6, 0, 1, 1.0)
    assert cost.difference == pytest.approx(-1 / 6)
    lines = [" ".join(line.split()) for line in type_table(found).splitlines()]
    assert lines[0].startswith("| type | n | base | tuned | difference | 95 % interval | gained |")
    assert lines[2].startswith("| age | 8 | 0.0 % | 100.0 % | +100.0 | 35.1 to 100.0 | 8 | 0 |")
    assert lines[3].startswith("| cost | 6 | 50.0 % | 33.3 % | -16.7 |")
    assert type_table(compare(before[-1:], after[-1:])) == ""


def test_the_majority_is_compared_where_there_are_samples(make_row: MakeRow) -> None:
    def side(*correct: bool) -> list[dict[str, Any]]:
        return [
            make_row("p", right, samples=3, sample=sample) for sample, right in enumerate(correct)
        ]

    found = compare(side(True, False, False), side(False, True, True))
    assert (found.overall.gained, found.samples) == (1, (3, 3))
    assert "majority answer" in verdict(found)


def test_what_cannot_be_compared_is_refused_with_the_reason(make_row: MakeRow) -> None:
    rows = [make_row(f"p{i}") for i in range(5)]
    with pytest.raises(
        DataError, match="1 of their problems are only in base, 2 only in tuned and 3 in both"
    ):
        compare(rows[:4], [*rows[1:4], make_row("new"), make_row("newer")])
    other = [{**row, "prompt_hash": "ff"} for row in rows[:2]] + rows[2:]
    with pytest.raises(DataError, match="2 of 5 prompts differ") as caught:
        compare(rows, other)
    assert "allow_different=prompts" in str(caught.value)
    chat = [{**row, "style": "chat"} for row in rows]
    with pytest.raises(DataError, match=r"5 of 5 prompts differ \(styles qa and chat\)"):
        compare(rows, chat)
    on = [make_row(f"p{i}", decoding={"calculator": True, "stop": ["\n"]}) for i in range(5)]
    with pytest.raises(DataError, match=r"stop \[\] and \['\\n'\], calculator False and True"):
        compare(rows, on)
    with pytest.raises(DataError, match="gold answer '7' in one and '70' in the other"):
        compare(rows, [{**row, "gold": "70"} for row in rows], allow_different=["problems"])
    with pytest.raises(ConfigError, match="did you mean 'prompts'"):
        compare(rows, rows, allow_different=["prompt"])
    with pytest.raises(DataError, match="no problem in common"):
        compare(rows[:1], rows[1:], allow_different=["problems"])


def test_what_may_differ_is_said_in_the_result(make_row: MakeRow) -> None:
    rows = [make_row(f"p{i}") for i in range(5)]
    other = [
        make_row(f"p{i}", prompt_hash="ff", decoding={"calculator": True}) for i in range(1, 7)
    ]
    found = compare(rows, other, allow_different=["problems", "prompts", "decoding"])
    assert found.differing == ("problems", "prompts", "decoding")
    assert (found.left_out, found.overall.n, found.calculator) == ((1, 2), 4, None)
    assert verdict(found).endswith("The two also differ in problems, prompts, decoding.")
    for missing in ("problems", "prompts", "decoding"):
        allowed = {"problems", "prompts", "decoding"} - {missing}
        with pytest.raises(DataError, match=f"allow_different={missing}"):
            compare(rows, other, allow_different=allowed)


def test_result_follows_the_run_folder(make_sides: Any) -> None:
    found = compare(*make_sides(both=3, gained=12, lost=1, neither=4, type="age")).result()
    assert {
        "set": "test set",
        "calculator": False,
        "n": 20,
        "base": {"exact_match": 0.2},
        "tuned": {"exact_match": 0.75},
        "difference": 0.55,
        "confidence": 0.95,
        "gained": 12,
        "lost": 1,
    }.items() <= found.items()
    detectable = found["smallest_detectable_difference"]
    assert detectable == pytest.approx(0.5007, abs=1e-4)
    assert mcnemar_power(20, (0.65 + detectable) / 2, (0.65 - detectable) / 2) >= 0.8
    assert found["difference_low"] < 0.55 < found["difference_high"]
    assert found["by_type"]["age"]["gained"] == 12
    json.dumps(found, allow_nan=False)


def test_files_two_and_more(tmp_path: Path, make_sides: Any) -> None:
    before, better = make_sides(both=10, gained=9, neither=21)
    _, slightly = make_sides(both=10, gained=6, neither=24)
    _, same = make_sides(both=10, neither=30)
    paths = [tmp_path / f"{name}.jsonl" for name in ("base", "tuned", "small", "same")]
    for path, rows in zip(paths, (before, better, slightly, same), strict=True):
        write_rows(path, rows)

    (two,) = compare_files(paths[:2])
    assert two.labels == ("base", "tuned")
    assert two.overall == compare(before, better).overall

    three = compare_files(paths)
    assert [c.labels for c in three] == [("base", "tuned"), ("base", "small"), ("base", "same")]
    # raw 2/2^9, 2/2^6, 1; Holm: times 3, 2, 1
    assert [c.overall.mcnemar_p for c in three] == [2 / 2**9, 2 / 2**6, 1.0]
    assert [c.overall.holm_p for c in three] == [6 / 2**9, 4 / 2**6, 1.0]
    # On its own the second would count as shown (0.031); as one of three it does not (0.0625).
    assert verdict(compare(before, slightly)).endswith("a real gain.")
    text = table(three)
    assert text.splitlines()[-1] == (
        "Interval of exact match: Wilson; of a difference: paired score (Tango 1998). p: McNemar's "
        "exact test; Holm p: adjusted for the 3 comparisons made (Holm 1979)."
    )
    assert "real gain" in verdict(three[0])
    assert "adjusted for 3 comparisons = 0.012" in verdict(three[0])
    assert "real" not in verdict(three[1])
    assert len({len(line) for line in text.splitlines()[:6]}) == 1  # aligned
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[2].startswith("| base | 40 | 25.0 % | 14.2 to 40.2 |")
    assert lines[3].startswith("| tuned | 40 | 47.5 % | 32.9 to 62.5 | +22.5 |")
    assert "| 9 | 0 | 0.0039 | 0.012 |" in lines[3]
    assert len({line.count("|") for line in lines[:6]}) == 1


def test_each_model_is_also_compared_with_the_one_before_it(
    tmp_path: Path, make_sides: Any
) -> None:
    """base → SFT → RFT: three tests in one family, adjusted as statsmodels does it."""
    base, rft = make_sides(both=10, gained=9, neither=21)
    _, sft = make_sides(both=10, gained=3, neither=27)
    paths = [tmp_path / f"{name}.jsonl" for name in ("base", "sft", "rft")]
    for path, rows in zip(paths, (base, sft, rft), strict=True):
        write_rows(path, rows)
    found = compare_files(paths, labels=("base", "SFT", "RFT"), previous=True)
    assert [c.labels for c in found] == [("base", "SFT"), ("base", "RFT"), ("SFT", "RFT")]
    raw = [c.overall.mcnemar_p for c in found]
    assert raw == [2 / 2**3, 2 / 2**9, 2 / 2**6]
    adjusted = multipletests(raw, method="holm")[1]
    assert [c.overall.holm_p for c in found] == pytest.approx(list(adjusted), abs=1e-15)
    assert {c.tests for c in found} == {3}
    arms, steps, verdicts = table(found).split("\n\n")
    assert [line.split("|")[1].strip() for line in arms.splitlines()] == [
        "",
        "-" * 4,
        "base",
        "SFT",
        "RFT",
    ]
    lines = [" ".join(line.split()) for line in steps.splitlines()]
    assert lines[0].startswith("| against the one before | n | difference |")
    assert lines[2].startswith("| base → SFT | 40 | +7.5 |")
    assert lines[3].startswith("| SFT → RFT | 40 | +15.0 |")
    assert "| 6 | 0 | 0.031 | 0.062 |" in lines[3]
    assert len(verdicts.splitlines()) == 3 + 1
    assert len(compare_files(paths)) == 2  # not asked for
    with pytest.raises(ConfigError, match="the labels A, A, B are not all different"):
        compare_files(paths, labels=("A", "A", "B"))


def test_files_are_named_apart(tmp_path: Path, make_sides: Any) -> None:
    before, after = make_sides(gained=3)
    one, other = tmp_path / "one" / "base.jsonl", tmp_path / "other" / "base.jsonl"
    write_rows(one, before)
    write_rows(other, after)
    assert compare_files([one, other])[0].labels == (str(one), str(other))
    runs = [tmp_path / run / "predictions" / "tuned.jsonl" for run in ("small", "large")]
    for path in runs:
        write_rows(path, after)
    assert compare_files(runs)[0].labels == ("small/tuned", "large/tuned")
    assert compare_files([one, other], labels=["A", "B"])[0].labels == ("A", "B")
    with pytest.raises(ConfigError, match="needs two predictions files"):
        compare_files([one])
    with pytest.raises(ConfigError, match="1 labels given for 2 files"):
        compare_files([one, other], labels=["A"])
    with pytest.raises(DataError, match="not a predictions file"):
        compare_files([one, tmp_path / "none.jsonl"])
