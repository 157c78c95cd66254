"""Rows that stay in their file: what an evaluation holds does not grow with its answers."""

from __future__ import annotations

import tracemalloc

import pytest

from mathtune.errors import DataError
from mathtune.evaluation.evaluate import evaluate
from mathtune.evaluation.predictions.rows import read_rows, write_rows
from mathtune.evaluation.predictions.saved_rows import RowPlaces, SavedRows
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Problem, ProblemSet, Prompt


def test_rows_are_put_in_order_and_each_is_written_once(tmp_path, make_row):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row(name) for name in "cabac"])
    lines = path.read_bytes().splitlines(keepends=True)
    places = RowPlaces(path, 4)
    at = 0
    for name, line in zip("cabac", lines, strict=True):
        places.add("abcd".index(name), at)
        at += len(line)
    assert len(places) == 3 and 0 in places and 3 not in places
    assert places.row(1) == make_row("b")
    places.put_in_order()
    assert path.read_bytes() == lines[1] + lines[2] + lines[0]


def test_a_file_in_order_is_not_written_again(tmp_path, make_row):
    path = tmp_path / "rows.jsonl"
    write_rows(path, [make_row("a"), make_row("b")])
    before = path.stat().st_ino
    places = RowPlaces(path, 2)
    places.add(0, 0)
    places.add(1, path.read_bytes().index(b"\n") + 1)
    places.put_in_order()
    assert path.stat().st_ino == before


def test_saved_rows_are_those_of_the_file(tmp_path, make_row):
    path = tmp_path / "rows.jsonl"
    rows = [make_row(f"p{n}", completion="é" * n) for n in range(5)]
    write_rows(path, rows)
    saved = SavedRows(path, 5)
    assert len(saved) == 5 and list(saved) == rows == read_rows(path)
    assert saved[3] == rows[3] and saved[-1] == rows[4] and list(saved[1:3]) == rows[1:3]
    assert saved == rows and saved != rows[:4] and saved != [*rows[:4], rows[0]]
    path.unlink()
    with pytest.raises(DataError, match="not a predictions file"):
        list(saved)


def test_memory_does_not_grow_with_the_answers(tmp_path):
    """Neither saved rows nor new ones are held: 6 MB of answers take less than half of that."""
    answer = "a long answer " * 150 + "#### 7"
    problems = tuple(Problem(f"p{n}", f"Question {n}?", "#### 7", "7") for n in range(3_000))
    path = tmp_path / "rows.jsonl"

    def run(some: tuple[Problem, ...]) -> None:
        engine = ScriptedEngine({each.id: answer for each in some})
        evaluate(
            engine, ProblemSet("set", some), lambda each: Prompt(each.id, each.question, ()),
            Decoding(), path=path, style="qa",
        )  # fmt: skip

    run(problems[:1])
    line = path.read_text()
    path.write_text(
        "".join(line.replace('"p0"', f'"p{n}"').replace("Question 0?", f"Question {n}?")
                .replace(*hashes(line, f"Question {n}?")) for n in range(2_500))
    )  # fmt: skip
    tracemalloc.start()
    run(problems)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert path.read_bytes().count(b"\n") == 3_000 and path.stat().st_size > 6e6
    assert peak < 3e6


def hashes(line: str, question: str) -> tuple[str, str]:
    """Return the hash of the first prompt, and that of another."""
    from mathtune.evaluation.predictions.rows import prompt_hash

    return prompt_hash("Question 0?"), prompt_hash(question)
