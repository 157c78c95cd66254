from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from problem_rows import solved

from mathtune.config.schema import SourceConfig
from mathtune.errors import DataError
from mathtune.problems.known_datasets import KNOWN_SETS, find_known
from mathtune.problems.reading import Loaded, Role
from mathtune.problems.sources import read_source
from mathtune.records import content_id

pytestmark = pytest.mark.usefixtures("no_data_dir")

Write = Callable[..., str]


def read(role: Role = Role.TRAIN, seed: int = 42, **config: Any) -> Loaded:
    return read_source(SourceConfig(**config), role, seed)


def message(role: Role = Role.TRAIN, **config: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(role, **config)
    text = str(caught.value)
    assert "\n" not in text
    return text


# --- Files of one's own ---


def test_own_file_with_a_field_mapping(jsonl: Write) -> None:
    row = {"prompt": "How many?", "response": "2+2=4\n4+1=5\n#### 5", "topic": "sum", "extra": [1]}
    path = jsonl("own.jsonl", [row])
    fields = {"question": "prompt", "answer": "response", "type": "topic"}
    (problem,) = read(path=path, fields=fields).problems
    assert (problem.question, problem.answer, problem.gold) == ("How many?", row["response"], "5")
    assert (problem.type, problem.steps, problem.source) == ("sum", 2, path)
    assert problem.id == content_id("How many?", row["response"])


def test_own_csv_json_and_parquet_give_the_same_problems(tmp_path: Path, jsonl: Write) -> None:
    import csv

    import pyarrow
    from pyarrow import parquet

    rows = [solved(1), solved(2)]
    paths = [jsonl("a.jsonl", rows)]
    paths += [str(tmp_path / name) for name in ("b.json", "c.csv", "d.parquet")]
    Path(paths[1]).write_text(json.dumps(rows))
    with open(paths[2], "w", newline="") as file:
        writer = csv.DictWriter(file, ["question", "answer"])
        writer.writeheader()
        writer.writerows(rows)
    parquet.write_table(pyarrow.Table.from_pylist(rows), paths[3])
    found = [[(p.id, p.gold, p.steps) for p in read(path=path).problems] for path in paths]
    assert found == [[(content_id(**row), str(n), 1) for n, row in enumerate(rows, 1)]] * 4


@pytest.mark.parametrize(("value", "gold"), [(51.0, "51"), (7, "7"), ("51.0", "51"), (2.5, "2.5")])
def test_a_numeric_gold_column_loses_the_decimals_of_its_format(
    jsonl: Write, value: object, gold: str
) -> None:
    path = jsonl("own.jsonl", [{"question": "q", "gold": value}])
    (problem,) = read(path=path).problems
    assert (problem.gold, problem.answer) == (gold, f"#### {gold}")


def test_a_missing_column_names_those_there_are(jsonl: Write) -> None:
    path = jsonl("own.jsonl", [{"questions": "q", "answer": "#### 1"}])
    text = message(path=path)
    assert f"{path}, line 1 has no column 'question'; did you mean 'questions'?" in text
    assert "Its columns: questions, answer." in text and "fields: {question: questions}" in text
    path = jsonl("own.jsonl", [{"question": "q", "completion": "#### 1"}])
    assert "no column 'answer'. Its columns" in message(path=path)
    assert "fields: {answer: completion}" in message(path=path)


def test_a_mistyped_mapping_is_named(jsonl: Write) -> None:
    path = jsonl("own.jsonl", [{"prompt": "q", "answer": "#### 1"}])
    text = message(path=path, fields={"question": "promt"})
    assert "no column 'promt'; did you mean 'prompt'?" in text


def test_a_cell_that_is_no_text_is_named(jsonl: Write) -> None:
    path = jsonl("own.jsonl", [solved(1), {"question": ["a", "list"], "answer": "#### 1"}])
    text = message(path=path)
    assert "list in column 'question' where text or a number is needed: 1 (line 2)" in text


def test_rows_without_a_number_are_refused_with_lines_and_count(jsonl: Write) -> None:
    rows: list[dict[str, Any]] = [solved(i) for i in range(10)]
    for line in (2, 4, 5, 9):
        rows[line - 1]["answer"] = "He has none left."
    rows[5]["answer"] = "#### many"
    path = jsonl("own.jsonl", rows)
    text = message(path=path)
    assert f"{path} has 5 rows that cannot be used" in text
    assert "no final answer: 4 (line 2, line 4, line 5, …)" in text
    assert "final answer without a number: 1 (line 6)" in text
    assert "End each solution with a line such as '#### 42'" in text


def test_a_gold_that_contradicts_its_solution_is_refused(jsonl: Write) -> None:
    path = jsonl(
        "own.jsonl", [solved(1), {"question": "q", "answer": "2+2=4\n#### 4", "gold": "5"}]
    )
    text = message(path=path)
    assert "solution ends in a different number than the gold answer: 1 (line 2)" in text


def test_an_empty_question_is_refused(jsonl: Write) -> None:
    path = jsonl("own.jsonl", [solved(1), {"question": " ", "answer": "#### 4"}])
    assert "no question: 1" in message(path=path)


def test_half_a_surrogate_pair_is_named(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"question": "a \\ud83d b", "answer": "#### 1"}\n')
    assert "\\ud83d in it, half of a surrogate pair and not a character: 1 (line 1)" in message(
        path=str(path)
    )


def test_a_symbolic_gold_passes(jsonl: Write) -> None:
    path = jsonl("own.jsonl", [{"question": "q", "answer": "So it is $\\boxed{\\frac{\\pi}{2}}$."}])
    assert read(path=path).problems[0].gold == "\\frac{\\pi}{2}"


def test_split_of_a_single_file_has_no_meaning(jsonl: Write) -> None:
    assert "split=test has no meaning" in message(path=jsonl("a.jsonl", [solved(1)]), split="test")


# --- Known sets in their published format ---


def test_names_and_hub_ids_find_the_same_set() -> None:
    assert find_known("gsm8k") is find_known("openai/gsm8k") is KNOWN_SETS["gsm8k"]
    assert find_known("openai/gsm8k", "socratic") is KNOWN_SETS["gsm8k-socratic"]
    assert find_known("gsm8k", "socratic") is KNOWN_SETS["gsm8k-socratic"]
    assert find_known("microsoft/orca-math-word-problems-200k") is KNOWN_SETS["orca-math"]
    assert find_known("somebody/else") is None


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    text = message(name="gsm8")
    assert "no set is called 'gsm8'; did you mean 'gsm8k'?" in text and "orca-math" in text


def test_an_unknown_subset_is_answered_with_those_there_are() -> None:
    text = message(name="gsm8k", subset="socratc")
    assert "gsm8k has no subset 'socratc'; did you mean 'socratic'?" in text
    assert find_known("orca-math", "default") is KNOWN_SETS["orca-math"]
    assert (
        find_known("MU-NLPC/Calc-mawps", "original-splits") is None
    )  # the hub knows more than we do


def test_a_revision_has_no_meaning_for_a_local_file(jsonl: Write) -> None:
    path = jsonl("a.jsonl", [solved(1)])
    assert "asks for a revision on the hub" in message(name="gsm8k@v1", path=path)


def test_an_unknown_split_is_answered_with_those_there_are() -> None:
    text = message(name="gsm8k", split="tset")
    assert "gsm8k has no split 'tset'; did you mean 'test'?" in text
    assert "gsm8k:train or gsm8k:test" in text


def test_the_test_split_is_never_the_default_for_validation() -> None:
    assert "leave data.validation empty" in message(Role.VALIDATION, name="gsm8k")


@pytest.mark.parametrize("name", ["gsm-symbolic", "gsm-symbolic-p2", "gsm-plus", "gsm-hard"])
@pytest.mark.parametrize("role", [Role.TRAIN, Role.VALIDATION])
def test_rewritten_gsm8k_test_questions_are_no_training_data(name: str, role: Role) -> None:
    assert f"{name} is made of GSM8K test questions" in message(role, name=name, split="test")


@pytest.mark.parametrize("file", ["train.jsonl", "gsm8k/train.jsonl"])
def test_gsm8k_from_a_folder(jsonl: Write, tmp_path: Path, file: str) -> None:
    jsonl(file, [solved(1), solved(2)])
    loaded = read(name="gsm8k", path=str(tmp_path))
    assert [p.gold for p in loaded.problems] == ["1", "2"]
    assert loaded.problems[0].source == "gsm8k/main:train (local file)"
    assert "holds no test split of gsm8k; it must hold one of test.jsonl" in message(
        Role.TEST, name="gsm8k", path=str(tmp_path)
    )


def test_gsm8k_and_orca_math_as_the_hub_stores_them(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    def write(name: str, rows: list[dict[str, str]]) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / name)

    write("gsm8k/main/train-00000-of-00001.parquet", [solved(1)])
    write("gsm8k/socratic/train-00000-of-00001.parquet", [solved(2)])
    write("orca/data/train-00000-of-00002.parquet", [solved(3)])
    write("orca/data/train-00001-of-00002.parquet", [solved(4)])
    gsm8k, orca = str(tmp_path / "gsm8k"), str(tmp_path / "orca")
    assert [p.gold for p in read(name="gsm8k", path=gsm8k).problems] == ["1"]
    (socratic,) = read(name="gsm8k-socratic", path=gsm8k).problems
    assert (socratic.gold, socratic.source) == ("2", "gsm8k/socratic:train (local file)")
    assert [p.gold for p in read(name="orca-math", path=orca).problems] == ["3", "4"]


def test_orca_math_prose_gives_gold_answers_and_counts_the_rest(jsonl: Write) -> None:
    """The first answer ends as the set's card quotes it."""
    answers = [
        "If he finished in 5th place, 5 - 1 = 4.\n\nTherefore, 4 people crossed the finish line "
        "faster than him.",
        "The letters cannot be told apart, so no answer exists.",
        "Half of $1,450 is $725.\n\nSo the answer is $725.",
    ]
    rows = [{"question": f"q{i}", "answer": answer} for i, answer in enumerate(answers)]
    path = jsonl("train.jsonl", rows)
    loaded = read(name="orca-math", path=path)
    assert [p.gold.lstrip("$") for p in loaded.problems] == ["4", "725"]
    assert loaded.dropped == {
        f"no final answer (first: {path}, line 2)": 1,
        "kept: final answer taken from free prose": 1,  # the first; the third is marked
    }
    assert loaded.problems[0].answer == answers[0]


def test_nothing_usable_is_an_error_even_where_rows_are_dropped(jsonl: Write) -> None:
    path = jsonl("train.jsonl", [{"question": "q", "answer": "none"}])
    assert "has no usable problem (no final answer" in message(name="orca-math", path=path)


def test_svamp_rows(tmp_path: Path) -> None:
    row = {
        "ID": "chal-1",
        "Body": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each",
        "Question": "How much do you have to pay to buy each pack?",
        "Equation": "( 76.0 - 25.0 )",
        "Answer": 51.0,
        "Type": "Subtraction",
    }
    (tmp_path / "SVAMP.json").write_text(json.dumps([row]))
    (problem,) = read(Role.TEST, name="svamp", path=str(tmp_path)).problems
    assert problem.question == f"{row['Body']} {row['Question']}"
    assert (problem.gold, problem.type) == ("51", "Subtraction")
    assert problem.answer == "76-25 = <<76-25=51>>51\n#### 51"


def test_asdiv_units_and_double_answers(jsonl: Write) -> None:
    row = {"body": "Ann had 7.", "question": "Now?", "solution_type": "Add", "formula": "7+2=9"}
    answers = ["9 (apples)", "5 (hours); 20 (minutes)", "9"]
    path = jsonl("v.jsonl", [{**row, "body": f"{i}", "answer": a} for i, a in enumerate(answers)])
    text = message(Role.TEST, name="asdiv", path=path)
    assert f"no final answer: 1 ({path}, line 2)" in text
    path = jsonl("v.jsonl", [{**row, "answer": answers[0]}])
    (problem,) = read(Role.TEST, name="asdiv", path=path).problems
    assert (problem.gold, problem.answer) == ("9", "7+2 = <<7+2=9>>9\n#### 9")


def test_published_format_of_an_unknown_set_is_not_guessed(jsonl: Write) -> None:
    path = jsonl("a.jsonl", [solved(1)])
    assert "'some/set' is not a known set" in message(name="some/set", path=path)


# --- MATHTUNE_DATA_DIR ---


def test_the_data_folder_is_read_and_named(
    jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jsonl("gsm8k/test.jsonl", [solved(5)])
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(tmp_path))
    (problem,) = read(Role.TEST, name="openai/gsm8k").problems
    assert (problem.gold, problem.source) == ("5", "gsm8k/main:test (local file)")


def test_a_data_folder_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(tmp_path / "gone"))
    assert "gone is not a folder; correct or unset it" in message(name="gsm8k")


def test_the_published_files(real_data: Path) -> None:
    """Sizes as published; not one gold answer of the three sets is refused by the grader."""
    for name, role, n in (
        ("gsm8k", Role.TRAIN, 7473),
        ("gsm8k", Role.TEST, 1319),
        ("gsm8k-socratic", Role.TEST, 1319),
        ("svamp", Role.TEST, 1000),
    ):
        loaded = read(role, name=name)
        assert (len(loaded.problems), loaded.dropped) == (n, {}), name
        assert all(
            problem.gold and problem.source.endswith("(local file)") for problem in loaded.problems
        )
    first = read(Role.TEST, name="gsm8k").problems[0]
    assert first.question.startswith("Janet’s ducks lay 16 eggs") and first.gold == "18"
    assert first.steps == 2


# --- Generated ---


def test_generated_sources_take_their_seed_and_types() -> None:
    one = read(generated="problems", n=20, types="new", seed=1)
    assert one.generated and len(one.problems) == 20
    assert one.problems == read(generated="problems", n=20, types="new", seed=1).problems
    assert one.problems != read(generated="problems", n=20, types="new", seed=2).problems
    assert (
        read(seed=9, generated="problems", n=5).problems
        == read(generated="problems", n=5, seed=9).problems
    )
    base = read(generated="problems", n=20, types="base").problems
    assert not {p.type for p in base} & {p.type for p in one.problems}
    averages = read(generated="problems", n=5, types=["average"]).problems
    assert {p.type for p in averages} == {"average"}
    assert read(generated="problems", n=20, types=["base"]).problems == base
    mixed = read(generated="problems", n=200, types=["base", "average"]).problems
    assert {p.type for p in base} | {"average"} <= {p.type for p in mixed}
    assert "did you mean 'base'?" in message(generated="problems", n=1, types=["bse"])


def test_generated_questions_are_the_problems_without_solutions() -> None:
    whole = read(generated="problems", n=5, seed=3).problems
    bare = read(generated="questions", n=5, seed=3).problems
    assert [p.question for p in bare] == [p.question for p in whole]
    assert {(p.answer, p.gold, p.steps) for p in bare} == {("", "", None)}
    assert bare[0].id == content_id(bare[0].question)
    assert "cannot be a test set" in message(Role.TEST, generated="questions", n=5)


def test_generated_facts() -> None:
    facts = read(generated="facts", n=50).problems
    assert len(facts) == 50 and {p.source for p in facts} == {"generated facts"}
