"""``mathtune eval`` with a real model, killed with SIGKILL in the middle of decoding.

The model is decisive: in all that it decodes here the best token's logit is at least 4e-4 above the
second best's, and logits of a row decoded beside others differ by 1e-6. A restart, which puts rows
beside other rows, can therefore not turn one choice over.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.process
import random
import sys
import time
from pathlib import Path

from mathtune.problems.generate import generate
from models_for_tests import saved_model

PROBLEMS = 60
KILLS = 5


def run_command(arguments: list[str], said: str) -> None:
    """Be the ``mathtune`` program, in a process of its own."""
    from mathtune.cli.main import main

    sys.argv = ["mathtune", *arguments]
    with open(said, "a") as file:
        sys.stdout = sys.stderr = file
        main()


def test_killed_five_times_its_files_equal_uninterrupted_ones(tmp_path: Path) -> None:
    model, _ = saved_model(tmp_path / "model", "llama", seed=2)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "".join(
            json.dumps({"question": p.question, "answer": p.answer, "type": p.type}) + "\n"
            for p in generate(PROBLEMS, seed=3)
        )
    )
    # Starts in a tenth of a second, from a server that has imported the libraries.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(
        [
            "mathtune.preflight",
            "mathtune.training.session",
            "mathtune.generation.hf",
            "mathtune.report.html",
            "transformers.models.llama.modeling_llama",
        ]
    )

    def start(run: Path) -> multiprocessing.process.BaseProcess:
        arguments = [
            "eval", str(model), "--data", str(problems), "--max-new-tokens", "48",
            "--batch-size", "4", "--shots", "1", "--shot-source", "word-problems",
            "--run-dir", str(run),
        ]  # fmt: skip
        process = processes.Process(target=run_command, args=(arguments, f"{run}.txt"))
        process.start()
        return process

    def finish(run: Path) -> None:
        process = start(run)
        process.join(120)
        assert process.exitcode == 0, Path(f"{run}.txt").read_text()

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)

    draw = random.Random()
    for _ in range(KILLS):
        target = lines(killed) + draw.randint(1, 7)
        process = start(killed)
        deadline = time.monotonic() + 120
        while lines(killed) < target and time.monotonic() < deadline:
            assert process.exitcode is None, Path(f"{killed}.txt").read_text()
            time.sleep(0.001)
        time.sleep(draw.random() * 0.02)
        process.kill()
        process.join()
        assert process.exitcode == -9
    saved = lines(killed)
    assert target <= saved < lines(whole), "the last kill came after the last answer"

    finish(killed)
    names = sorted(path.name for path in (whole / "predictions").glob("*.jsonl"))
    assert len(names) == 2  # calculator off and on
    for name in names:
        one, other = (run / "predictions" / name for run in (whole, killed))
        assert one.read_bytes().count(b"\n") == PROBLEMS
        assert one.read_bytes() == other.read_bytes(), name
    assert figures(whole) == figures(killed)


def lines(run: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (run / "predictions").glob("*.jsonl"))


def figures(run: Path) -> list[dict[str, object]]:
    """All figures but speeds."""
    evaluations = json.loads((run / "results.json").read_text())["evaluations"]
    speeds = ("seconds_per_problem", "tokens_per_second")
    return [{k: v for k, v in found.items() if k not in speeds} for found in evaluations]
