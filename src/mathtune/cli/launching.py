"""``--launch``: the same command in several processes, by torchrun here or by SLURM on nodes.

``torchrun:4`` replaces this process with torchrun and four processes of the command.
``slurm:nodes=2,gpus=8`` writes the script of a batch job and shows it; ``--submit`` submits it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mathtune import ranks
from mathtune.cli.common import echo
from mathtune.errors import ConfigError, did_you_mean
from mathtune.storage import write_text

F = TypeVar("F", bound=Callable[..., Any])

_NUMBER, _NAME, _TIME = r"[1-9]\d{0,5}", r"[\w.@-]+", r"(\d+-)?\d+(:\d+){0,2}"
KEYS = {
    "torchrun": {"restarts": r"\d{1,3}"},
    "slurm": {
        "nodes": _NUMBER, "gpus": _NUMBER, "cpus": _NUMBER, "restarts": r"\d{1,3}",
        "time": _TIME, "partition": _NAME, "account": _NAME,
    },
}  # fmt: skip
"""What can be said of each launcher, with what its value looks like."""

_SCRIPT = """#!/bin/bash
# {command}
# Written by mathtune. The run folder must be on a disk that all nodes see.
#SBATCH --job-name=mathtune
#SBATCH --nodes={nodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={gpus}
{more}#SBATCH --requeue
#SBATCH --signal=TERM@120
# --requeue: the same command continues from the last checkpoint.
# --signal: two minutes before the end, save a checkpoint and stop.

set -euo pipefail
host=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=${{OMP_NUM_THREADS:-$(( ${{SLURM_CPUS_PER_TASK:-{gpus}}} / {gpus} ))}}

srun --kill-on-bad-exit=1 {python} -m torch.distributed.run \\
  --nnodes {nodes} --nproc-per-node {gpus} --max-restarts {restarts} \\
  --rdzv-backend c10d --rdzv-endpoint "$host:${{PORT:-29500}}" --rdzv-id "$SLURM_JOB_ID" \\
  -m {command}
"""


def launch_options(function: F) -> F:
    """Add ``--launch`` and ``--submit``."""
    function = click.option(
        "--submit", is_flag=True, help="Submit the job that --launch slurm writes."
    )(function)
    return click.option(
        "--launch",
        metavar="HOW",
        help="Start several processes: torchrun:4 (here), or slurm:nodes=2,gpus=8 (write a job).",
    )(function)


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Return the launcher and its settings; ``processes`` is the number after ``torchrun:``.

    Raises:
        ConfigError: They cannot be understood; all faults are reported at once.
    """
    kind, _, rest = text.partition(":")
    if kind not in KEYS:
        raise ConfigError(
            f"--launch {text}: there is no launcher {kind!r}{did_you_mean(kind, list(KEYS))}; give "
            "torchrun:4 or slurm:nodes=2,gpus=8"
        )
    words = [word.strip() for word in rest.split(",") if word.strip()]
    given: dict[str, str] = {}
    if kind == "torchrun" and words and "=" not in words[0]:
        given["processes"] = words.pop(0)
    known = KEYS[kind]
    faults = []
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            faults.append(
                f"--launch {kind} has no setting {key!r}{did_you_mean(key, list(known))}; it has "
                f"{', '.join(known)}"
            )
        elif not re.fullmatch(known[key], value, re.ASCII):
            faults.append(f"--launch {kind}: {key}={value} is not a valid value")
        given[key] = value
    needed = ("processes",) if kind == "torchrun" else ("nodes", "gpus")
    if missing := [name for name in needed if name not in given]:
        example = "torchrun:4" if kind == "torchrun" else "slurm:nodes=2,gpus=8"
        faults.append(f"--launch {text} does not say {' and '.join(missing)}; give {example}")
    elif kind == "torchrun" and not re.fullmatch(_NUMBER, given["processes"], re.ASCII):
        faults.append(
            f"--launch {text}: {given['processes']!r} is no number of processes; give torchrun:4"
        )
    if faults:
        raise ConfigError(faults)
    return kind, given


def again_in_processes(
    name: str,
    recipe: str,
    overrides: Sequence[str],
    run_dir: Path | None,
    fresh: bool,
    as_json: bool,
) -> list[str]:
    """Return the arguments of a command without ``--launch``."""
    options = [*(["--run-dir", str(run_dir)] if run_dir else []), *(["--fresh"] if fresh else [])]
    return [name, recipe, *overrides, *options, *(["--json"] if as_json else [])]


def start(how: str | None, command: Sequence[str], folder: Path, *, submit: bool) -> None:
    """Start the command as told; with torchrun this does not return.

    Args:
        how: As given to ``--launch``.
        command: Arguments of ``mathtune``, without ``--launch``.
        folder: The run folder, next to which a job's script is written.
        submit: Whether to submit a job.

    Raises:
        ConfigError: ``how`` cannot be understood, or this is one of several processes already.
        DiskError: The script could not be written.
    """
    if how is None:
        raise ConfigError("--submit without --launch; give --launch slurm:nodes=2,gpus=8 as well")
    kind, given = parse(how)
    if ranks.world_size() > 1:
        raise ConfigError(f"--launch {how} inside another launcher; leave one of them out")
    if submit and kind != "slurm":
        raise ConfigError("--submit is for --launch slurm only; torchrun starts at once")
    if kind == "torchrun":
        processes = int(given["processes"])
        threads = max(1, (os.cpu_count() or 1) // processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
        arguments = [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node", str(processes), "--max-restarts", given.get("restarts", "0"),
            "-m", "mathtune", *command,
        ]  # fmt: skip
        sys.stdout.flush()
        os.execv(sys.executable, arguments)
    path = folder.with_name(f"{folder.name}.sbatch")
    text = job(given, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    echo(text)
    if not submit:
        echo(f"not submitted; submit it with: sbatch {shlex.quote(str(path))}")
        return
    if shutil.which("sbatch") is None:
        raise ConfigError(f"--submit: there is no sbatch here; the script is in {path}")
    done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"sbatch refused {path}: {done.stderr.strip() or done.stdout.strip()}")
    echo(done.stdout.strip())


def job(given: dict[str, str], command: Sequence[str]) -> str:
    """Return the script of a batch job."""
    lines = {
        "cpus": "cpus-per-task",
        "time": "time",
        "partition": "partition",
        "account": "account",
    }
    more = "".join(f"#SBATCH --{lines[key]}={given[key]}\n" for key in lines if key in given)
    return _SCRIPT.format(
        command=shlex.join(["mathtune", *command]).replace("\n", " "),
        nodes=given["nodes"],
        gpus=given["gpus"],
        more=more,
        restarts=given.get("restarts", "3"),
        python=shlex.quote(sys.executable),
    )
