"""Data as other tools write it: each file loads as it says, or is refused in one sentence."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathtune.config.schema import SourceConfig
from mathtune.errors import DataError
from mathtune.problems.reading import Loaded, Role
from mathtune.problems.sources import read_source

pytestmark = pytest.mark.usefixtures("no_data_dir")

CASES = Path(__file__).parent / "cases"
Write = Callable[..., str]


def read(path: str | Path, role: Role = Role.TRAIN, **config: Any) -> Loaded:
    return read_source(SourceConfig(path=str(path), **config), role, 42)


def message(path: str | Path, role: Role = Role.TRAIN, **config: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, role, **config)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 900
    return text


# --- The files of the cases folder ---------------------------------------------------------------

MIA = "Mia has 3 apples and buys 5 more apples at shop number 21. How many has she now?"
SOLVED = "She has 3+5=<<3+5=8>>8.\n#### 8"


@pytest.mark.parametrize(
    ("name", "n", "first", "read_as"),
    [
        (
            "data-added-tokens.jsonl",
            12,
            ("Mia has 3 zzqx and 4 wwvk at stall 27. How many?", "3+4=7\n#### 7", "7"),
            "question and answer: question from question, solution from answer",
        ),
        (
            "data-alpaca.jsonl",
            6,
            (
                "Solve the problem.\nNora has 3 boxes with 4 pens at stall 9. How many pens?",
                "3*4=12\n#### 12",
                "12",
            ),
            "Alpaca: question from instruction and input, solution from output",
        ),
        ("data-array.jsonl", 12, (MIA, SOLVED, "8"), "question and answer"),
        ("data-pretty.json", 12, (MIA, SOLVED, "8"), "question and answer"),
        ("data-plain.jsonl.gz", 12, (MIA, SOLVED, "8"), "question and answer"),
        (
            "data-float-gold.jsonl",
            1,
            ("How many dollars?", "#### 0.3", "0.3"),
            "question and gold: question from question, final answer from gold",
        ),
        (
            "data-metamath.jsonl",
            6,
            (
                "Nora has x boxes with 4 pens each and counts 12 pens. What is x?",
                "x*4=12 so x=3.\nThe answer is: 3",
                "3",
            ),
            "MetaMathQA: question from query, solution from response, final answer from the end "
            "of the solution, type from type; not used: original_question",
        ),
        (
            "data-openmath.jsonl",
            12,
            (MIA, "So \\boxed{8}.", "8"),
            "OpenMathInstruct-2: question from problem, solution from generated_solution, final "
            "answer from expected_answer, type from problem_source",
        ),
        (
            "data-pandas-index.csv",
            1,
            ("How many cars are here?", "#### 3", "3"),
            "question and answer",
        ),
        (
            "data-sharegpt.jsonl",
            12,
            (MIA, SOLVED, "8"),
            "ShareGPT: question from conversations.user, solution from conversations.assistant",
        ),
        (
            "data-verl.parquet",
            12,
            (MIA, "#### 8", "8"),
            "verl: question from prompt.user, final answer from reward_model.ground_truth",
        ),
    ],
)
def test_a_file_loads_and_says_how_it_was_read(
    name: str, n: int, first: tuple[str, str, str], read_as: str
) -> None:
    loaded = read(CASES / name)
    problem = loaded.problems[0]
    assert (len(loaded.problems), loaded.dropped) == (n, {})
    assert (problem.question, problem.answer, problem.gold) == first
    assert loaded.read_as.startswith(f"{CASES / name}: read as {read_as}")


def test_a_git_lfs_pointer_is_named() -> None:
    text = message(CASES / "data-lfs-pointer.jsonl")
    assert "is a Git LFS pointer, not the data; fetch the file itself with git lfs pull" in text


def test_a_gold_in_free_prose_is_refused_unless_the_source_is_declared_as_prose() -> None:
    """The last number of "Nora has 12 pens in 3 boxes." is 3."""
    path = CASES / "data-prose.jsonl"
    text = message(path)
    assert "final answer only in free prose: 6 (line 1, line 2, line 3, …)" in text
    assert "declare the source with prose: true" in text
    loaded = read(path, prose=True)
    assert [problem.gold for problem in loaded.problems] == [""] * 6  # trained on, never graded
    assert loaded.problems[0].answer == "Nora has 12 pens in 3 boxes."
    why = "uncertain final answer in free prose, not used for exact match"
    assert loaded.dropped == {f"kept: {why}": 6}
    assert f"no usable problem ({why}: 6)" in message(path, Role.TEST, prose=True)


def test_a_sure_gold_in_declared_prose_is_taken_and_counted(jsonl: Write) -> None:
    answers = {
        "Four times three. So Nora has 12 pens. She is glad.": "12",
        "3 times 4 is 12.\nNora has 1,200 pens.": "1,200",
        "Nora has 12 pens in three boxes.": "",
        "That is 12 of 40.": "",
        "The answer is 7 of 9.": "7",
    }
    path = jsonl("a.jsonl", [{"question": f"q {a}", "answer": a} for a in answers])
    loaded = read(path, prose=True)
    assert [problem.gold for problem in loaded.problems] == [*answers.values()]
    assert loaded.dropped == {
        "kept: final answer taken from free prose": 2,
        "kept: uncertain final answer in free prose, not used for exact match": 2,
    }
    tested = read(path, Role.TEST, prose=True)
    assert [problem.gold for problem in tested.problems] == ["12", "1,200", "7"]
    assert "not used for exact match" in " ".join(tested.dropped)


def test_the_final_answer_of_a_solution_with_a_thought_stands_behind_it(jsonl: Write) -> None:
    """The thoughts say "The answer is 99? no"; what follows them is prose."""
    path = CASES / "data-thinking.jsonl"
    assert "final answer only in free prose: 6" in message(path)
    for role in (Role.TRAIN, Role.TEST):
        loaded = read(path, role, prose=True)
        assert [p.gold for p in loaded.problems] == ["12", "20", "30", "42", "56", "72"]
    rows = [{"question": "q", "answer": "<think>\n#### 99\n</think>\nIt is so.\n#### 12"}]
    rows += [{"question": "r", "answer": "<think>\nSo \\boxed{99}.\n</think>\n12"}]
    loaded = read(jsonl("a.jsonl", rows))
    assert [problem.gold for problem in loaded.problems] == ["12", "12"]
    assert loaded.problems[0].answer == rows[0]["answer"]  # the thought is trained on
    open_ended = [{"question": "q", "answer": "<think>\n#### 99"}]
    assert "no final answer: 1" in message(jsonl("b.jsonl", open_ended))


def test_a_solution_in_the_column_of_final_answers_is_prose_too(jsonl: Write) -> None:
    row = {"question": "q", "gold": "So Nora has 12 pens in 3 of her boxes, which is all."}
    assert "final answer only in free prose: 1" in message(jsonl("a.jsonl", [row]))
    row["gold"] = "She has 3*4=12 pens in her boxes.\n#### 12"
    assert read(jsonl("b.jsonl", [row])).problems[0].gold == "12"


# --- Conversations -------------------------------------------------------------------------------


def chat(*turns: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"role": role, "content": text} for role, text in turns]


USER, MODEL = ("user", "How many?"), ("assistant", "2+3=5\n#### 5")


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": chat(USER, MODEL)}, "messages"),
        ({"messages": chat(USER, MODEL), "gold": 5}, "messages"),
        (
            {"messages": chat(("user", [{"type": "text", "text": "How many?"}]), MODEL)},
            "messages",
        ),
        ({"conversations": chat(USER, ("model", MODEL[1]))}, "ShareGPT"),
        (
            {"conversation": [{"from": f, "value": v} for f, v in (USER, ("gpt", MODEL[1]))]},
            "ShareGPT",
        ),
        ({"prompt": chat(USER), "completion": chat(MODEL)}, "conversational prompt and completion"),
        ({"prompt": "How many?", "completion": MODEL[1]}, "prompt and completion"),
        ({"prompt": chat(USER), "solution": MODEL[1]}, "prompt and solution"),
        ({"prompt": chat(USER), "answer": 5}, "prompt and answer"),
        ({"instruction": "How many?", "input": None, "output": MODEL[1]}, "Alpaca"),
        ({"instruction": "How many?", "output": MODEL[1]}, "Alpaca"),
        ({"problem": "How many?", "solution": MODEL[1], "answer": "5"}, "problem, solution and"),
        ({"problem": "How many?", "answer": "5", "url": "x"}, "problem and answer"),
        (
            {"question": "How many?", "generated_solution": MODEL[1], "expected_answer": "5"},
            "OpenMathInstruct-1",
        ),
        (
            {
                "prompt": chat(("user", "How many? Think step by step.")),
                "reward_model": {"style": "rule", "ground_truth": "5"},
                "extra_info": {"question": "How many?", "answer": MODEL[1], "index": 0},
                "data_source": "openai/gsm8k",
            },
            "verl, with the plain question and solution in extra_info",
        ),
        ({"prompt": chat(USER), "reward_model": {"ground_truth": ["5"]}}, "verl"),
    ],
)
def test_formats_of_other_tools(jsonl: Write, row: dict[str, Any], name: str) -> None:
    loaded = read(jsonl("a.jsonl", [row]))
    (problem,) = loaded.problems
    assert (problem.question, problem.gold, dict(loaded.dropped)) == ("How many?", "5", {})
    assert problem.answer in (MODEL[1], "5", "#### 5")
    assert f"read as {name}" in loaded.read_as


def test_a_system_message_is_counted_and_not_part_of_the_question(jsonl: Write) -> None:
    rows = [
        {"messages": chat(("system", "Be brief."), USER, MODEL)},
        {"messages": chat(USER, MODEL)},
    ]
    loaded = read(jsonl("a.jsonl", rows))
    assert [problem.question for problem in loaded.problems] == ["How many?"] * 2
    assert loaded.dropped == {"kept: system message not used (prompt.system sets it)": 1}


def test_conversations_that_are_no_problem_are_reported_together(jsonl: Write) -> None:
    rows = [
        {"messages": chat(USER, MODEL)},
        {"messages": chat(USER, MODEL, USER, MODEL)},
        {"messages": chat(MODEL, USER)},
        {"messages": chat(USER, ("tool", "5"), MODEL)},
        {"messages": chat(USER, ("assistant", None))},
        {"messages": chat(("user", [{"type": "image"}]), MODEL)},
        {"messages": chat(USER)},
        {"messages": []},
    ]
    text = message(jsonl("a.jsonl", rows))
    for reason in (
        "has 7 rows that cannot be used",
        "a conversation of several turns: 1 (line 2)",
        "a conversation that does not begin with the user's question: 1 (line 3)",
        "a turn of 'tool' in the conversation: 1 (line 4)",
        "a turn without text in the conversation: 1 (line 5)",
        "a turn that is not only text (an image, a tool call) in a conversation: 1 (line 6)",
        "no final answer: 1 (line 7)",
        "and for 1 other reason",
        "Write each question with its solution as a row of its own",
    ):
        assert reason in text or reason.lower() in text, reason


def test_a_conversation_in_a_column_of_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([["", "messages"], [0, json.dumps(chat(USER, MODEL))]])
    assert read(path).problems[0].question == "How many?"


# --- Columns -------------------------------------------------------------------------------------


def test_fields_come_before_what_is_recognised_and_go_inside_columns(jsonl: Write) -> None:
    row = json.loads((CASES / "data-metamath.jsonl").read_text().splitlines()[0])
    path = jsonl("a.jsonl", [row])
    loaded = read(path, fields={"question": "original_question"})
    assert loaded.problems[0].question == row["original_question"]
    assert "read as MetaMathQA, with fields: question from original_question" in loaded.read_as
    row = {"task": {"text": "How many?"}, "talk": chat(USER, MODEL), "a.b": "5"}
    fields = {"question": "task.text", "answer": "talk.assistant", "gold": "a.b"}
    (problem,) = read(jsonl("b.jsonl", [row]), fields=fields).problems
    assert (problem.question, problem.answer, problem.gold) == ("How many?", MODEL[1], "5")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "Question: …"}, "One text cannot be split into question and solution"),
        ({"data": [{"question": "q"}]}, "Column 'data' holds a list of 1 rows; write that list"),
        ({"question": {"0": "q"}, "answer": {"0": "a"}}, "orient='records', lines=True"),
        (
            {"question": "Which?", "choices": ["3", "4"], "answer": 1},
            "has answer options in column 'choices', which would be left out",
        ),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, "{question: prompt, answer: chosen}"),
        ({"question": "q", "gold": True}, "bool in column 'gold' where text or a number"),
        ({"question": "q", "gold": float("nan")}, "no final answer: 1"),
        ({"question": "q", "gold": {"x": 1}}, "dict in column 'gold'"),
        ({"question": ["q", "r"], "answer": "#### 1"}, "list in column 'question'"),
        ({"question": "q", "answer": [["#### 1"]]}, "list in column 'answer'"),
    ],
)
def test_rows_that_are_no_problems_get_their_sentence(
    jsonl: Write, row: dict[str, Any], said: str
) -> None:
    assert said in message(jsonl("a.jsonl", [row]))


@pytest.mark.parametrize(
    ("gold", "wanted"),
    [
        (0.1 + 0.2, "0.3"),
        ("2.0000000000000004", "2"),
        (1e20, "100000000000000000000"),
        (10**40, "1" + "0" * 40),
        (2 / 3, "0.666666666667"),
        ("$1,450.50", "$1,450.50"),
        ("33.33", "33.33"),
        ("12 pens", "12 pens"),
        ("\\frac{\\pi}{2}", "\\frac{\\pi}{2}"),
    ],
)
def test_golds_lose_what_a_file_format_did_to_them_and_nothing_else(
    jsonl: Write, gold: object, wanted: str
) -> None:
    assert read(jsonl("a.jsonl", [{"question": "q", "gold": gold}])).problems[0].gold == wanted


def test_faults_of_many_kinds_are_reported_at_once(tmp_path: Path) -> None:
    good = '{"question": "q", "answer": "#### 1"}'
    lines = [good, "{broken", '{"question": "a", "question": "b"}', good, '"text"', "{broken too"]
    lines += ['{"question": "q", "answer": "none"}', '{"question": "", "answer": "#### 2"}']
    lines += [f'{{"question": "q", "gold": {"9" * 5000}}}']
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(lines))
    text = message(path)
    assert "has 7 rows that cannot be used (not JSON: 4 (line 2: Expecting property name" in text
    assert "line 3: key 'question' appears twice" in text
    assert "not a JSON object: 1 (line 5:" in text
    assert "no final answer: 1 (line 7)" in text and "no question: 1 (line 8)" in text


def test_damaged_rows_are_never_dropped_of_a_published_set(tmp_path: Path) -> None:
    rows = ['{"question": "q", "answer": "So it is 4."}', '{"question": "torn']
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    text = message(tmp_path, name="orca-math")
    assert "not JSON: 1 (" in text and "line 2" in text


# --- Files ---------------------------------------------------------------------------------------

ROWS = [{"question": f"How many, {i}?", "answer": f"#### {i}"} for i in range(1, 5)]


def golds(path: str | Path, role: Role = Role.TRAIN, **config: Any) -> list[str]:
    return [problem.gold for problem in read(path, role, **config).problems]


def test_gzip_of_every_kind_and_under_a_wrong_name(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    table = "question,answer\n" + "".join(f'"{r["question"]}",{r["answer"]}\n' for r in ROWS)
    for name, text in (
        ("a.jsonl.gz", lines),
        ("b.json.gz", json.dumps(ROWS, indent=1)),
        ("c.csv.gz", table),
        ("d.jsonl", lines),
    ):
        (tmp_path / name).write_bytes(gzip.compress(text.encode()))
        assert golds(tmp_path / name) == ["1", "2", "3", "4"], name
    (tmp_path / "e.jsonl.gz").write_text(lines)
    assert "is not compressed with gzip; rename it to e.jsonl" in message(tmp_path / "e.jsonl.gz")
    (tmp_path / "f.jsonl.gz").write_bytes(gzip.compress(lines.encode())[:-20])
    assert "is damaged or cut off" in message(tmp_path / "f.jsonl.gz")


def test_a_large_array_is_read_in_pieces(tmp_path: Path) -> None:
    rows = [{"question": f"{i} é" * 200, "answer": f"#### {i}"} for i in range(3000)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")  # 3 MB on one line
    assert golds(path) == [str(i) for i in range(3000)]
    path.write_text("\n".join(json.dumps(row, indent=2) for row in rows))
    assert golds(path) == [str(i) for i in range(3000)]
    path.write_text(json.dumps(rows)[:-30])
    assert "is not JSON" in message(path) and "written completely" in message(path)


def test_semicolons_and_tabs_between_the_fields_of_csv(tmp_path: Path) -> None:
    for comma in ";\t":
        path = tmp_path / "a.csv"
        rows = [["question", "answer"], ["How many, in all?", "#### 3"]]
        path.write_text("\r\n".join(comma.join(row) for row in rows))
        assert golds(path) == ["3"]


def test_an_open_quote_does_not_swallow_the_rest_of_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('question,answer\nq,#### 1\n"open,#### 2\nq,#### 3\n')
    assert "is not CSV (unexpected end of data)" in message(path)


def test_a_folder_of_shards_is_read_by_split(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    (tmp_path / "data").mkdir()
    for name, rows in (
        ("train-00000-of-00002", ROWS[:1]),
        ("train-00001-of-00002", ROWS[1:2]),
        ("test-00000-of-00001", ROWS[2:]),
    ):
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "data" / f"{name}.parquet")
    (tmp_path / "README.md").write_text("a card")
    assert golds(tmp_path) == ["1", "2"]
    assert golds(tmp_path, Role.TEST) == golds(tmp_path, split="test") == ["3", "4"]
    assert golds(tmp_path / "data" / "train-*.parquet") == ["1", "2"]
    text = message(tmp_path, Role.VALIDATION)
    assert "holds no validation split" in text and "Set split to test or train" in text
    assert "no file matches" in message(tmp_path / "data" / "dev-*.parquet")


def test_shards_without_splits_are_one_set_and_kinds_are_not_mixed(tmp_path: Path) -> None:
    for number, row in enumerate(ROWS):
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps(row))
    assert golds(tmp_path, Role.TEST) == ["1", "2", "3", "4"]
    (tmp_path / "more.csv").write_text("question,answer\nq,#### 1\n")
    assert "holds files of several kinds (.csv, .jsonl); give the one to read" in message(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", "{}".encode("utf-16"), "is text in UTF-16; save it as UTF-8"),
        ("a.csv", b"PK\x03\x04....", "is a ZIP archive or an Excel workbook"),
        ("a.jsonl", b"<!DOCTYPE html><html>", "is a web page; download the file itself"),
        ("a.jsonl", b"\x80\x04\x95....", "is a Python pickle, which is never opened"),
        ("a.json", b"BZh91AY", "is compressed with bzip2"),
        ("a.jsonl", b"\x00\x01\x02\x03", "is not text (it begins with"),
        ("a.parquet", b'{"question": 1}', "is not a Parquet file"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        ("a.parquet", b"PAR1cut", "is not a Parquet file, or a damaged one"),
        ("a.csv", "question,answer\né,1\n".encode("latin-1"), "in Excel: 'CSV UTF-8'"),
        ("a.json", b'[{"question": "\xff"}]', "line 1: byte 0xff is not UTF-8"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"a":' * 100_000, "nested too deeply"),
        ("a.json", b'[{"question": "q"}] trailing', "more follows: 'trailing'"),
    ],
)
def test_what_is_no_data_is_named_for_what_it_is(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert said in message(path)


def test_a_parquet_file_under_another_name_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes((CASES / "data-verl.parquet").read_bytes())
    assert len(read(path).problems) == 12


def test_a_truncated_parquet_file_is_named(tmp_path: Path) -> None:
    whole = (CASES / "data-verl.parquet").read_bytes()
    for size in (5, len(whole) // 2, len(whole) - 3):
        (tmp_path / "a.parquet").write_bytes(whole[:size])
        assert "is not a Parquet file, or a damaged one" in message(tmp_path / "a.parquet")


# --- Hostile files -------------------------------------------------------------------------------


def test_a_file_that_unpacks_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mathtune.problems.files import content

    monkeypatch.setattr(content, "FREE", 2**20)
    path = tmp_path / "bomb.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 2**24))  # shrinks a thousandfold
    assert "unpacks to more than" in message(path)


@pytest.mark.parametrize("begins", [b'{"question": "', b'[{"question": "', b"{\n", b"a,b\n"])
def test_a_row_that_is_longer_than_any_problem_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bytes
) -> None:
    from mathtune.problems.files import content, json_rows

    for module in (content, json_rows):
        monkeypatch.setattr(module, "MAX_ROW", 2**21)
    path = tmp_path / ("a.csv" if begins == b"a,b\n" else "a.json")
    path.write_bytes(begins + b'"' * (begins == b"{\n") + b"x" * 2**23)
    assert "is longer than 2 MiB" in message(path) or "is not JSON" in message(path)


def test_a_table_of_a_million_columns_is_refused_in_a_short_sentence(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(",".join(f"c{i}" for i in range(1_000_000)) + "\n1\n")
    assert "has 1,000,000 columns, but at most 10,000 are read" in message(path)
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({f"c{i}": i for i in range(100_000)}))
    assert "and 99,980 more" in message(path)


def test_control_characters_of_a_file_never_reach_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b[2J\u202e"
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "answer": "#### 1", evil: 1}))
    assert "not used: \\x1b[2J\\u202e" in read(path).read_as
    path.write_text(json.dumps({evil: 1}))
    assert "Its columns: \\x1b[2J\\u202e." in message(path)
    path.write_text('{"question": "q", "answer": "#### 1"}\n' + evil + "\n")
    assert evil not in message(path) and "\\x1b[2J" in message(path)


def test_a_file_of_nothing_but_faults_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mathtune.problems import gold

    monkeypatch.setattr(gold, "ENOUGH", 100)
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "q", "answer": "#### 1"}\n' + "{}\n" * 500)
    text = message(path)
    assert "has at least 100 rows that cannot be used (no column 'question': 100" in text
