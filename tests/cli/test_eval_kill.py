"""``mathtune eval`` with a real model, killed with SIGKILL in the middle of decoding.

The model is decisive: in all that it decodes here the best token's logit is at least 4e-4 above the
second best's, and logits of a row decoded beside others differ by 1e-6. A restart, which puts rows
beside other rows, can therefore not turn one choice over.
"""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

from command_for_tests import Started, start, wait_for
from mathtune.problems.generate import generate
from models_for_tests import saved_model

PROBLEMS = 60
KILLS = 5


def test_killed_five_times_its_files_equal_uninterrupted_ones(tmp_path: Path) -> None:
    model, _ = saved_model(tmp_path / "model", "llama", seed=2)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "".join(
            json.dumps({"question": p.question, "answer": p.answer, "type": p.type}) + "\n"
            for p in generate(PROBLEMS, seed=3)
        )
    )

    def started(run: Path) -> Started:
        return start(
            "eval", str(model), "--data", str(problems), "--max-new-tokens", "48",
            "--batch-size", "4", "--shots", "1", "--shot-source", "word-problems",
            "--run-dir", str(run), cwd=tmp_path,
        )  # fmt: skip

    def finish(run: Path) -> None:
        process = started(run)
        said = process.communicate()
        assert process.returncode == 0, said

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(whole)

    draw = random.Random()
    for _ in range(KILLS):
        target = lines(killed) + draw.randint(1, 7)
        process = started(killed)
        wait_for(lambda target=target: lines(killed) >= target, process)
        time.sleep(draw.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
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
