"""How steps and problems are shared out, checked without starting the ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_for_tests import faults_of, jsonl, mathtune, solved
from mathtune.evaluation.evaluate import evaluate
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Example, Problem, ProblemSet, Prompt
from mathtune.training.batching.across_ranks import micro_batches, parts
from mathtune.training.batching.micro_batches import Limits
from models_for_tests import saved_model

LENGTHS = (9, 3, 7, 7, 2, 5, 4)
EXAMPLES = [Example(str(n), (1,) * n, (False,) + (True,) * (n - 1), 1) for n in LENGTHS]


@pytest.mark.parametrize("examples", [EXAMPLES, EXAMPLES[:1]], ids=["seven", "one"])
def test_every_example_counts_once_and_all_ranks_run_as_many_micro_batches(examples, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    counted, counts = [], []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        own = micro_batches(
            examples, Limits(max_examples=2, max_tokens=12, max_supervised_tokens=99)
        )
        assert {weight for _, weight in own} <= {0.0, 1.0}
        counted += [example for micro, weight in own if weight for example in micro]
        counts.append(len(own))
    assert sorted(map(id, counted)) == sorted(map(id, examples))
    assert len(set(counts)) == 1


def test_parts_have_about_as_many_tokens():
    loads = [sum(len(example.ids) for example in part) for part in parts(EXAMPLES, 2)]
    assert sorted(loads) == [18, 19]


def test_parts_of_killed_ranks_are_joined_by_one_process(tmp_path: Path):
    problems = ProblemSet(
        "set", tuple(Problem(f"id{n}", f"{n}+1?", f"#### {n + 1}", f"{n + 1}") for n in range(6))
    )
    whole, path = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"

    def measured(path: Path):
        engine = ScriptedEngine({f"id{n}": [f"#### {n + 1}"] for n in range(6)})
        prompts = [Prompt(p.id, p.question, (1,)) for p in problems.problems]
        return evaluate(engine, problems, prompts, Decoding(), path=path, style="qa")

    measured(whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[3])
    (tmp_path / "cut.jsonl.rank-0").write_bytes(lines[4] + lines[0])
    (tmp_path / "cut.jsonl.rank-1").write_bytes(lines[2] + lines[5][:20])
    found = measured(path)
    assert (found.counts.resumed, found.counts.generated, found.counts.torn) == (4, 2, 1)
    assert path.read_bytes() == whole.read_bytes()
    assert sorted(each.name for each in tmp_path.glob("*rank*")) == []


def test_what_sharded_training_cannot_do_is_told_at_once_and_by_one_rank(tmp_path: Path):
    saved_model(tmp_path / "model", "llama")
    jsonl(tmp_path / "problems.jsonl", [solved(n) for n in range(1, 9)])
    arguments = (
        "train", "gemma-2b-orca", "model=model", "train.exact_match_samples=3",
        "data.train=problems.jsonl", "data.test=problems.jsonl", "tracking.report_to=[]",
    )  # fmt: skip
    launched = {"WORLD_SIZE": "2", "ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "1"}
    faults = faults_of(mathtune(*arguments, cwd=tmp_path, RANK="0", **launched))
    assert [fault.partition(" ")[0] for fault in faults] == [
        "train.exact_match_samples=3", "model.load_in_4bit=true", "train.optim=paged_adamw_8bit",
        "fsdp_version",
    ]  # fmt: skip
    other = mathtune(*arguments, cwd=tmp_path, RANK="1", **launched)
    assert (other.returncode, other.stdout, other.stderr) == (2, "", "")
