"""Killed with SIGKILL at random moments, an evaluation loses and repeats nothing it has saved."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = '''
import random, sys, time
from pathlib import Path
from mathtune.evaluation.evaluate import evaluate
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Problem, ProblemSet, Prompt

path, seconds = Path(sys.argv[1]), float(sys.argv[2])
problems = ProblemSet("kill", tuple(
    Problem(f"id{n}", f"What is {n}+1?", f"{n + 1}\\n#### {n + 1}", str(n + 1)) for n in range(150)
))
script = {
    f"id{n}": [f"so {n}+1={n + 1 + n % 3}\\n#### {n + 1 + n % 3}", "none " * n] for n in range(150)
}


class Slow(ScriptedEngine):
    """Takes its time and finishes in any order."""

    def generate(self, prompts, decoding):
        prompts = list(prompts)
        random.shuffle(prompts)
        for completion in super().generate(prompts, decoding):
            time.sleep(seconds)
            yield completion


found = evaluate(
    Slow(script), problems, lambda p: Prompt(p.id, p.question, (1,)), Decoding(samples=2),
    path=path, style="qa",
)
print(found.counts.resumed, found.counts.generated)
'''


def start(path: Path, seconds: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True
    )


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_five_times_the_file_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.jsonl", tmp_path / "killed.jsonl"
    with start(whole, 0) as child:
        assert child.wait(60) == 0

    draw = random.Random()
    for kill in range(5):
        target = lines(path) + draw.randint(1, 35)
        with start(path, 0.002) as child:
            deadline = time.monotonic() + 60
            while lines(path) < target and time.monotonic() < deadline:
                assert child.poll() is None, "finished before it could be killed"
                time.sleep(0.001)
            time.sleep(draw.random() * 0.01)
            child.send_signal(signal.SIGKILL)
        assert lines(path) >= target, kill
    saved = lines(path)
    assert saved < 300

    with start(path, 0) as child:
        output, _ = child.communicate(timeout=60)
    assert output.split() == [str(saved), str(300 - saved)]
    assert path.read_bytes() == whole.read_bytes()
