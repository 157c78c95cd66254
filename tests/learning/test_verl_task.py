"""What ``mathtune export-task --to verl`` writes: its schema, its reward, what the model sees."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from mathtune.cli.main import cli
from mathtune.errors import ConfigError, DataError
from mathtune.grading import grade
from mathtune.learning.verl_task import VerlTask
from mathtune.models.loading import load_tokenizer
from mathtune.prompts import Renderer

DATA = ["data.train=[{generated: problems, n: 60}]", "data.validation=[]"]


def export(folder: Path, *more: str) -> str:
    done = CliRunner().invoke(
        cli, ["export-task", "grpo-demo", *DATA, *more, "--to", "verl", "--output", str(folder)]
    )
    if done.exception:
        raise done.exception
    return done.output


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a task") / "verl"
    export(folder)
    return folder


def settings(folder: Path) -> dict[str, str]:
    """The settings that the shell passes on."""
    text = (folder / "launch.sh").read_text()
    text = text.replace("python3 -m verl.trainer.main_ppo", "printf '%s\\n'")
    (folder / "print.sh").write_text(text)
    said = subprocess.run(
        ["bash", folder / "print.sh", "trainer.nnodes=3"],
        check=True, capture_output=True, text=True, env={**os.environ, "GPUS": "4"},
    ).stdout  # fmt: skip
    return dict(line.split("=", 1) for line in said.splitlines())


def test_rows_have_verls_fields_and_the_prompt_the_model_sees_here(task):
    rows = pq.read_table(task / "train.parquet").to_pylist()
    held_out = pq.read_table(task / "validation.parquet").to_pylist()
    assert len(rows) + len(held_out) == 60 and held_out
    assert not {r["extra_info"]["problem_id"] for r in rows} & {
        r["extra_info"]["problem_id"] for r in held_out
    }
    row = rows[3]
    assert list(row) == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    assert row["data_source"] == "mathtune/grpo-demo" and row["ability"] == "math"
    assert row["reward_model"]["style"] == "rule" and row["extra_info"]["index"] == 3
    assert grade(row["extra_info"]["answer"], row["reward_model"]["ground_truth"]).correct
    tokenizer = load_tokenizer("tiny-base")
    ids = tokenizer.apply_chat_template(
        row["prompt"],
        chat_template=json.loads(settings(task)["actor_rollout_ref.model.custom_chat_template"]),
        add_generation_prompt=True,
        tokenize=True,
        return_dict=False,
    )
    assert tuple(ids) == Renderer(tokenizer, "qa").prompt(row["extra_info"]["question"]).ids


def test_the_reward_is_the_graders_and_needs_no_torch(task):
    rows = pq.read_table(task / "train.parquet").to_pylist()[:40]
    texts, wanted = [], []
    for number, row in enumerate(rows):
        gold, answer = row["reward_model"]["ground_truth"], row["extra_info"]["answer"]
        text = [answer, answer + "\n#### 17.5", "no idea"][number % 3]
        texts.append((text + "\nQuestion: and 3 + 4?\nAnswer: #### 7", gold))
        wanted.append(float(grade(text, gold).correct))
    code = (
        "import sys, json, importlib.util; sys.modules['torch'] = None; "
        "spec = importlib.util.spec_from_file_location('reward', sys.argv[1]); "
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
        "print(json.dumps([module.compute_score('mathtune/x', text, gold, extra_info={})['score'] "
        "for text, gold in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, task / "reward.py"],
        input=json.dumps(texts), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == wanted
    assert 0 < sum(wanted) < len(wanted)


def test_the_recipes_settings_have_verls_names(task):
    found = settings(task)
    assert found["algorithm.adv_estimator"] == "grpo"
    assert found["actor_rollout_ref.rollout.n"] == "8"
    assert found["data.max_response_length"] == "96"
    assert found["data.train_batch_size"] == "32"
    assert found["actor_rollout_ref.actor.loss_agg_mode"] == "token-mean"
    assert found["data.train_files"] == f"'{task}/train.parquet'"  # quoted: it holds a space
    assert found["trainer.nnodes"] == "3"  # what is given at the start wins
    assert found["trainer.n_gpus_per_node"] == "4"
    assert Path(found["actor_rollout_ref.model.path"]).is_absolute()


def test_what_verl_does_differently_is_said(tmp_path):
    said = export(tmp_path / "v", "eval.calculator=true", "grpo.max_refills=0")
    assert "in verl: no calculator" in said and "max_refills" not in said
    assert "no calculator" in (tmp_path / "v" / "launch.sh").read_text()


def test_a_setting_that_verl_lacks_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=re.escape("grpo.scale_rewards=batch has no counterpart")):
        export(tmp_path / "v", "grpo.scale_rewards=batch")
    assert not (tmp_path / "v").exists()


def test_other_ids_than_here_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(VerlTask, "_template", "{{ messages[0]['content'] }} ")
    with pytest.raises(DataError, match="differ from the"):
        export(tmp_path / "v")
