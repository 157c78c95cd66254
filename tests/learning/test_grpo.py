"""``train.objective: grpo`` on the toy base model: sampled, killed, resumed, refused."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from command_for_tests import mathtune, python
from learning_for_tests import lines, recipe_on_own_answers
from mathtune import config
from mathtune.errors import ConfigError

RECIPE = recipe_on_own_answers(
    "grpo",
    "{num_generations: 4, num_iterations: 2, max_refills: 1, pass_rate_problems: 6}",
    max_new_tokens=90,
)

COMMAND = """
import os, signal, sys
from mathtune.generation.hf import HFEngine
from mathtune.learning.policy_gradient.loss import PolicyGradient

def killed_in(owner, name, at):
    inner, calls = getattr(owner, name), 0
    def counted(*arguments):
        nonlocal calls
        calls += 1
        made = inner(*arguments)
        if calls == at and name == "generate":
            next(made)  # one answer was sampled
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return made
    setattr(owner, name, counted)

where, at, run = sys.argv[1:]
if where == "sampling":
    killed_in(HFEngine, "generate", int(at))
if where == "update":
    killed_in(PolicyGradient, "loss_sum", int(at))
sys.argv = ["mathtune", "train", "r.yaml", "--run-dir", run]
from mathtune.cli.main import main
main()
"""


def test_killed_while_sampling_and_in_an_update_a_run_ends_the_same(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE)

    def started(where: str, at: int, run: str) -> Any:
        return python(COMMAND, where, str(at), run, cwd=tmp_path)

    done = started("nowhere", 0, "whole")
    assert done.returncode == 0, done.stderr
    assert "of 24 answers to 6 training problems are right" in done.stderr
    logged = [line for line in lines(tmp_path / "whole") if "reward" in line]
    assert logged and set(logged[0]) >= {
        "reward", "dead_groups", "completion_length", "truncated", "entropy", "logprob_gap",
        "clip_ratio", "format_reward", "solved_problems",
    }  # fmt: skip
    assert "perplexity" not in logged[0]
    assert 0 < logged[0]["reward"] < 1
    assert logged[0]["reward"] <= logged[0]["solved_problems"] <= 1
    # In float32 the decode loop and the training forward pass agree.
    assert logged[0]["logprob_gap"] < 1e-4
    assert not list((tmp_path / "whole").glob("predictions/*"))  # the test set was never opened

    # Steps 1 and 2 are updates on one batch: the second is killed, then the sampling of step 3.
    assert started("update", 2, "parts").returncode == -signal.SIGKILL
    assert [p.name for p in (tmp_path / "parts" / "checkpoints").glob("ch*")] == ["checkpoint-1"]
    # The engine was called for steps only, as the first validation is done: step 3 is its first.
    assert started("sampling", 1, "parts").returncode == -signal.SIGKILL
    done = started("nowhere", 0, "parts")
    assert done.returncode == 0, done.stderr
    assert "continuing from checkpoint-2" in done.stderr
    whole, parts = (tmp_path / each / "model" / "model.safetensors" for each in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert lines(tmp_path / "parts") == lines(tmp_path / "whole")


def test_a_model_that_solves_nothing_is_refused_before_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(RECIPE.replace("max_new_tokens: 90", "max_new_tokens: 6"))
    command = ("train", "r.yaml", "--run-dir", "run")
    (fault,) = faults_of_last_line(mathtune(*command, cwd=tmp_path))
    assert fault.startswith("0.0 % of 24 answers to 6 training problems are right (")
    assert "cut at eval.max_new_tokens=6" in fault
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def faults_of_last_line(done: Any) -> list[str]:
    assert done.returncode == 2, done.stderr
    return [done.stderr.splitlines()[-1].removeprefix("mathtune: ")]


def test_settings_that_do_not_fit_are_refused_together() -> None:
    changes = ["train.objective=sft", "grpo.leave_one_out=true", "grpo.beta=0.1"]
    defaults = ["grpo.num_generations=8", "grpo.max_refills=3"]
    with pytest.raises(ConfigError) as refused:
        config.load("grpo-demo", [*changes, *defaults])
    assert refused.value.faults == [
        f"{knob} with train.objective=sft: only the objective grpo has it; leave it out or set "
        "train.objective=grpo"
        for knob in ("grpo.beta=0.1", "grpo.leave_one_out=true")
    ]
    with pytest.raises(ConfigError, match=r"set train\.metric_for_best_model=eval_exact_match"):
        config.load("demo", ["train.objective=grpo"])
