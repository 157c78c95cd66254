from __future__ import annotations

import json
from pathlib import Path

import pytest

from mathtune.config.schema import FILE_ENDINGS
from mathtune.errors import DataError
from mathtune.problems.files import ENDINGS, data_files, read_rows
from mathtune.problems.gold import Faults


def values(path: Path) -> list[dict[str, object]]:
    return [dict(row.values) for row in read_rows(path)]


def message(path: Path) -> str:
    faults = Faults()
    with pytest.raises(DataError) as caught:
        for file in data_files(path, None, "train"):
            for row in read_rows(file):
                if row.fault:
                    faults.add(row.fault, row.place, row.detail, damaged=True)
        faults.refuse(str(path))
    text = str(caught.value)
    assert "\n" not in text
    return text


ROWS = [{"question": "Wie viel, bitte?", "answer": "5 €\n#### 5"}, {"question": "q", "answer": "a"}]


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_all_four_formats_give_the_same_rows(tmp_path: Path, bom: bytes) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\r\n\r\n" for row in ROWS)
    (tmp_path / "a.jsonl").write_bytes(bom + lines.encode())
    (tmp_path / "b.json").write_bytes(bom + json.dumps(ROWS, indent=2).encode())
    (tmp_path / "lines.json").write_bytes(bom + lines.encode())
    csv = 'question,answer\r\n"Wie viel, bitte?","5 €\n#### 5"\r\nq,a\r\n'
    (tmp_path / "c.csv").write_bytes(bom + csv.encode())
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "d.parquet")
    for name in ("a.jsonl", "b.json", "lines.json", "c.csv", "d.parquet"):
        assert values(tmp_path / name) == ROWS, name


def test_an_unreadable_line_is_named_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    lines = ['{"question": "q", "answer": "#### 1"}'] * 5000
    lines[4710] = '{"question": "How many apples'
    path.write_text("\n".join(lines))
    text = message(path)
    assert f"{path} has 1 row that cannot be used (not JSON: 1 (line 4,711: Unterminated" in text
    assert "Repair or remove the rows" in text and "How many apples" in text


def test_lines_before_an_unreadable_one_are_streamed(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "first"}\nbroken\n')
    rows = read_rows(path)
    assert next(rows).values == {"question": "first"}


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("empty.jsonl", b"", "is empty (0 bytes)"),
        ("blank.jsonl", b"\n \n", "holds no rows"),
        ("none.json", b"[]", "holds no rows"),
        ("head.csv", b"question,answer\n", "holds no rows"),
        (
            "latin.jsonl",
            '{"question": "a"}\n{"question": "é"}\n'.encode("latin-1"),
            "not UTF-8: 1 (line 2: byte 0xe9)). Save the file as UTF-8",
        ),
        (
            "utf16.jsonl",
            '{"question": "a"}'.encode("utf-16"),
            "is text in UTF-16; save it as UTF-8",
        ),
        (
            "list.jsonl",
            b'{"question": "a"}\n["a"]\n',
            'not a JSON object: 1 (line 2: ["a"]',
        ),
        ("items.json", b'[{"question": "a"}, 7]', "not a JSON object: 1 (item 2: 7"),
        ("cut.json", b'[{"question": "a"},\n{"question": ', "line 2 is not JSON"),
        ("deep.jsonl", b"[" * 100_000, "line 1 is not JSON (nested too deeply)"),
        (
            "more.csv",
            b"question,answer\na,b\na,b,c\n",
            "line 3: 3 where the first line names 2",
        ),
        ("twice.csv", b"question,question\na,b\n", "must name each column once"),
        ("fake.parquet", b"question,answer\n", "is not a Parquet file"),
        (
            "notes.txt",
            b"question",
            "has the ending '.txt'; problems are read from .jsonl, .json, .csv, .parquet,",
        ),
    ],
)
def test_one_clear_sentence_for_each_fault(
    tmp_path: Path, name: str, content: bytes, expected: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    text = message(path)
    assert expected in text
    assert str(path) in text


def test_a_missing_file_names_the_files_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    assert "trian.jsonl does not exist; check the path" in message(tmp_path / "trian.jsonl")
    assert "holds train.jsonl" in message(tmp_path / "trian.jsonl")
    assert "there is no folder" in message(tmp_path / "nowhere" / "a.jsonl")


def test_a_folder_without_data_is_named(tmp_path: Path) -> None:
    assert "is a folder without data files" in message(tmp_path)


def test_a_csv_field_may_be_longer_than_the_csv_modules_limit(tmp_path: Path) -> None:
    import csv

    before = csv.field_size_limit()
    path = tmp_path / "long.csv"
    path.write_text(f"question,answer\nq,{'x' * 300_000}\n")
    assert len(str(values(path)[0]["answer"])) == 300_000
    assert csv.field_size_limit() == before


def test_a_recipe_and_the_reader_know_the_same_endings() -> None:
    assert ENDINGS == FILE_ENDINGS
