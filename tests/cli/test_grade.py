"""``samples_*.jsonl`` beside this file are what lm-evaluation-harness 0.4.13 wrote with
``--log_samples`` for its tasks gsm8k and gsm8k_cot (no examples in the prompt), ten problems of our
own and a model that gave these texts:

==  ====================================  ======  ========  ========  ======
 #  text (gold)                           strict  flexible  cot       ours
==  ====================================  ======  ========  ========  ======
 0  the gold solution (8)                 yes     yes                 yes
 1  ``#### 20.`` (20)                     yes     yes                 yes
 2  ``#### $36`` (36)                             yes                 yes
 3  ``The answer is 48.`` (48)                    yes       yes       yes
 4  ``Tom has 1,200`` (1,200)                     yes                 yes
 5  ``I do not know.`` (124)                                          none
 6  nothing (160)                                                     none
 7  ``#### 220``, then ``#### 7`` (220)   yes                         no
 8  ``\\boxed{280}`` (280)                         yes                 yes
 9  ``<<81+243=325>>325`` (324)                                       no
==  ====================================  ======  ========  ========  ======
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_for_tests import faults_of, jsonl, mathtune
from mathtune.cli.main import main
from mathtune.evaluation.compare import compare_files
from mathtune.evaluation.predictions.rows import read_rows, write_rows
from mathtune.evaluation.regrade.saved_fields import Fields, Layout
from mathtune.evaluation.regrade.saved_outputs import read_saved_outputs
from mathtune.records import content_id

HERE = Path(__file__).parent

Graded = tuple[int, dict[str, Any], str]


@pytest.fixture
def grade(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Graded]:
    """Run ``mathtune grade … --json``; return exit code, figures and standard error."""

    def run(*arguments: object) -> Graded:
        monkeypatch.setattr(sys, "argv", ["mathtune", "grade", *map(str, arguments), "--json"])
        with pytest.raises(SystemExit) as caught:
            main()
        printed = capsys.readouterr()
        last = (printed.out.splitlines() or [""])[-1]
        return int(caught.value.code or 0), json.loads(last) if last else {}, printed.err

    return run


def write(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def rate(value: dict[str, Any]) -> tuple[float, int]:
    return value["correct"], value["n"]


# --- Broken lines --------------------------------------------------------------------------------

GOOD = {"question": "What is 3+4?", "answer": "3+4=7\n#### 7", "completion": "#### 7"}
WRONG = {"question": "What is 3+5?", "answer": "3+5=8\n#### 8", "completion": "#### 9"}
BROKEN: dict[int, tuple[Any, str]] = {
    2: (b'{"question": "torn', "is not JSON (Unterminated string"),
    3: ([1, 2], "is not a JSON object but a list"),
    5: ({"question": "q", "answer": "#### 1"}, "has no completion in 'completion'"),
    6: ({"question": "q", "completion": "#### 1"}, "has no gold answer in 'answer'"),
    7: ({"answer": "nobody knows " * 9, "completion": "1"}, "gold answer that cannot be used"),
    8: ({"answer": "#### 1", "completion": {"text": "1"}}, "without text in it"),
    9: ({"answer": "#### 1", "completion": []}, "without text in it"),
    10: (b'{"answer": "\xff"}', "is not UTF-8"),
    11: ({"question": "\ud800", "answer": "#### 1", "completion": "1"}, "surrogate"),
}


def broken_file(path: Path) -> Path:
    rows = [GOOD, *(BROKEN[line][0] for line in (2, 3)), WRONG]
    return write(path, *rows, *(BROKEN[line][0] for line in range(5, 12)), b"   ", GOOD)


def test_each_broken_line_is_named_and_the_rest_is_graded(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    path = broken_file(tmp_path / "mine.jsonl")
    code, figures, said = grade(path)
    assert code == 0
    for line, (_, reason) in BROKEN.items():
        (told,) = [each for each in said.splitlines() if f"mine.jsonl:{line}:" in each]
        assert reason in told
    assert [each["line"] for each in figures["broken"]] == list(BROKEN)
    rows = read_rows(tmp_path / "mine.graded.jsonl")
    assert [(row["line"], row["outcome"]) for row in rows] == [
        *((1, "correct"), (4, "wrong"), (13, "correct"))
    ]


def test_strict_fails_after_all_else_is_done(tmp_path: Path, grade: Callable[..., Graded]) -> None:
    path = broken_file(tmp_path / "mine.jsonl")
    code, figures, said = grade(path, "--strict")
    assert code == 2
    assert "9 broken lines of" in said and "--strict" in said
    assert figures["completions"] == len(read_rows(tmp_path / "mine.graded.jsonl")) == 3
    whole = write(tmp_path / "whole.jsonl", GOOD, WRONG)
    assert grade(whole, "--strict")[0] == 0


def test_of_very_many_broken_lines_all_numbers_are_given(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    rows = [GOOD, *[b"x"] * 30, GOOD, *[b"x"] * 3]
    _, _, said = grade(write(tmp_path / "mine.jsonl", *rows))
    assert said.count("is not JSON") == 20  # lines 2 to 21
    assert "also left out: lines 22-31, 33-35" in said


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no JSON object"),
        (b"not json\n", "holds no JSON object"),
        (b'{"question": "q", "text": "a"}\n', "which field holds the model answers?"),
        (b'{"question": "q", "completion": "a"}\n', "which field holds the gold answers?"),
        (b'{"answer": "#### 1", "completion": [[["-1.5", "True"]]]}\n', "multiple-choice"),
    ],
)
def test_a_file_with_nothing_to_grade_is_an_error(
    tmp_path: Path, grade: Callable[..., Graded], content: bytes, said: str
) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    code, _, error = grade(path)
    assert code == 2
    assert said in error
    assert not (tmp_path / "mine.graded.jsonl").exists()


# --- lm-evaluation-harness -----------------------------------------------------------------------


def test_a_harness_log_is_graded_once_a_document_and_agrees_with_the_harness(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    output = tmp_path / "out.jsonl"
    code, figures, _ = grade(HERE / "samples_gsm8k.jsonl", "--output", output)
    assert code == 0
    assert figures["layout"] == "lm-evaluation-harness samples"
    assert (figures["n"], figures["completions"], figures["broken"]) == (10, 10, [])
    assert rate(figures["exact_match"]) == (6, 10)
    # Wilson's interval of 6 in 10, from its tables.
    assert figures["exact_match"]["low"] == pytest.approx(0.3127, abs=1e-4)
    assert figures["exact_match"]["high"] == pytest.approx(0.8318, abs=1e-4)
    published = {name: rate(value)[0] for name, value in figures["published"].items()}
    expected = {"openai": 2, "lm_eval_strict": 3, "lm_eval_flexible": 6, "lm_eval_cot_strict": 1}
    assert published == expected
    assert figures["outcomes"] | {"correct": 6, "wrong": 2, "no_answer": 2} == figures["outcomes"]
    assert figures["errors"] == {"arithmetic_slip": 1, "reasoning": 1, "format": 2}
    for name, right, grader in (
        ("strict-match", 3, "lm_eval_strict"),
        ("flexible-extract", 6, "lm_eval_flexible"),
    ):
        found = figures["harness"][name]
        assert (rate(found["exact_match"]), found["grader"]) == ((right, 10), grader)
        assert (found["agree"], found["differing_lines"]) == (10, [])
    outcomes = [row["outcome"] for row in read_rows(output)]
    assert outcomes == [*["correct"] * 5, *["no_answer"] * 2, "wrong", "correct", "wrong"]


def test_the_harness_other_task_of_that_filter_name_is_held_against_its_own_grader(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    _, figures, _ = grade(HERE / "samples_gsm8k_cot.jsonl", "--output", tmp_path / "out.jsonl")
    found = figures["harness"]["strict-match"]
    assert (found["grader"], found["agree"]) == ("lm_eval_cot_strict", 10)
    assert rate(found["exact_match"]) == (1, 10)  # text 3 of the table


def test_where_the_harness_disagrees_the_lines_are_named(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    rows = [json.loads(line) for line in (HERE / "samples_gsm8k.jsonl").open()]
    rows[2]["exact_match"] = 1.0  # "#### $36" under strict-match
    rows[0]["filter"] = rows[10]["filter"] = "majority"
    path = write(tmp_path / "log.jsonl", *rows)
    _, figures, _ = grade(path)
    strict = figures["harness"]["strict-match"]
    assert (strict["agree"], strict["n"], strict["differing_lines"]) == (8, 9, [3])
    assert figures["harness"]["flexible-extract"]["agree"] == 9
    assert figures["harness"]["majority"]["grader"] is None


def test_lines_that_repeat_or_contradict_a_document_are_broken(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    rows = [json.loads(line) for line in (HERE / "samples_gsm8k.jsonl").open()]
    other = rows[11] | {"resps": [["#### 1"]]}
    path = write(tmp_path / "log.jsonl", *rows[:11], other, rows[0])
    _, figures, _ = grade(path)
    first, second = figures["broken"]
    assert first == {"line": 12, "reason": "has different completions for document 1 than line 2"}
    assert second == {"line": 13, "reason": "repeats the document 0 and filter of line 1"}
    assert figures["completions"] == 10


def test_a_graded_harness_log_can_be_compared_with_an_evaluation_of_our_own(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    """Problems pair by what they say; the tuned side is right on all ten, the harness' on six."""
    output = tmp_path / "base.jsonl"
    grade(HERE / "samples_gsm8k.jsonl", "--output", output)
    base = read_rows(output)
    decoding = base[0]["decoding"] | {"max_new_tokens": 256, "calculator": False}
    tuned = [
        row
        | {"problem_id": content_id(row["question"], row["answer"])}
        | {"correct": True, "outcome": "correct", "style": "qa", "decoding": decoding}
        for row in reversed(base)
    ]
    write_rows(tmp_path / "tuned.jsonl", tuned)
    (comparison,) = compare_files(
        [output, tmp_path / "tuned.jsonl"], allow_different=["prompts", "decoding"]
    )
    assert (comparison.overall.n, comparison.overall.gained, comparison.overall.lost) == (10, 4, 0)


# --- Predictions of our own ----------------------------------------------------------------------


def prediction(number: int, **changes: Any) -> dict[str, Any]:
    verdict = {"outcome": "correct", "correct": True, "extracted": "7", "method": "hash"}
    published = dict.fromkeys(("openai", "lm_eval_strict", "lm_eval_flexible"), True)
    return {
        "problem_id": f"p{number}",
        "sample": 0,
        "set": "test",
        "question": f"What is {number}?",
        "answer": "It is 7.\n#### 7",
        "gold": "7",
        "type": "sum",
        "steps": 1,
        "prompt_hash": "0011",
        "style": "qa",
        "decoding": {"samples": 1, "calculator": False},
        "completion": "#### 7",
        "tokens": 4,
        "inserted_tokens": 0,
        "stop_reason": "eos",
        **verdict,
        "reason": "7 equals the gold answer 7",
        "error": None,
        "published": {**published, "lm_eval_cot_strict": False},
    } | changes


def test_predictions_come_out_as_they_were_but_for_the_verdicts(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    path = tmp_path / "tuned.jsonl"
    write_rows(path, [prediction(1), prediction(2)])
    _, figures, _ = grade(path)
    assert figures["layout"] == "mathtune predictions"
    assert figures["changed_lines"] == []
    assert (tmp_path / "tuned.graded.jsonl").read_bytes() == path.read_bytes()
    # A row whose verdict is not today's, a repeated one, and one that is no whole row.
    wrong = prediction(2, completion="#### 9")
    write_rows(path, [prediction(1), wrong, prediction(1), prediction(3, tokens="four")])
    _, figures, said = grade(path, "--overwrite")
    assert figures["changed_lines"] == [2]
    assert "tuned.jsonl:3: left out, the line repeats the problem and sample of line 1" in said
    assert (
        "tuned.jsonl:4: left out, the line is not a predictions row: it has tokens='four'" in said
    )
    changed = read_rows(tmp_path / "tuned.graded.jsonl")[1]
    assert (changed["outcome"], changed["error"], changed["tokens"]) == ("wrong", "reasoning", 4)


# --- Rows of any kind ----------------------------------------------------------------------------


def test_several_completions_a_row_count_with_their_mean(
    tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    rows = [
        {"problem": "a", "final_answer": 7, "responses": ["#### 7", "#### 8", "#### 7"]},
        {"problem": "b", "final_answer": 8.0, "responses": "It is 8."},
        {"problem": "b", "final_answer": 8, "responses": ["12 +", "8 and"]}
        | {"finish_reason": ["length", "stop"]},
    ]
    path = write(tmp_path / "mine.jsonl", *rows)
    _, figures, _ = grade(path)
    # a: 2 of 3; b, in two rows: right, cut off, right: 2 of 3.
    assert figures["exact_match"]["correct"] == pytest.approx(4 / 3)
    assert (figures["n"], figures["completions"]) == (2, 6)
    assert figures["outcomes"]["truncated"] == 1
    graded = read_rows(tmp_path / "mine.graded.jsonl")
    assert [(row["question"], row["sample"]) for row in graded] == [
        *(("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1), ("b", 2))
    ]
    assert {row["decoding"]["samples"] for row in graded} == {3}


def test_rows_that_say_the_same_under_two_names_are_two_problems(tmp_path: Path) -> None:
    from mathtune.evaluation.regrade.regrading import grade_saved, summarise_saved

    path = write(tmp_path / "mine.jsonl", GOOD | {"id": "x"}, GOOD | {"id": "y"})
    assert summarise_saved(grade_saved(read_saved_outputs(path)))["n"] == 2


def test_fields_are_named_by_options(tmp_path: Path, grade: Callable[..., Graded]) -> None:
    row = {"input": {"q": "What is 3+4?"}, "answer": "I say 8", "meta": {"truth": ["7", "9"]}}
    path = write(tmp_path / "mine.jsonl", row)
    options = ["--completion", "answer", "--gold", "meta.truth.0", "--question", "input.q"]
    code, figures, _ = grade(path, *options)
    assert code == 0
    # The model's text, called answer, is not taken for the gold answer.
    expected = {"completion": "answer", "gold": "meta.truth.0", "question": "input.q"}
    assert figures["fields"] == expected
    assert rate(figures["exact_match"]) == (0, 1)
    code, _, said = grade(path, "--completion", "anwser", "--overwrite")
    assert code == 2
    assert "no row of" in said and "did you mean 'answer'?" in said


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("It is 3+4=7.\n#### 7", "7"),
        ("so \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("1,450", "1,450"),
        ("18 dollars", "18 dollars"),
        ("\\frac{\\pi}{2}", "\\frac{\\pi}{2}"),
        ("(3, 4)", "(3, 4)"),
        ("Monday", "Monday"),
        ("New York", "New York"),
        ("She has 12 apples left.", "12"),
        ("Tom had 3 apples, and after buying 9 more he has got 12 of them.", "12"),
        ("The answer is 5.", "5"),
        (5, "5"),
        (0.5, "0.5"),
    ],
)
def test_the_final_answer_is_found_in_a_gold_text(
    tmp_path: Path, answer: object, gold: str
) -> None:
    path = write(tmp_path / "mine.jsonl", {"completion": "x", "answer": answer})
    (output,) = read_saved_outputs(path).outputs
    assert output.gold == gold


def test_a_field_that_is_given_as_the_final_answer_is_taken_as_it_stands(tmp_path: Path) -> None:
    row = {"completion": "x", "truth": "2 hours and 20 minutes of sleep"}
    path = write(tmp_path / "mine.jsonl", row)
    saved = read_saved_outputs(path, Fields(gold="truth"))
    assert saved.layout is Layout.PLAIN
    assert saved.outputs[0].gold == row["truth"]


# --- Output --------------------------------------------------------------------------------------


def test_nothing_is_overwritten_unasked(tmp_path: Path, grade: Callable[..., Graded]) -> None:
    path = write(tmp_path / "mine.jsonl", GOOD)
    kept = write(tmp_path / "mine.graded.jsonl", "kept")
    code, _, said = grade(path)
    assert code == 2
    assert "already exists; give --overwrite" in said
    assert kept.read_text() == '"kept"\n'
    assert grade(path, "--overwrite")[0] == 0
    assert len(read_rows(kept)) == 1
    code, _, said = grade(path, "--output", path, "--overwrite")
    assert code == 2
    assert "would replace" in said
    assert json.loads(path.read_text()) == GOOD


def test_people_see_each_grader_with_its_interval(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [str(HERE / "samples_gsm8k.jsonl"), "--output", str(tmp_path / "out.jsonl")]
    monkeypatch.setattr(sys, "argv", ["mathtune", "grade", *arguments])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr().out
    assert "completion from 'resps', answer from 'doc.answer'" in printed
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    assert "grader exact match 95 % interval rule" in rows
    assert any(row.startswith("mathtune 60.0 % 31.3–83.2 % exact numbers") for row in rows)
    assert any(row.startswith("lm_eval_strict 30.0 %") for row in rows)
    assert "strict-match: 30.0 %" in printed and "lm_eval_strict agrees on 10 of 10" in printed


def test_a_confidence_that_is_no_number_is_one_sentence(tmp_path: Path) -> None:
    jsonl(tmp_path / "x.jsonl", [{"completion": "#### 4", "gold": "4"}])
    (fault,) = faults_of(mathtune("grade", "x.jsonl", "--confidence", "nan", cwd=tmp_path))
    assert "nan is not a finite number" in fault


def test_it_works_without_torch(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.jsonl", GOOD, WRONG)
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'datasets'): sys.modules[name] = None\n"
        f"sys.argv = ['mathtune', 'grade', {str(path)!r}]\n"
        "from mathtune.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 problems, 2 completions" in done.stdout


def test_gsm8k_own_solutions_are_all_right(
    data_dir: Path, tmp_path: Path, grade: Callable[..., Graded]
) -> None:
    rows = [json.loads(line) for line in (data_dir / "gsm8k" / "test.jsonl").open()]
    rows = [row | {"completion": row["answer"]} for row in rows]
    _, figures, _ = grade(write(tmp_path / "gold.jsonl", *rows), "--strict")
    assert rate(figures["exact_match"]) == (len(rows), len(rows)) == (1319, 1319)
    for name in ("openai", "lm_eval_strict"):
        assert rate(figures["published"][name]) == (1319, 1319)
