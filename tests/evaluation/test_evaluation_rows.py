from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mathtune.errors import DataError, DiskError
from mathtune.evaluation.predictions.rows import (
    FIELDS,
    RowWriter,
    complete_rows,
    cut_torn_line,
    iter_rows,
    prompt_hash,
    read_rows,
    write_rows,
)

MakeRow = Callable[..., dict[str, Any]]


def test_rows_come_back_as_written(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "deep" / "base.jsonl"
    rows = [
        make_row("a", completion="two\nlines and \u2028 a line separator, 三 × 4, \x00"),
        make_row("b", completion="half an emoji \ud83d", gold="½"),
    ]
    with RowWriter(path) as writer:
        for row in rows:
            writer.write(row)
    assert read_rows(path) == rows
    assert path.read_bytes().count(b"\n") == 2
    assert "三 × 4".encode() in path.read_bytes()  # readable, not escaped
    before = path.read_bytes()
    write_rows(path, read_rows(path))
    assert path.read_bytes() == before
    assert list(json.loads(before.splitlines()[0])) == list(FIELDS)


def test_writer_appends_and_each_row_is_there_at_once(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "rows.jsonl"
    for name in ("a", "b"):
        with RowWriter(path) as writer:
            writer.write(make_row(name))
            assert read_rows(path)[-1]["problem_id"] == name  # before the file is closed
    assert [row["problem_id"] for row in read_rows(path)] == ["a", "b"]


def test_rows_stream_one_line_at_a_time(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row("a")])
    path.write_bytes(path.read_bytes() + b"nonsense\n")
    stream = iter_rows(path)
    assert next(stream)["problem_id"] == "a"  # read before the bad line is reached
    with pytest.raises(DataError):
        next(stream)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{broken", "not JSON"),
        ("", "not JSON"),
        ("[1, 2]", "not a JSON object"),
        ('{"problem_id": "x"}', "no field 'sample'"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, make_row: MakeRow, line: str, says: str) -> None:
    path = tmp_path / "rows.jsonl"
    good = json.dumps(make_row("a"))
    path.write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(DataError, match=says) as caught:
        read_rows(path)
    assert f"{path}:2" in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("correct", "yes"), ("correct", 1), ("tokens", True), ("tokens", 1.5), ("sample", None)],
)
def test_a_field_of_the_wrong_type_is_named(
    tmp_path: Path, make_row: MakeRow, field: str, value: object
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**make_row("a"), field: value}) + "\n")
    with pytest.raises(DataError, match=rf":1 has {field}="):
        read_rows(path)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"correct": False}, "has correct=false, which contradicts outcome='correct'"),
        ({"outcome": "wrong"}, "has correct=true, which contradicts outcome='wrong'"),
        ({"outcome": "right"}, "has outcome='right', expected one of correct, wrong"),
    ],
)
def test_a_verdict_that_contradicts_itself_is_named(
    tmp_path: Path, make_row: MakeRow, fields: dict[str, Any], says: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        "".join(json.dumps(row) + "\n" for row in (make_row("a"), make_row("b") | fields))
    )
    for read in (read_rows, lambda path: list(complete_rows(path))):
        with pytest.raises(DataError, match=says) as caught:
            read(path)
        assert f"{path}:2 (problem 'b')" in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a predictions file"):
        read_rows(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="not a predictions file"):
        read_rows(tmp_path)


def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(
    tmp_path: Path, make_row: MakeRow
) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row("a"), make_row("b", completion="三三三")])
    content = path.read_bytes()
    first = content.index(b"\n") + 1
    for end in range(first, len(content) + 1):  # every byte of the second line, also within 三
        path.write_bytes(content[:end])
        whole = end == len(content)
        there = ["a", "b"] if whole else ["a"]
        assert [row["problem_id"] for row in complete_rows(path)] == there
        assert path.read_bytes() == content[:end]
        assert cut_torn_line(path) == (first < end < len(content))
        assert path.read_bytes() == (content if whole else content[:first])


def test_recovery_of_nothing_and_of_a_broken_middle(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "rows.jsonl"
    assert not list(complete_rows(path)) and not cut_torn_line(path)
    path.write_bytes(b"x" * 200_000)  # a torn line alone, longer than what is read at once
    assert not list(complete_rows(path)) and cut_torn_line(path) and not path.read_bytes()
    path.write_text('{"torn\n' + json.dumps(make_row("a")) + "\n")
    with pytest.raises(DataError, match=r"rows\.jsonl:1 is not JSON"):
        list(complete_rows(path))


def test_a_failed_write_leaves_the_file_that_was_there(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row("a")])
    before = path.read_bytes()

    def rows() -> Any:
        yield make_row("b")
        raise OSError(28, "No space left on device")

    with pytest.raises(DiskError, match="No space left on device"):
        write_rows(path, rows())
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said(make_row: MakeRow) -> None:
    with (
        pytest.raises(DiskError, match="No space left on device"),
        RowWriter(Path("/dev/full")) as writer,
    ):
        writer.write(make_row("a"))


def test_prompt_hash() -> None:
    import hashlib

    assert prompt_hash("Q: 1+1") == hashlib.sha256(b"Q: 1+1").hexdigest()[:16]
    assert prompt_hash("Q: 1+1") != prompt_hash("Q: 1+1\n")
