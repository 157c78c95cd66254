"""``mathtune eval``: previews, solved examples, samples, and what is printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mathtune.cli.main import cli
from mathtune.errors import MathtuneError
from models_for_tests import saved_model

NAMES = ["Ada", "Bo", "Cid", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jo"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("eval")
    rows = [
        {
            "question": f"{name} has {n} coins and finds {n} more. How many?",
            "answer": f"{n} + {n} = <<{n}+{n}={2 * n}>>{2 * n}\n#### {2 * n}",
            "type": "even" if n % 2 == 0 else "odd",
        }
        for n, name in enumerate(NAMES, 2)
    ]
    for name, part in (("train", rows[:6]), ("test", rows[6:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    model, _ = saved_model(folder / "model", "llama")
    return {"model": str(model), **{n: str(folder / f"{n}.jsonl") for n in ("train", "test")}}


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["eval", *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def figures(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_preview_shows_the_prompts_to_the_letter_and_runs_nothing(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mathtune.training.session import Session

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Session, "load", lambda *_: pytest.fail("the weights were loaded"))
    given = [files["model"], "--data", files["test"], f"data.train={files['train']}"]
    result = call(*given, "--shots", "2", "--preview", "--max-new-tokens", "40")
    said = result.stdout
    assert result.exit_code == 0
    shown = figures(call(*given, "--shots", "2", "--preview", "--json"))["preview"][0]
    assert len(shown["shots"]) == 2
    rows = [json.loads(line) for line in Path(files["train"]).read_text().splitlines()]
    train = {row["question"]: row for row in rows}
    first = json.loads(Path(files["test"]).read_text().splitlines()[0])
    # The examples by what they say, in either order: which two come is the seed's choice.
    asked = [part.split("\nAnswer: ")[0] for part in said.split("Question: ")[1:3]]
    examples = "".join(f"Question: {q}\nAnswer: {train[q]['answer']}\n\n" for q in asked)
    ruler = "-" * 80
    assert f"\n{ruler}\n<s>{examples}Question: {first['question']}\nAnswer:\n{ruler}\n" in said
    assert "greedy, at most 40 new tokens, stopped by 'Question:'" in said
    assert "the model's context has 1,024" in said
    assert shown["first"][0]["tokens"] == len(_ids(files["model"], shown["first"][0]["text"]))
    assert not list(tmp_path.iterdir())  # no run folder


def _ids(model: str, text: str) -> list[int]:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model)(text, add_special_tokens=False)["input_ids"]


def test_samples_and_shots_reach_the_files_and_the_reader(
    files: dict[str, str], tmp_path: Path
) -> None:
    given = [
        files["model"], "--data", files["test"], f"data.train={files['train']}", "--shots", "2",
        "--samples", "3", "--temperature", "0.8", "--top-p", "0.95", "--batch-size", "2",
        "--max-new-tokens", "12", "seed=5", "--run-dir", str(tmp_path / "run"),
    ]  # fmt: skip
    table = call(*given).stdout
    assert f"{files['test']}: 4 problems, 3 answers each" in " ".join(table.split())
    for row in (
        "exact match", "maj@3", "pass@1", "pass@2", "pass@3", "openai", "lm_eval_strict",
        "lm_eval_flexible", "lm_eval_cot_strict", "no answer, cut off", "arithmetic slip",
        "reasoning error", "format error", "without an answer", "ended by token limit",
        "stopped in a loop",
        "ended without EOS", "only as last number", "tokens per problem", "seconds per problem",
        "perplexity of solutions", "perplexity of whole texts", "1 step (4)", "even (2)", "odd (2)",
    ):  # fmt: skip
        assert f"  {row} " in table, row
    assert max(map(len, table.splitlines()[1:-1])) <= 80
    assert f"report: {tmp_path}/run/report.html" in table

    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    shots = figures(call(*given, "--preview", "--json"))["preview"][0]["shots"]
    assert manifest["shots"] == {"source": "train", "ids": shots}

    report = (tmp_path / "run" / "report.html").read_text()
    assert "Solved examples before each question" in report

    line = figures(call(*given, "--json"))  # finished: read from the folder
    assert line["n"] == 4
    assert set(line["base"]) >= {"majority", "pass_at", "rates", "errors", "perplexity"}
    rows = [json.loads(row) for row in (tmp_path / "run/predictions/base.jsonl").open()]
    assert len(rows) == 12
    decoding = {"temperature": 0.8, "top_p": 0.95, "samples": 3, "seed": 5, "max_new_tokens": 12}
    assert all(decoding.items() <= row["decoding"].items() for row in rows)
    first = {row["completion"] for row in rows if row["problem_id"] == rows[0]["problem_id"]}
    assert len(first) > 1  # samples, not one answer three times


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "4"], r"eval\.samples=4.*set eval\.temperature"),
        (["--top-p", "0.9"], r"eval\.top_p=0\.9.*set eval\.temperature"),
        (["--shots", "9", "--shot-source", "gsm8k-cot"], r"has 8 examples"),
        (["--shots", "1", "--shot-source", "gsm8k-cod"], "did you mean 'gsm8k-cot'"),
        (["--shots", "1", "--shot-source", "none.jsonl"], r"none\.jsonl.*check the path"),
        (["--shots", "7"], r"prompt\.shots=7, but only 6"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    from mathtune.training.session import Session

    monkeypatch.setattr(Session, "load", lambda *_: pytest.fail("a model was loaded"))
    given = [files["model"], "--data", files["test"], f"data.train={files['train']}"]
    with pytest.raises(MathtuneError, match=message):
        cli.main(
            ["eval", *given, *options, "--run-dir", str(tmp_path / "run")], standalone_mode=False
        )
