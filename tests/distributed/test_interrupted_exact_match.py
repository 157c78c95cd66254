"""Exact match in the loop on two real gloo processes of which one receives a signal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from mathtune import ranks
from mathtune.config.schema import EvalConfig
from mathtune.errors import ValidationInterrupted
from mathtune.evaluation.in_loop import validation_exact_match
from mathtune.prompts import Renderer
from mathtune.records import Completion, Problem, StopReason
from tokenizers_for_tests import bpe

class Session:
    def renderer(self):
        return Renderer(bpe(), "qa")

    def engine(self, interrupted):
        self.interrupted = interrupted
        return self

    def generate(self, prompts, decoding):
        for prompt in prompts:
            if self.interrupted():
                return
            text = f"#### {prompt.problem_id}"
            yield Completion(prompt.problem_id, 0, text, (1,), StopReason.EOS)

problems = [Problem(str(n), f"What is {n}?", "", str(n % 4)) for n in range(8)]
for who in (0, 1, None):
    try:
        found = validation_exact_match(
            Session(), problems, EvalConfig(), lambda: ranks.rank() == who)
    except ValidationInterrupted:
        found = "interrupted"
    by_rank = ranks.gather(found)
    if ranks.is_first():
        print(who, *by_rank)
ranks.part()
"""


def test_all_ranks_stop_where_one_is_interrupted(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = subprocess.run(
        [sys.executable, *torchrun, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == [
        "0 interrupted interrupted",
        "1 interrupted interrupted",
        "None 0.5 0.5",
    ]
