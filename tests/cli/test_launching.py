"""``--launch``: what is started, and what a job's script says."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mathtune.cli.launching import parse
from mathtune.cli.main import cli
from mathtune.errors import ConfigError


def slurm(place: Path, *more: str) -> tuple[int, str]:
    done = CliRunner().invoke(
        cli,
        ["train", "demo", "train.max_steps=2", "--run-dir", str(place / "a run"), *more],
    )
    if isinstance(done.exception, ConfigError):
        return 2, "\n".join(done.exception.faults)
    return done.exit_code, done.output


def test_a_job_is_written_and_shown_but_not_submitted(tmp_path, monkeypatch):
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/bash\necho "Submitted $1"; touch {tmp_path}/submitted\n')
    sbatch.chmod(sbatch.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    how = "slurm:nodes=2,gpus=8,time=12:00:00,partition=big"
    code, said = slurm(tmp_path, "--launch", how)
    script = tmp_path / "a run.sbatch"
    text = script.read_text()
    assert code == 0 and text in said and "not submitted" in said
    assert not (tmp_path / "submitted").exists() and not (tmp_path / "a run").exists()
    for line in ("--nodes=2", "--gpus-per-node=8", "--time=12:00:00", "--partition=big"):
        assert f"#SBATCH {line}\n" in text
    assert f"-m mathtune train demo train.max_steps=2 --run-dir '{tmp_path}/a run'\n" in text
    subprocess.run(["bash", "-n", script], check=True)
    code, said = slurm(tmp_path, "--launch", how, "--submit")
    assert code == 0 and f"Submitted {script}" in said and (tmp_path / "submitted").exists()


def test_a_fault_of_the_recipe_is_reported_before_anything_is_launched(tmp_path):
    code, said = slurm(tmp_path, "train.optim=adamm", "--launch", "torchrun:2")
    assert code == 2 and said.count("adamm") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("torchrn:4", "did you mean 'torchrun'"),
        ("torchrun", "does not say processes"),
        ("torchrun:many", "no number of processes"),
        ("slurm:nodes=2", "does not say gpus"),
        ("slurm:nodes=2,gpus=8,partition=a;rm -rf b", "partition=a;rm -rf b is not a valid value"),
        ("slurm:nodes=2,gpu=8", "has no setting 'gpu'"),
    ],
)
def test_what_cannot_be_launched(how, why):
    with pytest.raises(ConfigError, match=re.escape(why)):
        parse(how)


def test_submit_is_for_slurm(tmp_path):
    assert "--submit without --launch" in slurm(tmp_path, "--submit")[1]
    assert "for --launch slurm only" in slurm(tmp_path, "--launch", "torchrun:2", "--submit")[1]


def test_torchrun_starts_the_same_command_in_each_process(tmp_path):
    """What is executed is caught by a stand-in for Python, so that no process is started."""
    caught = tmp_path / "caught"
    program = (
        "import os, sys, json\n"
        f"os.execv = lambda path, words: (open({str(caught)!r}, 'w').write("
        "json.dumps([words, os.environ['OMP_NUM_THREADS']])), sys.exit(0))\n"
        "from mathtune.cli.main import main; main()"
    )
    words = ["run", "demo", "train.max_steps=2", "--launch", "torchrun:2,restarts=3", "--json"]
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    subprocess.run(
        [sys.executable, "-c", program, *words], check=True, cwd=tmp_path, env=environment
    )
    words, threads = json.loads(caught.read_text())
    assert words[1:] == [
        "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "--max-restarts", "3", "-m", "mathtune", "run", "demo", "train.max_steps=2", "--json",
    ]  # fmt: skip
    assert int(threads) == max(1, (os.cpu_count() or 1) // 2)
