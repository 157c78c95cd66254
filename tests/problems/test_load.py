from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from problem_rows import solved

from mathtune.config.schema import DataConfig
from mathtune.errors import DataError
from mathtune.problems import describe, load
from mathtune.records import Problem, Splits
from timing_for_tests import least_seconds

pytestmark = pytest.mark.usefixtures("no_data_dir")

Write = Callable[..., str]


def data(seed: int = 42, **config: Any) -> Splits:
    return load(DataConfig.model_validate(config), seed=seed)


def golds(problems: tuple[Problem, ...]) -> set[str]:
    return {problem.gold for problem in problems}


@pytest.fixture
def train(jsonl: Write) -> str:
    return jsonl("train.jsonl", [solved(i) for i in range(100)])


@pytest.fixture
def test_set(jsonl: Write) -> str:
    return jsonl("test.jsonl", [solved(i) for i in range(100, 120)])


def test_train_is_split_and_test_is_whole(train: str, test_set: str) -> None:
    splits = data(train=train, test=[test_set], validation_fraction=0.2)
    assert len(splits.train) + len(splits.validation) == 100
    assert not golds(splits.train.problems) & golds(splits.validation.problems)
    assert [p.gold for p in splits.test[0].problems] == [str(i) for i in range(100, 120)]
    assert splits.train.dropped == {} == splits.test[0].dropped


def test_validation_of_its_own_leaves_train_whole(jsonl: Write, train: str, test_set: str) -> None:
    own = jsonl("validation.jsonl", [solved(i) for i in (7, 8, 200)])
    splits = data(train=train, validation=[own], test=[test_set])
    assert golds(splits.validation.problems) == {"7", "8", "200"}
    assert len(splits.train) == 98
    assert splits.train.dropped == {"also in validation": 2}


def test_duplicates_are_dropped_and_counted(jsonl: Write, test_set: str) -> None:
    first = solved(1)
    spaced = {**first, "question": first["question"].upper().replace(" ", "  ")}
    path = jsonl("train.jsonl", [first, solved(2), spaced, first, solved(3)])
    splits = data(train=path, test=[test_set])
    assert len(splits.train) + len(splits.validation) == 3
    assert splits.train.dropped == {"duplicate": 2}


def test_other_solutions_to_a_question_stay_if_they_agree(jsonl: Write, test_set: str) -> None:
    question = solved(1)["question"]
    other = {"question": question, "answer": "0 + 1 = 1\n#### 1.00"}
    wrong = {"question": question, "answer": "1 + 1 = 2\n#### 2"}
    path = jsonl("train.jsonl", [solved(1), other, wrong, solved(2)])
    splits = data(train=path, test=[test_set])
    kept = [*splits.train.problems, *splits.validation.problems]
    assert sorted(p.gold for p in kept) == ["1", "1.00", "2"]
    assert splits.train.dropped == {"same question with a different final answer": 1}


def test_a_test_set_asks_each_question_once(jsonl: Write, train: str) -> None:
    path = jsonl("test.jsonl", [solved(200), solved(201), solved(200)])
    (found,) = data(train=train, test=[path]).test
    assert (len(found), found.dropped) == (2, {"duplicate question": 1})


def test_test_questions_are_dropped_from_train(jsonl: Write, train: str) -> None:
    other = {"question": solved(5)["question"].upper(), "answer": "another way\n#### 5"}
    path = jsonl("mine.jsonl", [solved(3), other, solved(300)])
    splits = data(train=train, test=[{"label": "mine", "sources": [path]}])
    assert len(splits.train) + len(splits.validation) == 98
    assert splits.train.dropped == {"also in test set 'mine'": 2}


def test_the_guard_covers_test_problems_beyond_the_limit(jsonl: Write, train: str) -> None:
    path = jsonl("test.jsonl", [solved(i) for i in range(40)])
    for config in (
        {"test": [{"path": path, "limit": 3}]},
        {"test": [path], "max_test_samples": 3},
    ):
        splits = data(train=train, **config)
        assert len(splits.test[0]) == 3
        assert len(splits.train) + len(splits.validation) == 60


def test_training_on_the_test_set_leaves_nothing_and_says_so(train: str) -> None:
    with pytest.raises(
        DataError, match=r"no train problem is left; dropped: also in test set .*: 100"
    ):
        data(train=train, test=[train])


TEST_QUESTION = (
    "Ann picks 12 ripe plums from the old tree behind the red barn and eats 3 of them. "
    "How many are left?"
)
NEAR_COPY = (
    "Ann picks 40 ripe plums from the old tree behind the red barn and eats 15 of them. How many?"
)


@pytest.fixture
def near_copy(jsonl: Write) -> dict[str, Any]:
    rows = [solved(i) for i in range(50)] + [{"question": NEAR_COPY, "answer": "#### 25"}]
    test = [{"question": TEST_QUESTION, "answer": "#### 9"}]
    return {"train": jsonl("train.jsonl", rows), "test": [jsonl("test.jsonl", test)]}


def test_near_copies_of_test_questions_are_dropped(near_copy: dict[str, Any]) -> None:
    splits = data(**near_copy)
    assert len(splits.train) + len(splits.validation) == 50
    assert splits.train.dropped == {"shares 13 words with a test problem, ignoring numbers": 1}


def test_near_copies_can_be_an_error(near_copy: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="1 of 51 train problems share 13 words") as caught:
        data(**near_copy, contamination="error")
    assert "data.contamination=drop" in str(caught.value)


def test_near_copies_can_be_kept_and_reported(near_copy: dict[str, Any]) -> None:
    splits = data(**near_copy, contamination="report")
    assert len(splits.train) + len(splits.validation) == 51
    found = describe(splits)["train"]
    assert found["dropped"] == {}
    assert list(found["kept"].values()) == [1]


def test_short_sums_are_no_near_copies(jsonl: Write) -> None:
    """Masked, each of them reads "what is #"."""
    rows = [{"question": f"What is {i} + 1?", "answer": f"#### {i + 1}"} for i in range(30)]
    splits = data(train=jsonl("train.jsonl", rows[:20]), test=[jsonl("test.jsonl", rows[20:])])
    assert len(splits.train) + len(splits.validation) == 20


def test_generated_test_sets_are_kept_apart_by_part_not_by_wording() -> None:
    """Problems of one template share all windows of 13 words, and must not drop each other."""
    new = {"generated": "problems", "types": "new", "n": 300}
    splits = data(
        train=[new],
        validation=[{**new, "n": 50, "seed": 1001}],
        test=[{"label": "new", "sources": [{**new, "part": "test", "n": 50, "seed": 2001}]}],
    )
    assert len(splits.train) > 290 and len(splits.validation) == 50
    texts = [
        {problem.question for problem in part.problems}
        for part in (splits.train, splits.validation, splits.test[0])
    ]
    assert not texts[0] & texts[1] and not texts[0] & texts[2] and not texts[1] & texts[2]


def test_two_equal_generated_sources_give_different_problems() -> None:
    source = {"generated": "problems", "n": 40}
    splits = data(train=[source, source], test=[{**source, "part": "test"}])
    assert len(splits.train) + len(splits.validation) > 70
    other = data(seed=43, train=[source, source], test=[{**source, "part": "test"}])
    assert other.train.fingerprint != splits.train.fingerprint


def test_generated_facts_may_repeat() -> None:
    splits = data(
        train=[{"generated": "facts", "n": 3000}],
        test=[{"generated": "problems", "part": "test", "n": 10}],
    )
    assert len(splits.train) + len(splits.validation) == 3000
    assert len({p.question for p in splits.train.problems}) < len(splits.train)


def test_one_set_is_split_by_limit_and_skip(train: str) -> None:
    splits = data(
        train={"path": train, "limit": 70},
        validation_fraction=0.1,
        test=[{"path": train, "skip": 70}],
    )
    assert len(splits.train) + len(splits.validation) == 70
    assert len(splits.test[0]) == 30
    assert splits.train.dropped == {}


def test_limits(train: str, test_set: str) -> None:
    splits = data(
        train=train,
        test=[test_set],
        validation_fraction=0.2,
        max_train_samples=10,
        max_validation_samples=5,
        max_test_samples=7,
    )
    assert (len(splits.train), len(splits.validation), len(splits.test[0])) == (10, 5, 7)
    ten = [p.gold for p in splits.train.problems]
    assert ten == sorted(ten, key=int)  # original order
    more = data(train=train, test=[test_set], validation_fraction=0.2, max_train_samples=20)
    assert set(ten) < golds(more.train.problems)


def test_sources_come_one_after_the_other(jsonl: Write, test_set: str) -> None:
    a = jsonl("a.jsonl", [solved(i) for i in range(20)])
    b = jsonl("b.jsonl", [solved(i) for i in range(20, 60)])
    splits = data(train=[b, {"path": a, "limit": 4}], test=[test_set], validation_fraction=0.001)
    sources = [p.source for p in splits.train.problems]
    assert sources == sorted(sources, reverse=True)  # b before a
    assert len(splits.train) + len(splits.validation) == 44


def test_the_same_file_in_another_order_gives_the_same_sets(jsonl: Write, test_set: str) -> None:
    rows = [solved(i) for i in range(60)]
    one = data(train=jsonl("a.jsonl", rows), test=[test_set])
    two = data(train=jsonl("b.jsonl", rows[::-1]), test=[test_set])
    assert one.train.fingerprint == two.train.fingerprint
    assert one.validation.fingerprint == two.validation.fingerprint


def test_describe_has_the_manifests_form(train: str, test_set: str) -> None:
    splits = data(train=train, test=[{"label": "mine", "sources": [test_set]}])
    found = describe(splits)
    assert found["train"]["n"] + found["validation"]["n"] == 100
    assert found["train"]["sources"] == [train]
    assert found["test"] == [
        {
            "label": "mine",
            "n": 20,
            "fingerprint": splits.test[0].fingerprint,
            "sources": [test_set],
            "dropped": {},
            "read_as": [
                f"{test_set}: read as question and answer: question from question, solution from "
                "answer, final answer from the end of the solution"
            ],
        }
    ]


def test_gsm8k_loads_in_two_seconds(real_data: Path) -> None:
    splits = data(train="gsm8k", test=["gsm8k", "svamp"])
    # 8 training questions repeat 13 words of a GSM8K test question and 1 of a SVAMP question
    assert splits.train.dropped == {"shares 13 words with a test problem, ignoring numbers": 9}
    assert len(splits.train) + len(splits.validation) == 7473 - 9
    assert len(splits.test[0]) == 1319 and len(splits.test[1]) == 1000
    seconds = least_seconds(lambda: data(train="gsm8k", test=["gsm8k", "svamp"]), enough=2, tries=3)
    assert seconds < 4, f"{seconds:.1f} s"  # 1.5 s measured; twice on a busy machine


def test_weights_mix_sources_by_content_hash_and_count_what_is_left_out(
    jsonl: Write, train: str, test_set: str
) -> None:
    small = jsonl("small.jsonl", [solved(i) for i in range(200, 220)])
    sources = [{"path": train, "weight": 1}, {"path": small, "weight": 0.5}]
    mixed = {"train": sources, "test": [test_set], "validation_fraction": 0.05}
    splits = data(**mixed)
    used = [*splits.train.problems, *splits.validation.problems]
    assert sum(problem.source == train for problem in used) == 40
    assert sum(problem.source == small for problem in used) == 20
    assert splits.train.dropped == {f"beyond the weight of source 1 ({train})": 60}
    again = data(**mixed)
    assert again.train.fingerprint == splits.train.fingerprint
    smaller = data(
        **{**mixed, "train": [{"path": train, "weight": 1}, {**sources[1], "limit": 10}]}
    )
    kept = [*smaller.train.problems, *smaller.validation.problems]
    assert {problem.id for problem in kept} < {problem.id for problem in used}
    assert len(kept) == 30


def test_a_weight_for_one_source_of_two_is_refused(train: str, test_set: str) -> None:
    sources = [{"path": train, "weight": 1}, {"path": test_set}]
    with pytest.raises(ValueError, match="1 of 2 sources of train have a weight"):
        DataConfig.model_validate({"train": sources, "test": [test_set]})
    weighed = [{"path": test_set, "weight": 1}]
    with pytest.raises(ValueError, match="test sets take limit instead"):
        DataConfig.model_validate({"train": train, "test": weighed})
