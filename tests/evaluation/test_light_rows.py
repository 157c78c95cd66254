"""Rows whose texts stay in the file are the rows that they stand for."""

from __future__ import annotations

import pytest

from mathtune.errors import DataError
from mathtune.evaluation.compare import compare, compare_files
from mathtune.evaluation.predictions.light_rows import HELD, LightRow, read_light_rows
from mathtune.evaluation.predictions.rows import FIELDS, read_rows, write_rows


@pytest.fixture
def files(tmp_path, make_row):
    before = [make_row(f"p{n}", n % 3 == 0, question=f"How many é {n}?") for n in range(30)]
    after = [make_row(f"p{n}", n % 2 == 0, question=f"How many é {n}?") for n in range(30)]
    paths = [tmp_path / "before.jsonl", tmp_path / "after.jsonl"]
    for path, rows in zip(paths, (before, after), strict=True):
        write_rows(path, rows)
    return paths


def test_a_light_row_equals_the_row_in_its_file(files):
    light, whole = read_light_rows(files[0]), read_rows(files[0])
    assert [dict(row) for row in light] == whole
    assert all(row[name] == whole[7][name] for row in light[7:8] for name in FIELDS)
    with pytest.raises(KeyError):
        light[0]["no such field"]


def test_only_what_is_counted_is_in_memory(files, monkeypatch):
    reads = []
    monkeypatch.setattr(
        LightRow, "_whole", lambda self, real=LightRow._whole: reads.append(1) or real(self)
    )
    (found,) = compare_files(files)
    assert found.overall.n == 30 and not reads
    assert found.gained[0].before["question"] == "How many é 2?" and len(reads) == 1
    assert not {"question", "completion", "answer"} & set(HELD)


def test_a_comparison_finds_what_it_finds_with_whole_rows(files):
    (light,) = compare_files(files)
    whole = compare(*map(read_rows, files), labels=("before", "after"))
    assert light.result() == whole.result()


def test_a_file_that_changes_meanwhile_is_refused(files):
    rows = read_light_rows(files[0])
    lines = files[0].read_text().splitlines(keepends=True)
    files[0].write_text("".join(reversed(lines)))
    with pytest.raises(DataError, match="was changed while it was read"):
        rows[3]["question"]


def test_rows_that_are_held_together_share_what_repeats(files):
    one, other = read_rows(files[0])[:2]
    assert one["decoding"] is other["decoding"]
    assert [name is there for name, there in zip(one, other, strict=True)] == [True] * len(one)
