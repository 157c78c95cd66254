"""The command line itself: fast, quiet on standard output, and clear about wrong use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from command_for_tests import COMMAND, faults_of, jsonl, mathtune, solved
from mathtune.cli.main import COMMANDS
from mathtune.config.schema import PromptConfig
from mathtune.prompts.styles import CHAT, STYLES

WITHOUT_TORCH = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "transformers", "datasets"}:
            raise ImportError(f"{name} is not to be imported here")

sys.meta_path.insert(0, Refuse())
import mathtune

heavy = (
    "mathtune.training",
    "mathtune.attention",
    "mathtune.generation.hf",
    "mathtune.generation.vllm",
    "mathtune.models.loading",
    "mathtune.models.adapters",
    "mathtune.models.merge",
    "mathtune.models.compute",
    "mathtune.models.in_memory",
    "mathtune.models.sharded",
    "mathtune.models.checks.weights",
    "mathtune.models.train_tokenizer",
    "mathtune.planning.plan",  # it traces a training
    "mathtune.planning.peak_memory",
    "mathtune.planning.model_without_data",
    "mathtune.planning.memory_trace",
    "mathtune.planning.layer_extrapolation",
    "mathtune.planning.remedies",
    "mathtune.planning.workload",
    "mathtune.planning.devices",
    "mathtune.planning.cluster.spread",
    "mathtune.planning.learning_work",
    "mathtune.planning.sampling",
    "mathtune.tracking.callbacks",
    "mathtune.learning.objectives",
    "mathtune.learning.distillation",
    "mathtune.learning.policy_gradient",
    "mathtune.learning.rollouts",
    "mathtune.learning.preference",
    "mathtune.learning.verifier.training",
)

def modules(package):
    for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
        yield found.name
        if found.ispkg and not found.name.startswith(heavy):
            yield from modules(importlib.import_module(found.name))

names = [name for name in modules(mathtune) if not name.startswith(heavy)]
for name in names:
    importlib.import_module(name)
print(*names)
"""


def test_all_but_training_and_local_engines_imports_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    expected = {"mathtune.pipeline", "mathtune.preflight", "mathtune.cli.main", "mathtune.records"}
    assert expected <= set(names) and len(names) > 80
    assert {f"mathtune.cli.commands.{command.replace('-', '_')}" for command in COMMANDS} <= set(
        names
    )


def test_help_answers_in_under_0_4_seconds() -> None:
    def seconds() -> float:
        """Processor time, which other processes on the machine do not lengthen."""
        process = subprocess.Popen([COMMAND, "--help"], stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        return used.ru_utime + used.ru_stime

    assert min(seconds() for _ in range(5)) < 0.4  # other work empties caches, never fills them


def test_help_names_every_command_and_every_command_has_help(tmp_path: Path) -> None:
    shown = mathtune("--help", cwd=tmp_path)
    assert shown.returncode == 0 and shown.stderr == ""
    assert all(f"  {command} " in shown.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rum"], "no command is called 'rum'; did you mean 'run'?"),
        (["frobnicate"], "no command is called 'frobnicate'; see mathtune --help"),
        (["run"], "Missing argument 'RECIPE'; see mathtune run --help"),
        (
            ["run", "demo", "--run-dri", "x"],
            "No such option '--run-dri'. Did you mean '--run-dir'?",
        ),
        (
            ["eval", "tiny-base", "--limit", "0"],
            "data.max_test_samples=0 is too small; give a number above 0",
        ),
        (
            ["compare", "a.jsonl", "b.jsonl"],
            "Invalid value for 'PATHS...': Path 'a.jsonl' does not exist; see mathtune compare "
            "--help",
        ),
        (["recipes", "demmo"], "no recipe is called 'demmo'; give the path of a YAML file or one"),
        (["report", "."], ". holds no recipe.yaml, manifest.json, metrics.jsonl, results.json or "),
        (
            ["report", "nowhere"],
            "nowhere is not a folder; give the folder of a run, as in runs/dem",
        ),
        (["chat", ""], "the model's name is empty; give a saved model's folder, a hub id such as "),
        (["chat", "x", "--style", "qq"], "prompt.style='qq' is unknown; give qa, cot, instruct, "),
        (["eval", "x: y", "--data", "a, b.jsonl"], "model 'x: y' is neither a folder here nor a h"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    fault, *_ = faults_of(mathtune(*arguments, cwd=tmp_path))
    assert fault[: len(message)] == message


def test_chat_lists_the_styles_that_there_are(tmp_path: Path) -> None:
    done = mathtune("chat", "--help", cwd=tmp_path)
    known = get_args(PromptConfig.model_fields["style"].annotation)
    assert f"--style {'|'.join(known)}" in done.stdout
    assert {*STYLES, CHAT} == set(known)


def test_compare_refuses_what_it_cannot_compare(tmp_path: Path) -> None:
    jsonl(tmp_path / "problems.jsonl", [solved(1)])
    (tmp_path / "empty.jsonl").touch()
    (tmp_path / "run").mkdir()
    for paths, message in {
        ("problems.jsonl",): "a comparison needs two predictions files, but 1 is given; add the ot",
        ("empty.jsonl", "empty.jsonl"): "empty.jsonl holds no rows; give a predictions file that",
        (
            "problems.jsonl",
            "problems.jsonl",
        ): "problems.jsonl: which field holds the model answers?",
        ("run", "run"): "run is a folder; give predictions files such as run/predictions/tuned.jso",
        ("run",): "run folder run has no run/predictions/base.jsonl and no run/predictions/tuned.",
    }.items():
        (fault,) = faults_of(mathtune("compare", *paths, cwd=tmp_path))
        assert fault[: len(message)] == message
