"""Results as text, as a table, as a DataFrame."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import mathtune as mt
from api.conftest import PROBLEMS, SHORT


@pytest.fixture
def result(model: Path) -> mt.EvaluationResult:
    return mt.evaluate(model, PROBLEMS, eval=SHORT, run_dir="<b>run & co")


def test_evaluation_as_text_table_and_data_frame(result: mt.EvaluationResult, model: Path) -> None:
    first, *lines = repr(result).splitlines()
    assert first == f"EvaluationResult({model}, run_dir='<b>run & co')"
    assert len(lines) == 2 and lines[0].startswith("  problems, calculator off: ")
    assert result._repr_html_().count("<tr>") == 3
    frame = result.to_pandas()
    assert len(frame) == result.n == len(PROBLEMS)
    assert frame["correct"].mean() == result.exact_match
    assert result.interval[0] <= result.exact_match <= result.interval[1]
    assert set(result.answers) == {True, False}


def test_what_a_model_writes_is_escaped_in_a_notebook() -> None:
    answer = mt.Answer("a < b?", "<script>alert(1)</script>", "eos", 3)
    assert "<script>" not in answer._repr_html_() and "&lt;script&gt;" in answer._repr_html_()
    assert "a &lt; b?" in answer._repr_html_()
    problem = mt.Problem("1", "Is <i>2</i>?", "&", "2")
    shown = mt.Problems("<x>", (problem,), {})._repr_html_()
    assert "<i>" not in shown and "&amp;" in shown and "&lt;x&gt;" in shown


def test_without_pandas_one_sentence(
    result: mt.EvaluationResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs the package pandas, which is not installed") as it:
        result.to_pandas()
    assert isinstance(it.value, mt.MathtuneError)


def test_a_whole_run(model: Path) -> None:
    data = {"generated": "facts", "n": 20}
    run = mt.run(
        "tiny-gsm8k",
        model=model,
        data={"train": data, "test": {**data, "n": 4, "seed": 9}, "validation_fraction": 0.2},
        train={"max_steps": 2, "eval_steps": 2},
        eval=SHORT,
        run_dir="run",
    )
    assert run.report.is_file() and run.verdict in repr(run)
    assert run.base is not None and run.training.parameters["trainable_share"] == 1
    frame = run.to_pandas()
    assert list(frame["model"]) == ["base", "base", "tuned", "tuned"]
    assert frame["exact_match"][2] == run.tuned.exact_match
    assert ", chosen by validation loss: " in repr(run.training)
    assert "<td>steps</td>" in run.training._repr_html_()
    assert mt.compare(run).verdict == run.verdict == mt.compare("run").verdict
    assert run.verdict.replace("<", "&lt;") in run._repr_html_()
