"""Wrong recipes given to the real command: one sentence a fault, exit code 2, no traceback."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_for_tests import faults_of, jsonl, mathtune, model_folder, solved

RECIPE = """# mathtune run good.yaml
name: good
model: {name_or_path: model}
data:
  train: train.jsonl
  test: test.jsonl
train: {max_steps: 2, max_length: 256}
eval: {max_new_tokens: 8}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a sound recipe, its data and what a model folder is checked for."""
    (tmp_path / "good.yaml").write_text(RECIPE)
    jsonl(tmp_path / "train.jsonl", (solved(n) for n in range(9)))
    jsonl(tmp_path / "test.jsonl", (solved(n, "cups") for n in range(3)))
    model_folder(tmp_path / "model")
    return tmp_path


def refused(folder: Path, *overrides: str, **environment: str) -> list[str]:
    faults = faults_of(mathtune("run", "good.yaml", *overrides, cwd=folder, **environment))
    assert not (folder / "runs").exists()  # nothing was begun
    return faults


def test_a_sound_recipe_is_valid(folder: Path) -> None:
    done = mathtune("validate", "good.yaml", cwd=folder)
    assert (done.returncode, done.stderr) == (
        0,
        "valid; checked: settings, data on this machine, model files; not checked: whether weights "
        "load, memory (mathtune plan estimates it)\n",
    )
    assert "max_steps: 2" in done.stdout


def test_what_was_not_checked_is_said(folder: Path) -> None:
    overrides = ("model=google/gemma-2b", "data.train=[gsm8k, train.jsonl]", "data.test=svamp")
    done = mathtune("validate", "good.yaml", *overrides, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "valid; checked: settings, data on this machine; not checked: svamp and gsm8k and "
        "google/gemma-2b on the hub, whether weights load, memory (mathtune plan estimates it)\n"
    )


def test_faults_of_independent_kinds_are_told_together(folder: Path) -> None:
    # A wrong type, a typo, an unknown model, an unknown optimiser, a file that is missing and one
    # whose line 4,711 was cut off.
    lines = [b'{"question": "q", "answer": "#### 1"}'] * 5000
    lines[4710] = b'{"question": "q", "answer'
    (folder / "broken.jsonl").write_bytes(b"\n".join(lines))
    faults = refused(
        folder,
        "train.learning_rat=1",
        "train.max_steps=many",
        "model=./modell",
        "train.optim=adamw_toch",
        "data.train=[trian.jsonl, broken.jsonl]",
    )
    assert faults == [
        "train.max_steps='many' is not a whole number; give one, as in train.max_steps=100",
        "unknown key train.learning_rat; did you mean 'learning_rate'?",
        "model folder './modell' does not exist; did you mean 'model'?",
        next(fault for fault in faults if fault.endswith("; did you mean 'adamw_torch'?")),
        "trian.jsonl does not exist; check the path; this folder holds broken.jsonl, test.jsonl, "
        "train.jsonl",
        "broken.jsonl has 1 row that cannot be used (not JSON: 1 (line 4,711: Unterminated string "
        'starting at, column 19: {"question": "q", "answer)). Repair or remove the rows',
    ]


def test_typo(folder: Path) -> None:
    (folder / "good.yaml").write_text(RECIPE.replace("max_steps", "max_stepz"))
    assert refused(folder) == ["unknown key train.max_stepz; did you mean 'max_steps'?"]


def test_wrong_type(folder: Path) -> None:
    (folder / "good.yaml").write_text(RECIPE.replace("max_steps: 2", "max_steps: true"))
    assert refused(folder, "eval.stop=x") == [
        "train.max_steps='true' is not a whole number; give one, as in train.max_steps=100",
        "eval.stop='x' is not a list; put it in brackets, as in eval.stop: ['x']",
    ]


def test_impossible_combination(folder: Path) -> None:
    (fault,) = refused(folder, "model.load_in_4bit=true")
    assert fault.startswith("model.load_in_4bit=true with adapter empty: 4-bit weights cannot be")
    assert fault.endswith("(for example adapter.r=8) or set model.load_in_4bit=false")
    (fault,) = refused(folder, "prompt.system=Be brief.")
    assert fault == (
        "prompt.system with prompt.style=qa: only the chat style has a system message; set "
        "prompt.style=chat or leave prompt.system out"
    )


def test_attention_kernels(folder: Path) -> None:
    (unknown,) = refused(folder, "model.attn_implementation=flash_atention_2")
    assert unknown.startswith("model.attn_implementation is flash_atention_2; give eager, sdpa, ")
    assert unknown.endswith("did you mean 'flash_attention_2'?")
    (missing,) = refused(folder, "model.attn_implementation=flash_attention_3")
    assert missing == (
        "model.attn_implementation=flash_attention_3 needs the package flash-attn-3, which is not "
        "installed; install it or set model.attn_implementation=sdpa"
    )
    (nothing,) = refused(folder, "model.attn_implementation=/")
    assert nothing.startswith("model.attn_implementation is /; give eager, sdpa, ")
    (absent,) = refused(
        folder, "model.attn_implementation=owner/kernel", "model.trust_remote_code=true"
    )
    assert "needs the package kernels, which is not installed" in absent
    (hub, _) = refused(folder, "model.attn_implementation=kernels-community/flash-attn2")
    assert "with model.trust_remote_code=false: a kernel on the hub is somebody's machine" in hub


def test_missing_file(folder: Path) -> None:
    (fault,) = faults_of(mathtune("run", "godo.yaml", cwd=folder))
    assert fault == (
        "recipe file 'godo.yaml' does not exist; check the path; this folder holds good.yaml"
    )


def test_data_faults_are_told_together(folder: Path) -> None:
    # Empty, without a gold answer, not text, no such set: found when the data are read.
    (folder / "empty.jsonl").touch()
    jsonl(folder / "nogold.jsonl", [solved(1), {"question": "Why?", "answer": "Because."}])
    (folder / "binary.jsonl").write_bytes(b"\xbd\x00\n")
    done = mathtune(
        "run",
        "good.yaml",
        "data.train=[empty.jsonl, nogold.jsonl, gsm9k]",
        "data.test=binary.jsonl",
        cwd=folder,
    )
    empty, gold, unknown, binary = faults_after_folder(done)
    assert empty == "empty.jsonl is empty (0 bytes); check that it was written completely"
    assert gold.startswith(
        "nogold.jsonl has 1 row that cannot be used (no final answer: 1 (line 2)). End each "
        "solution with a line such as '#### 42'"
    )
    assert unknown.startswith("no set is called 'gsm9k'; did you mean 'gsm8k'?")
    assert binary.startswith("binary.jsonl is not text (it begins with b'\\xbd\\x00\\n')")
    # The recipe can be corrected and given again for the same folder, in which nothing was done.
    (run_dir,) = (folder / "runs").iterdir()
    again = mathtune("run", "good.yaml", "data.train=gsm9k", "--run-dir", str(run_dir), cwd=folder)
    assert faults_after_folder(again) == [unknown]


def faults_after_folder(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the faults of a command that had named its run folder before it read the data."""
    named, _, done.stderr = done.stderr.partition("\n")
    assert re.fullmatch(r"run folder: .*runs/good-\w+", named)
    return faults_of(done)


def test_context_too_short(folder: Path) -> None:
    (fault,) = refused(folder, "train.max_length=1024")
    assert fault == (
        "train.max_length=1024 is beyond the model's context of 512 tokens; set "
        "train.max_length=512 or less"
    )


def test_unknown_models(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "empty").mkdir()
    for model, message in {
        "tiny-bass": "model 'tiny-bass' is neither a folder here nor a hub id of the form "
        "owner/name; did you mean 'tiny-base'?",
        "file": "model 'file' is a file; give the folder that holds the saved model",
        "empty": "model folder 'empty' holds no config.json and no *.safetensors and no "
        "tokenizer.json; give a folder written by save_pretrained of both the model and its "
        "tokenizer",
    }.items():
        assert refused(folder, f"model={model}") == [message]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, mounted for real."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_no_disk(folder: Path, small_disk: Path) -> None:
    (fault,) = refused(folder, "--run-dir", "disk/run")
    assert fault == (
        f"1 MB are free at {small_disk} and this run needs at least 200 MB; free some space or "
        "choose another --run-dir"
    )
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    (fault,) = refused(folder, "--run-dir", "disk/run")
    assert fault == (
        f"--run-dir=disk/run cannot be written, as {small_disk} is read-only; choose another"
    )


def test_faults_are_told_before_torch_is_loaded(folder: Path) -> None:
    # A module called torch that fails stands in front of the real one.
    (folder / "torch.py").write_text("raise SystemExit('torch was imported')")
    (fault,) = refused(folder, "train.optim=nope", PYTHONPATH=str(folder))
    assert fault.startswith("train.optim=nope is unknown; give one of adamw_torch, ")
