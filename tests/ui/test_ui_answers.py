"""The problem table: paired, filtered, searched and paged by the server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from report_run_folder import HOSTILE, build
from ui_for_tests import client

from mathtune.ui.answers.answer_pages import AnswerTable, marked
from mathtune.ui.answers.prediction_index import Indexes, PredictionIndex

FILES = ("one/predictions/base.jsonl", "one/predictions/tuned.jsonl")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("root")
    build(root / "one", rows=120)
    return root


def table(root: Path) -> AnswerTable:
    indexes = Indexes()
    return AnswerTable([indexes.of(root / name) for name in FILES], ["base", "tuned"])


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_filters_agree_with_the_files(root: Path) -> None:
    base, tuned = (rows_of(root / name) for name in FILES)
    pairs = list(zip(base, tuned, strict=True))
    found = table(root).page()
    right = [(b["correct"], t["correct"]) for b, t in pairs]
    assert found["counts"] == {
        "all": 120,
        "gained": right.count((False, True)),
        "lost": right.count((True, False)),
        "right": right.count((True, True)),
        "wrong": right.count((False, False)),
    }
    gained = table(root).page(show="gained")
    expected = [b["question"] for b, t in pairs if t["correct"] and not b["correct"]]
    assert [row["question"] for row in gained["rows"]] == expected[:25]
    slips = table(root).page(error="1:arithmetic_slip")
    assert slips["total"] == sum(t["error"] == "arithmetic_slip" for t in tuned)
    cut = table(root).page(outcome="0:truncated", show="wrong")
    assert cut["total"] == sum(b["outcome"] == "truncated" and not t["correct"] for b, t in pairs)


def test_graders_disagree_only_where_they_read_the_format_of_the_file(tmp_path: Path) -> None:
    build(tmp_path / "one", rows=120)
    file = tmp_path / FILES[0]
    rows = rows_of(file)
    assert any(row["correct"] and not row["published"]["lm_eval_cot_strict"] for row in rows)
    assert table(tmp_path).page(disagree=True)["total"] == 0  # it accepts no answer at all
    odd = [row for row in rows if row["correct"]][:2]
    for row in odd:
        row["published"]["openai"] = False  # #### 09, for example
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = table(tmp_path).page(disagree=True)
    assert [row["question"] for row in found["rows"]] == [row["question"] for row in odd]
    assert [row["answers"][0]["disagree"] for row in found["rows"]] == [True, True]


def test_pages_do_not_overlap_and_end(root: Path) -> None:
    found = table(root)
    pages = [found.page(number) for number in range(5)]
    questions = [row["question"] for page in pages for row in page["rows"]]
    assert questions == [row["question"] for row in rows_of(root / FILES[0])]
    assert found.page(99)["number"] == 4


def test_search_finds_texts_and_not_the_names_of_fields(root: Path) -> None:
    row = rows_of(root / FILES[0])[77]
    found = table(root).page(query=row["question"].upper())
    assert row["question"] in [each["question"] for each in found["rows"]]
    assert table(root).page(query="prompt_hash")["total"] == 0
    named = table(root).page(query="TOMÁS")
    assert named["total"] == sum("Tomás" in each["question"] for each in rows_of(root / FILES[0]))


def test_what_is_no_number_or_no_name_is_no_error_of_the_server(tmp_path: Path) -> None:
    run = build(tmp_path / "one", rows=20)
    file = run / "predictions" / "base.jsonl"
    with file.open("a") as lines:
        lines.write('{"problem_id": "x", "sample": 1e999}\n')
    with client(tmp_path) as page:
        found = page.get("/api/answers", params={"file": "one/predictions/base.jsonl"}).json()
        assert found["total"] == 20 and found["unreadable"] == 1
        for long in ("x" * 5_000, "x/" * 5_000):
            assert page.get("/api/run", params={"run": long}).status_code == 400
            assert page.get("/api/answers", params={"file": f"{long}.jsonl"}).status_code == 400


def test_turning_pages_of_a_search_reads_the_files_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[str] = []
    search = PredictionIndex.search
    monkeypatch.setattr(
        PredictionIndex,
        "search",
        lambda self, *a: searched.append(self.path.name) or search(self, *a),
    )
    found = table(root)
    pages = [found.page(number, query="how") for number in range(3)]
    assert searched == ["base.jsonl", "tuned.jsonl"]
    shown = [row["question"] for page in pages for row in page["rows"]]
    assert len(shown) == min(75, pages[0]["total"]) > 25
    assert found.page(query="how", show="gained")["total"] == pages[0]["counts"]["gained"]
    for other in range(20):  # what is kept does not grow without end
        found.page(query=f"other {other}")
    assert found.page(1, query="how")["rows"] == pages[1]["rows"]


def test_what_a_model_wrote_is_text_without_tricks(root: Path) -> None:
    with client(root) as page:
        found = page.get("/api/answers", params={"file": FILES}).json()
    text = json.dumps(found, ensure_ascii=False)
    assert "<script>window.hacked" in text  # the page makes a text node of it
    assert "\\u202e24" in text
    for trick in ("\u202e", "\u2028", "\u200b", "\x1b", "\ufeff"):
        assert trick not in text
        assert trick in "".join(HOSTILE)


def test_a_false_equation_is_marked() -> None:
    pieces = marked("So 2 + 2 = <<2+2=5>>5 and 3 * 3 = <<3*3=9>>9.\n#### 5")
    assert [kind for kind, _ in pieces] == ["", "false", "", "calc", "", "final"]
    assert "2+2=5" in pieces[1][1]
    assert "".join(text for _, text in pieces).startswith("So 2 + 2 = <<2+2=5>>5 and")
    assert marked("a" * 30_000)[-1] == ("cut", "… (10,000 characters more)")


def test_pass_rates_of_several_samples(root: Path) -> None:
    path = root / "sampled.jsonl"
    rows = [
        {**row, "sample": sample, "correct": (number + sample) % 4 == 0}
        for number, row in enumerate(rows_of(root / FILES[0])[:8])
        for sample in range(2)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = AnswerTable([Indexes().of(path)], ["base"]).page(sort="pass_rate")
    rates = [row["answers"][0]["pass_rate"] for row in found["rows"]]
    assert sorted(rates) == rates and rates[0] == [0, 2] and rates[-1] == [1, 2]


def test_a_file_that_grows_is_read_on_and_a_replaced_one_again(root: Path, tmp_path: Path) -> None:
    rows = rows_of(root / FILES[0])
    path = tmp_path / "base.jsonl"
    lines = [json.dumps(row) + "\n" for row in rows]
    path.write_text("".join(lines[:10]) + lines[10][:40])
    index = PredictionIndex(path)
    index.refresh()
    assert len(index) == 10
    with path.open("a") as file:
        file.write(lines[10][40:] + "not a row\n" + lines[11])
    index.refresh()
    assert (len(index), index.unreadable) == (12, 1)
    assert index.row(11) == rows[11]
    path.unlink()
    path.write_text(lines[5])
    index.refresh()
    assert len(index) == 1 and index.row(0) == rows[5]


def test_a_large_file_is_paged_quickly(root: Path, tmp_path: Path) -> None:
    row, paths = rows_of(root / FILES[1])[40], []
    for name in ("base", "tuned"):
        path = tmp_path / f"{name}.jsonl"
        with path.open("w") as file:
            for number in range(10_000):
                file.write(json.dumps({**row, "problem_id": f"{number:016x}"}) + "\n")
        paths.append(path)
    indexes = Indexes()
    found = AnswerTable([indexes.of(path) for path in paths], ["base", "tuned"])
    began = time.process_time()
    assert found.page(300)["first"] == 7500
    assert time.process_time() - began < 0.4


def test_two_files_are_compared_as_in_the_terminal(root: Path) -> None:
    comparison = json.loads((root / "one" / "results.json").read_text())["comparisons"][0]
    with client(root) as page:
        found = page.post("/api/compare", json={"files": FILES}).json()
        assert found["others"][0]["gained"] == str(comparison["gained"])
        other = "one/predictions/base--held-out-templates--calculator-on.jsonl"
        refused = page.post("/api/compare", json={"files": [FILES[0], other]})
    assert refused.status_code == 400
    assert "cannot be compared" in refused.json()["faults"][0]
