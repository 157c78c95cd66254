"""``mathtune compare`` on predictions files: tables, examples, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click import UsageError
from click.testing import CliRunner

from mathtune.cli.main import cli
from mathtune.errors import ConfigError, DataError
from mathtune.evaluation.evaluate import evaluate
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Problem, ProblemSet, Prompt

PROBLEMS = ProblemSet(
    "sums",
    tuple(Problem(f"p{n}", f"What is {n}+1?", f"#### {n + 1}", str(n + 1)) for n in range(40)),
)


def predictions(folder: Path, name: str, right: range, style: str = "qa", samples: int = 1) -> str:
    """Write a file whose answers are right for the problems of ``right``."""
    answers = {p.id: f"I say\n#### {p.gold if n in right else 'none, 0'}" for n, p in
               enumerate(PROBLEMS.problems)}  # fmt: skip
    path = folder / f"{name}.jsonl"
    evaluate(
        ScriptedEngine(answers),
        PROBLEMS,
        lambda problem: Prompt(problem.id, f"{style}: {problem.question}", (1,)),
        Decoding(samples=samples),
        path=path,
        style=style,
    )
    return str(path)


def compare(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["compare", *arguments], standalone_mode=False)
    if result.exception:
        raise result.exception
    return result.stdout


def test_three_files_make_one_table(tmp_path: Path) -> None:
    files = [
        predictions(tmp_path, "small", range(10)),
        predictions(tmp_path, "large", range(30)),  # 20 gained, none lost
        predictions(tmp_path, "other", range(1, 10)),  # 1 lost
    ]
    said = compare(*files)
    table = said.split("\n\n")[0].splitlines()
    assert len({len(line) for line in table}) == 1
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table]
    assert [row[0] for row in cells] == ["", "-" * 5, "small", "large", "other"]
    assert cells[2][:3] == ["small", "40", "25.0 %"]
    # Exact tests: 2 / 2^20 = 1.9e-06, doubled for two comparisons; one lost of one is chance.
    assert cells[3][2:5] == ["75.0 %", "59.8 to 85.8", "+50.0"]
    # The exact test has 80 % power at a true difference of 31.7 points, half of all discordant.
    assert cells[3][6:] == ["20", "0", "1.9e-06", "3.8e-06", "31.7"]
    assert [cells[4][2], cells[4][4]] == ["22.5 %", "-2.5"]
    assert cells[4][6:-1] == ["0", "1", "1", "1"]
    verdicts = said.split("\n\n")[1].splitlines()
    assert "a real gain" in verdicts[0]
    assert verdicts[1].startswith("No difference can be shown with 40 problems")
    assert "What is" not in said


def test_markdown_for_a_document(tmp_path: Path) -> None:
    """base → SFT → RFT with names, each against the first and against the one before."""
    files = [predictions(tmp_path, f"f{n}", range(n)) for n in (10, 12, 30)]
    names = [part for name in ("base", "SFT", "RFT") for part in ("--label", name)]
    said = compare(*files, *names, "--previous", "--markdown")
    arms, steps, verdicts, methods = said.strip().split("\n\n")
    assert [line.split("|")[1].strip() for line in arms.splitlines()[2:]] == ["base", "SFT", "RFT"]
    assert [line.split("|")[1].strip() for line in steps.splitlines()[2:]] == [
        "base → SFT", "SFT → RFT",
    ]  # fmt: skip
    assert [line[:2] for line in verdicts.splitlines()] == ["- "] * 3
    assert methods.startswith("Interval of exact match: Wilson")
    found = json.loads(compare(*files, *names, "--previous", "--json"))
    assert [each["labels"] for each in found["comparisons"]] == [
        ["base", "SFT"], ["base", "RFT"], ["SFT", "RFT"],
    ]  # fmt: skip
    assert {each["tests"] for each in found["comparisons"]} == {3}
    with pytest.raises(UsageError, match="two forms of output"):
        compare(*files, "--json", "--markdown")


def test_examples_show_both_answers(tmp_path: Path) -> None:
    files = [predictions(tmp_path, name, r) for name, r in (("a", range(2)), ("b", range(1, 9)))]
    said = compare(*files, "--examples", "2")
    assert said.count("b gained: What is ") == 2  # of 7
    assert said.count("b lost: What is ") == 1  # all there are
    assert "b lost: What is 0+1?\n  gold: 1\n  a: I say\n#### 1\n  b: I say\n#### none, 0\n" in said


def test_a_row_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    good, bad = (predictions(tmp_path, name, range(9)) for name in ("good", "bad"))
    lines = Path(bad).read_text().splitlines()
    lines[6] = lines[6].replace('"correct": true', '"correct": false')
    Path(bad).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:7 \(problem 'p6'\) has correct=false, which"):
        compare(good, bad)
    # The remedy that is named: grading again changes the verdict back.
    assert CliRunner().invoke(cli, ["grade", bad]).exit_code == 0
    assert "No difference" in compare(good, str(tmp_path / "bad.graded.jsonl"))


def test_json_names_the_files_whatever_they_are_called(tmp_path: Path) -> None:
    files = [predictions(tmp_path, name, r) for name, r in (("n", range(4)), ("set", range(8)))]
    line = json.loads(compare(*files, "--json").splitlines()[-1])
    assert (line["n"], line["set"]) == (40, "sums")
    assert line["n.exact_match"] == 0.1
    assert line["set.exact_match"] == 0.2
    assert line["difference"] == pytest.approx(0.1)


def test_what_differs_is_refused_unless_allowed(tmp_path: Path) -> None:
    plain = predictions(tmp_path, "plain", range(10))
    styled = predictions(tmp_path, "styled", range(20), style="cot")
    voted = predictions(tmp_path, "voted", range(20), samples=3)
    with pytest.raises(DataError, match=r"styles qa and cot.*--allow-different prompts"):
        compare(plain, styled)
    assert "also differ in prompts" in compare(plain, styled, "--allow-different", "prompts")
    with pytest.raises(DataError, match=r"samples 1 and 3"):
        compare(plain, voted)
    assert "majority answer" in compare(plain, voted, "--allow-different", "decoding")
    with pytest.raises(ConfigError, match="did you mean 'prompts'"):
        compare(plain, styled, "--allow-different", "prompt")
    with pytest.raises(ConfigError, match="add the other"):
        compare(plain)
    with pytest.raises(ConfigError, match=r"no .*base\.jsonl"):
        compare(str(tmp_path))
