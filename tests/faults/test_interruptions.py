"""Ctrl-C at any stage: finished work is kept, and the same command goes on to the same result."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_for_tests import Started, jsonl, solved, start, wait_for
from mathtune.cli.main import main
from models_for_tests import saved_model

RECIPE = """
name: interrupted
model: {name_or_path: model}
data: {train: train.jsonl, test: test.jsonl, contamination: report}
train: {max_steps: 4000, max_length: 256, eval_strategy: steps, eval_steps: 1000, logging_steps: 1}
eval: {max_new_tokens: 120, batch_size: 1, perplexity: false, calculator: true,
  stop_repetition: false}
"""


def interrupted(process: Started, ready: Callable[[], bool]) -> str:
    """Send SIGINT as soon as ``ready``; return what was said on standard error."""
    wait_for(ready, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (process.returncode, out) == (130, ""), err
    assert "Traceback" not in err
    return err


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_ctrl_c_while_measuring_and_while_training(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", "llama")
    jsonl(tmp_path / "train.jsonl", (solved(n) for n in range(1, 41)))
    jsonl(tmp_path / "test.jsonl", (solved(n, "cups") for n in range(1, 25)))
    (tmp_path / "r.yaml").write_text(RECIPE)
    run = tmp_path / "run"
    command = ("run", "r.yaml", "--run-dir", "run", "--json")

    rows = run / "predictions" / "base.jsonl"
    said = interrupted(start(*command, cwd=tmp_path), lambda: lines(rows) >= 3)
    assert said.splitlines()[-1] == (
        "mathtune: stopped; finished work is saved, and the same command continues it"
    )
    saved = rows.read_bytes()
    assert 3 <= lines(rows) < 24 and saved.endswith(b"\n")

    metrics = run / "metrics.jsonl"
    said = interrupted(start(*command, cwd=tmp_path), lambda: lines(metrics) >= 3)
    step = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert 3 <= step < 4000
    assert said.splitlines()[-1] == (
        f"mathtune: stopped by signal 2 at step {step}, checkpoint saved; give the same command "
        "again to continue"
    )
    assert [path.name for path in (run / "checkpoints").iterdir()] == [f"checkpoint-{step}"]
    # What was saved at the first interruption was kept; rows are in problem order at the end.
    assert set(saved.splitlines()) <= set(rows.read_bytes().splitlines())


def test_the_figures_are_one_json_line_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    saved_model(tmp_path / "model", "llama")
    jsonl(tmp_path / "train.jsonl", (solved(n) for n in range(1, 21)))
    jsonl(tmp_path / "test.jsonl", (solved(n, "cups") for n in range(1, 5)))
    changes = (("4000", "2"), ("120", "4"), ("perplexity: false", "perplexity: true"))
    text = RECIPE
    for old, new in changes:
        text = text.replace(old, new)
    (tmp_path / "r.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mathtune", "run", "r.yaml", "--run-dir", "run", "--json"])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()  # of the process, whatever library wrote it
    assert ended.value.code == 0, err
    (line,) = out.splitlines()
    figures = json.loads(line)
    assert figures["run_dir"] == "run" and figures["n"] == 4
    rows = [json.loads(row) for row in (tmp_path / "run/predictions/tuned.jsonl").open()]
    right = sum(row["correct"] for row in rows) / 4
    assert figures["tuned.exact_match"] == figures["tuned"]["exact_match"] == right
    assert figures["difference"] == right - figures["base.exact_match"]
    assert figures["gained"] - figures["lost"] == 4 * figures["difference"]
    assert figures["difference_low"] <= figures["difference"] <= figures["difference_high"]
    assert 0 < figures["mcnemar_p"] <= 1
    assert "train: " in err
