"""evaluate, compare and chat: models and problems in every form, and what is refused."""

from __future__ import annotations

import json
import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mathtune as mt
from api.conftest import PROBLEMS, SHORT
from command_for_tests import COMMAND, jsonl, mathtune


def load(folder: Path) -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def texts(result: mt.EvaluationResult) -> list[str]:
    return [row["completion"] for row in result.rows]


def test_folder_and_loaded_model_and_command_give_the_same_answers(model: Path) -> None:
    by_name = mt.evaluate(model, PROBLEMS, eval=SHORT)
    loaded = mt.evaluate(load(model)[0], PROBLEMS, load(model)[1], eval=SHORT)
    assert texts(by_name) == texts(loaded) and any(texts(by_name))
    assert loaded.perplexity == pytest.approx(by_name.perplexity, rel=1e-4)
    file = jsonl(Path("mine.jsonl"), PROBLEMS)
    done = mathtune(
        *("eval", str(model), "--data", str(file), "--max-new-tokens", "8", "--run-dir", "cli"),
        cwd=Path.cwd(),
    )
    assert done.returncode == 0, done.stderr
    rows = map(json.loads, Path("cli/predictions/base.jsonl").read_text("utf-8").splitlines())
    assert [row["completion"] for row in rows] == texts(by_name)
    assert mt.evaluate(model, file, eval=SHORT).exact_match == by_name.exact_match


def test_problems_as_objects_mappings_and_bare_final_answers(model: Path) -> None:
    problems = mt.load_problems({"generated": "problems", "n": 3})
    as_objects = mt.evaluate(model, problems, eval=SHORT)
    assert {row["problem_id"] for row in as_objects.rows} == {each.id for each in problems}
    assert as_objects.evaluations[0]["set"] == "generated"
    bare = mt.evaluate(model, [{"question": "What is 2 + 3?", "answer": 5}], eval=SHORT)
    assert bare.rows[0]["gold"] == "5" and bare.n == 1
    source = mt.evaluate(model, {"generated": "problems", "n": 3}, eval=SHORT, limit=2)
    assert source.n == 2


def test_changed_weights_are_another_evaluation_and_the_same_are_not_measured_again(
    model: Path,
) -> None:
    loaded, tokenizer = load(model)
    first = mt.evaluate(loaded, PROBLEMS, tokenizer, eval=SHORT)
    before = first.predictions.stat().st_mtime_ns
    again = mt.evaluate(loaded, PROBLEMS, tokenizer, eval=SHORT)
    assert again.run_dir == first.run_dir and first.predictions.stat().st_mtime_ns == before
    with torch.no_grad():
        loaded.model.layers[0].mlp.up_proj.weight.mul_(-3)
    changed = mt.evaluate(loaded, PROBLEMS, tokenizer, eval=SHORT)
    assert changed.run_dir != first.run_dir and texts(changed) != texts(first)
    with pytest.raises(RuntimeError, match=r"model\.name_or_path changed from llama@"):
        mt.evaluate(loaded, PROBLEMS, tokenizer, eval=SHORT, run_dir=first.run_dir)
    with pytest.raises(mt.MathtuneError, match="holds other problems than those given now"):
        mt.evaluate(loaded, PROBLEMS[1:], tokenizer, eval=SHORT, run_dir=first.run_dir)


def test_given_problems_are_checked_as_a_file_is(model: Path) -> None:
    wrong = {"question": "What is 2 + 2?", "answer": "It is 2+2=4.\n#### 4", "gold": "5"}
    with pytest.raises(ValueError, match=r"the list of problems has 2 rows that cannot be used"):
        mt.evaluate(model, [PROBLEMS[0], wrong, {"question": "", "answer": "4"}])
    with pytest.raises(mt.MathtuneError, match=r"problems\[0\] has no column 'answer'"):
        mt.evaluate(model, [{"question": "What is 2 + 2?", "solution": "4"}])
    with pytest.raises(mt.MathtuneError, match=r"problems\[0\] is a int; give a Problem"):
        mt.evaluate(model, [4])
    with pytest.raises(mt.MathtuneError, match="the list of problems is empty"):
        mt.evaluate(model, [])
    with pytest.raises(mt.MathtuneError, match="both problems and names of sources"):
        mt.evaluate(model, ["gsm8k:test", PROBLEMS[0]])
    assert not Path("runs").exists()


def test_models_that_cannot_be_measured_are_refused_in_a_sentence(model: Path) -> None:
    loaded, tokenizer = load(model)
    for given, message in (
        ((3, PROBLEMS), "model is a int; give a hub id, a folder"),
        ((loaded, PROBLEMS), "a loaded LlamaForCausalLM without its tokenizer"),
        ((str(model), PROBLEMS, tokenizer), "tokenizer is given with a model that is not loaded"),
        (("./nowhere", PROBLEMS), "'./nowhere' does not exist"),
    ):
        with pytest.raises(ValueError, match=message):
            mt.evaluate(*given)
    with pytest.raises(mt.MathtuneError, match=r"eval\.engine=vllm with a loaded model"):
        mt.evaluate(loaded, PROBLEMS, tokenizer, eval={"engine": "vllm"})
    with pytest.raises(mt.MathtuneError, match="label='after' is neither 'base' nor 'tuned'"):
        mt.evaluate(model, PROBLEMS, label="after")


def test_train_evaluate_compare_chat(model: Path) -> None:
    train = str(jsonl(Path("train.jsonl"), PROBLEMS))
    trained = mt.train(
        "tiny-gsm8k",
        model=model,
        data={"train": train, "test": {"generated": "facts", "n": 5}, "validation_fraction": 0.3},
        prompt={"style": "orca"},
        train={"max_steps": 4, "eval_steps": 2, "logging_steps": 1, "learning_rate": 0.01},
        eval=SHORT,
    )
    assert trained.figures["steps"] == 4 and trained.model.is_dir()
    assert list(trained.to_pandas()["step"].dropna()) == [0, 1, 2, 2, 3, 4, 4]
    tuned = mt.evaluate(trained, PROBLEMS)
    assert tuned.label == "tuned" and tuned.rows[0]["style"] == "orca"  # as it was trained
    base = mt.evaluate(model, PROBLEMS, recipe=trained.recipe)
    compared = mt.compare(base, tuned)
    assert len(compared.to_pandas()) == len(PROBLEMS)
    assert compared.difference == pytest.approx(tuned.exact_match - base.exact_match)
    command = mathtune("compare", str(base.predictions), str(tuned.predictions), cwd=Path.cwd())
    assert compared.verdict in command.stdout
    with pytest.raises(mt.MathtuneError, match="prompts differ"):
        mt.compare(mt.evaluate(model, PROBLEMS, eval=SHORT), tuned)
    with pytest.raises(mt.MathtuneError, match="needs two predictions files, but 1 is given"):
        mt.compare(base)

    chat = mt.chat(trained)
    answer = chat.ask("What is 2 + 2?")
    assert str(answer) == answer.text and answer.tokens <= 8
    *parts, whole = chat.stream("What is 2 + 2?")
    assert whole == answer and [part.tokens for part in parts] == list(range(1, answer.tokens))
    assert all(part.stop_reason == "" and answer.text.startswith(part.text) for part in parts)
    loaded, tokenizer = load(trained.model)
    same = mt.chat(loaded, tokenizer, recipe=trained.recipe)
    assert same.ask("What is 2 + 2?") == answer


def test_progress_is_shown_unless_it_was_said_not_to(model: Path, tmp_path: Path) -> None:
    call = f"mt.evaluate({str(model)!r}, {PROBLEMS[:1]!r}, eval={SHORT!r}, run_dir="
    code = (
        "import sys\nimport mathtune as mt\n"
        f"{call}'runTrue')\nprint('SILENCE', file=sys.stderr)\n"
        f"mt.show_progress(False)\n{call}'runFalse')"
    )
    done = subprocess.run(
        [COMMAND.with_name("python"), "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    shown, _, silent = done.stderr.partition("SILENCE\n")
    assert "base on problems" in shown and "base on problems" not in silent and done.stdout == ""
    assert (tmp_path / "runFalse" / "manifest.json").exists()
    command = json.loads((tmp_path / "runTrue" / "manifest.json").read_text("utf-8"))["command"]
    assert command == "python"  # a script would be named


def test_progress_can_go_to_ones_own_logging(model: Path, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger="mathtune"):
        mt.evaluate(model, PROBLEMS[:1], eval=SHORT)
    assert any("base on problems" in record.message for record in caplog.records)
