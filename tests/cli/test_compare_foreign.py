"""``mathtune compare`` on outputs of other tools: the harness' samples, anybody's rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mathtune.cli.main import cli
from mathtune.errors import DataError
from mathtune.evaluation.evaluate import evaluate
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Problem, ProblemSet, Prompt, content_id

HERE = Path(__file__).parent
HARNESS = HERE / "samples_gsm8k.jsonl"


def documents() -> list[dict[str, Any]]:
    """The harness' ten documents, each once, with its completion."""
    lines = [json.loads(line) for line in HARNESS.read_text().splitlines()]
    return list({line["doc_id"]: line for line in lines}.values())


def compare(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, ["compare", *map(str, arguments)], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result


def figures(*arguments: object) -> tuple[dict[str, Any], str]:
    """Compare; return the figures and what was said of the files."""
    result = compare(*arguments, "--json")
    return json.loads(result.stdout.splitlines()[-1]), result.stderr


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outputs(path: Path, **changes: Any) -> Path:
    """Somebody's file: every answer right, keys as they like them."""
    rows = [
        {
            "question": f" {each['doc']['question']}\n",
            "response": each["doc"]["answer"],
            "answer": each["doc"]["answer"].split()[-1],
        }
        for each in documents()
    ]
    return write(
        path, [{k: v for k, v in {**row, **changes}.items() if v is not None} for row in rows]
    )


def predictions(path: Path) -> Path:
    """mathtune's own file on the harness' questions and prompts, all answers wrong."""
    problems = [
        Problem(
            content_id(each["doc"]["question"], each["doc"]["answer"]),
            each["doc"]["question"],
            each["doc"]["answer"],
            each["doc"]["answer"].split()[-1],
        )
        for each in documents()
    ]
    prompts = {
        p.id: d["arguments"]["gen_args_0"]["arg_0"]
        for p, d in zip(problems, documents(), strict=True)
    }
    evaluate(
        ScriptedEngine({problem.id: "#### 99999" for problem in problems}),
        ProblemSet("gsm8k", tuple(problems)),
        lambda problem: Prompt(problem.id, prompts[problem.id], (1,)),
        Decoding(stop=("Question:", "</s>", "<|im_end|>")),
        path=path,
        style="qa",
    )
    return path


def test_samples_of_the_harness_against_own_outputs(tmp_path: Path) -> None:
    """The harness' file has 6 of 10 right; gold solutions there, final answers here."""
    found, said = figures(HARNESS, outputs(tmp_path / "mine.jsonl"))
    assert (found["before"]["correct"], found["after"]["correct"]) == (6, 10)
    assert (found["gained"], found["lost"], found["n"]) == (4, 0, 10)
    assert "problems are paired by their question" in said
    assert "whether the prompts were the same is unknown" in said


def test_predictions_against_samples_of_the_harness(tmp_path: Path) -> None:
    found, said = figures(predictions(tmp_path / "ours.jsonl"), HARNESS)
    assert (found["before"]["correct"], found["after"]["correct"], found["n"]) == (0, 6, 10)
    assert "prompts" not in said  # both files hold them, and they are the same


def test_prompts_that_differ_are_still_refused(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in HARNESS.read_text().splitlines()]
    for row in rows:
        row["arguments"]["gen_args_0"]["arg_0"] += " Think step by step."
    other = write(tmp_path / "other.jsonl", rows)
    with pytest.raises(DataError, match="10 of 10 prompts differ"):
        compare(HARNESS, other)
    compare(HARNESS, other, "--allow-different", "prompts")


def test_a_graded_file_is_compared_with_its_own_source(tmp_path: Path) -> None:
    graded = tmp_path / "graded.jsonl"
    CliRunner().invoke(cli, ["grade", str(HARNESS), "--output", str(graded)])
    found, _ = figures(HARNESS, graded)
    assert (found["gained"], found["lost"], found["n"]) == (0, 0, 10)


def test_gold_answers_are_taken_from_the_other_file(tmp_path: Path) -> None:
    bare = outputs(tmp_path / "bare.jsonl", answer=None)
    for paths in ((HARNESS, bare), (bare, HARNESS)):
        found, said = figures(*paths)
        assert {found["before"]["correct"], found["after"]["correct"]} == {6, 10}
        assert f"{bare} has no gold answers; those of {HARNESS} are used, by question" in said
    with pytest.raises(DataError, match="which field holds the gold answers"):
        compare(bare, bare)


def test_a_question_that_the_other_file_does_not_ask_is_left_out_and_said(
    tmp_path: Path,
) -> None:
    bare = outputs(tmp_path / "bare.jsonl", answer=None)
    rows = [json.loads(line) for line in bare.read_text().splitlines()]
    rows[3]["question"] = "Something else?"
    write(bare, rows)
    with pytest.raises(
        DataError,
        match="1 of their problems are only in samples_gsm8k, 0 only in bare and 9 in both",
    ):
        compare(HARNESS, bare)
    found, said = figures(HARNESS, bare, "--allow-different", "problems")
    assert found["n"] == 9
    assert "bare.jsonl:4: left out, the line has no gold answer, and no other file asks" in said


def test_gold_answers_are_compared_as_numbers(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", [{"question": "q", "completion": "1", "gold": "1,450"}])
    two = write(tmp_path / "b.jsonl", [{"question": "q", "completion": "1450", "gold": 1450}])
    assert figures(one, two)[0]["gained"] == 1
    write(two, [{"question": "q", "completion": "1", "gold": 1451}])
    with pytest.raises(DataError, match="gold answer '1,450' in one and '1451' in the other"):
        compare(one, two)


def test_files_without_questions_are_paired_by_their_ids_and_it_is_said(
    tmp_path: Path,
) -> None:
    rows = [{"id": f"x{i}", "completion": str(i), "gold": i} for i in range(5)]
    one, two = write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[::-1])
    found, said = figures(one, two)
    assert (found["n"], found["gained"], found["lost"]) == (5, 0, 0)
    assert "paired by the files' own ids or line numbers" in said


def test_gold_answers_from_prose_are_said(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "completion": "12", "answer": "So Nora has 12 pens in all of it."},
        {"question": "r", "completion": "12", "answer": "So Nora has 12 pens in 3 boxes."},
    ]
    path = write(tmp_path / "a.jsonl", rows)
    for said in (figures(path, path)[1], CliRunner().invoke(cli, ["grade", str(path)]).stderr):
        assert "2 gold answers taken from free prose" in said
        assert "1 of them are the last of several numbers and uncertain: lines 2" in said


def test_a_file_that_is_none_gets_the_sentence_of_grade(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{broken\n")
    with pytest.raises(DataError, match="holds no JSON object; give a file with one per line"):
        compare(HARNESS, bad)
    write(bad, [{"question": "q", "text": "a"}])
    with pytest.raises(DataError, match="which field holds the model answers"):
        compare(HARNESS, bad)
