"""DPO: by hand, as TRL's, however a step is split, and from a sample file to a trained model."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from command_for_tests import jsonl, mathtune, python, solved
from log_for_tests import logged
from mathtune.config.schema import DpoConfig
from mathtune.errors import DataError
from mathtune.learning.figures import Figures
from mathtune.learning.preference.loss import DirectPreference, Pair
from mathtune.learning.preference.pairs import pairs_of
from mathtune.prompts import Renderer
from mathtune.records import Example, Problem, content_id
from mathtune.training.batching.micro_batches import Limits
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.loss.supervised import token_logprobs
from mathtune.training.memory.out_of_memory import halved
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

VOCABULARY = 20
WHOLE = Limits(100, 10_000, 10_000)


def text(prompt: int, answer: int, first: int = 2) -> Example:
    length = prompt + answer
    ids = tuple((first + 7 * place) % VOCABULARY for place in range(length))
    return Example(f"p{prompt}", ids, (False,) * prompt + (True,) * answer, prompt)


def gradient_of(
    objective: DirectPreference, model: torch.nn.Module, pairs: Sequence[Pair], limits: Limits
) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    total = 0.0
    with attention_for(model, limits):
        for micro, weight in objective.micro_batches(pairs, limits):
            loss = objective.loss_sum(model, micro, limits) * weight / objective.normaliser(pairs)
            loss.backward()
            total += float(loss.detach())
    return total, {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_one_pair_by_hand():
    model = tiny_model("llama", VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # each token has log-probability -ln 20
    each = math.log(VOCABULARY)
    pair = Pair(text(3, 2), text(3, 5), (-2 * each - 1.0, -5 * each + 2.0))
    objective = DirectPreference(DpoConfig(beta=0.5, rpo_alpha=0.25), Figures())
    # Both have gained: the chosen one 1 nat, the rejected one lost 2; 0.5 * (1 + 2) = 1.5.
    loss, _ = gradient_of(objective, model, [pair], WHOLE)
    assert loss == pytest.approx(math.log(1 + math.exp(-1.5)) + 0.25 * each, rel=1e-5)
    assert objective.metrics() == {
        "reward_margin": pytest.approx(1.5, rel=1e-5),
        "reward_accuracy": 1.0,
        "reward_chosen": pytest.approx(0.5, rel=1e-5),
        "reward_rejected": pytest.approx(-1.0, rel=1e-5),
    }


PAIRS = [
    Pair(text(3 + n % 3, 2 + n, n), text(3 + n % 3, 9 - n, n + 5), (-3.0 * n, -20.0 + n))
    for n in range(5)
]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(1, 10_000, 10_000),
        Limits(3, 40, 10_000),
        Limits(100, 10_000, 4),
        Limits(2, 10_000, 5, padding_free=True),
    ],
)
def test_the_split_of_a_step_leaves_the_gradient_unchanged(limits: Limits):
    model = tiny_model("llama", VOCABULARY)
    objective = DirectPreference(DpoConfig(rpo_alpha=0.5), Figures())
    loss, whole = gradient_of(objective, model, PAIRS, WHOLE)
    again, split = gradient_of(objective, model, PAIRS, limits)
    assert again == pytest.approx(loss, rel=1e-5)
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6)
    smaller = halved(WHOLE, [PAIRS[:3]], "step 1")
    assert (smaller.max_examples, smaller.max_tokens) == (2, 6 * 12 // 2)


def test_the_loss_is_that_of_trl(tmp_path: Path):
    trl = pytest.importorskip("trl", reason="trl, to compare with, is not installed")
    from datasets import Dataset

    tokenizer = bpe()
    tokenizer.pad_token = tokenizer.eos_token
    rows = [
        {"prompt": f"Q: {n} + {n}?\nA:", "chosen": f" {2 * n}." * n, "rejected": f" no {n}"}
        for n in range(1, 5)
    ]
    trainer = trl.DPOTrainer(
        model=tiny_model("llama", len(tokenizer)),
        ref_model=tiny_model("llama", len(tokenizer), seed=1),
        args=trl.DPOConfig(
            output_dir=str(tmp_path), beta=0.3, per_device_train_batch_size=4, bf16=False,
            report_to=[], use_cpu=True,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    texts = []
    for ids, real, own in zip(
        batch["input_ids"], batch["attention_mask"], batch["completion_mask"], strict=True
    ):
        length, supervised = int(real.sum()), own.bool().tolist()
        texts.append(Example("p", tuple(ids.tolist()[:length]), tuple(supervised[:length]), 0))
    before = [
        sum(v for v, own in zip(values, each.supervised, strict=True) if own)
        for each, values in zip(
            texts, token_logprobs(tiny_model("llama", len(tokenizer), seed=1), texts, WHOLE),
            strict=True,
        )
    ]  # fmt: skip
    half = len(texts) // 2
    pairs = [Pair(texts[n], texts[half + n], (before[n], before[half + n])) for n in range(half)]
    model = tiny_model("llama", len(tokenizer))
    ours, _ = gradient_of(DirectPreference(DpoConfig(beta=0.3), Figures()), model, pairs, WHOLE)
    theirs = float(trainer.compute_loss(trainer.model, batch))
    assert half == 4 and ours == pytest.approx(theirs, rel=1e-5)

    # TRL's mean over tokens is over the batch and ours over the answer: equal for one pair.
    trainer.loss_types, trainer.loss_weights = ["sigmoid", "sft"], [1.0, 0.5]
    one = {key: value[[0, half]] for key, value in batch.items()}
    both = DirectPreference(DpoConfig(beta=0.3, rpo_alpha=0.5), Figures())
    ours, _ = gradient_of(both, model, pairs[:1], WHOLE)
    assert ours == pytest.approx(float(trainer.compute_loss(trainer.model, one)), rel=1e-5)


def row(problem: Problem, completion: str, correct: bool, **more: Any) -> Any:
    return {
        "problem_id": problem.id, "sample": 0, "set": "train", "question": problem.question,
        "answer": problem.answer, "gold": problem.gold, "type": None, "steps": None,
        "prompt_hash": "", "style": "qa", "decoding": {}, "completion": completion, "tokens": 9,
        "inserted_tokens": 0, "stop_reason": "eos", "outcome": "correct" if correct else "wrong",
        "correct": correct, "extracted": None, "method": None, "reason": "", "error": None,
        "published": {}, **more,
    }  # fmt: skip


def problem(number: int) -> Problem:
    given = solved(number)
    name = content_id(given["question"], given["answer"])
    return Problem(name, given["question"], given["answer"], str(2 * number))


def test_pairs_of_a_sample_file():
    first, second, third, other = map(problem, range(1, 5))
    rows = [
        row(first, " It is 2. #### 2", True), row(first, "#### 3", False),
        row(first, "#### 4", False), row(first, "#### 4 ", False), row(first, "#### 5", False),
        row(first, "#### 6 and", False, stop_reason="length"),
        row(first, "?", False, outcome="ungradable"), row(first, " ", False),
        row(second, "#### 4", True), row(other, "#### 8", True), row(other, "#### 9", False),
        row(third, "#### 6", True), row(third, "#### 7", False),
    ]  # fmt: skip
    renderer = Renderer(bpe(), "qa")
    settings = {"max_pairs": 2, "max_length": 500, "source": "s.jsonl"}
    with logged() as said:
        pairs = pairs_of(rows, [first, second, third], renderer, **settings)
    made = [
        (pair.problem_id, *(renderer.tokenizer.decode(text.ids[:-1])[-6:] for text in pair.texts))
        for pair in pairs
    ]
    assert made == [
        (first.id, "#### 2", "#### 3"), (first.id, "#### 2", "#### 4"),
        (third.id, "#### 6", "#### 7"),
    ]  # fmt: skip
    for pair in pairs:
        prompt = renderer.prompt(
            next(p.question for p in (first, third) if p.id == pair.problem_id)
        )
        for each in pair.texts:
            assert each.ids[: each.prompt_tokens] == prompt.ids
            assert each.ids[-1] == renderer.tokenizer.eos_token_id
    assert (
        "3 pairs from s.jsonl; left out: 2 answers to other problems, 1 answers given before to "
        "the same problem, 1 answers that were cut, 1 answers that could not be graded, 1 empty "
        "answers, 1 problems with only right or only wrong answers"
    ) in said.getvalue()
    with pytest.raises(DataError, match=r"s\.jsonl gives no pair .* \(1 problems with only right"):
        pairs_of([row(second, "#### 4", True)], [second], renderer, **settings)


RECIPE = """
name: preference
model: {name_or_path: model, dtype: float32}
data: {train: train.jsonl, validation: valid.jsonl, test: test.jsonl, contamination: report}
train:
  objective: dpo
  max_steps: 6
  per_device_train_batch_size: 4
  learning_rate: 3.0e-3
  lr_scheduler_type: constant
  max_length: 200
  exact_match_samples: 1
  metric_for_best_model: eval_exact_match
  save_steps: 1
  save_total_limit: 10
  logging_steps: 3
dpo: {samples: samples.jsonl, rpo_alpha: 0.1}
eval: {max_new_tokens: 4, perplexity: false}
"""

KILLED = """
import os, signal, sys
from mathtune.learning.preference.loss import DirectPreference
inner, calls = DirectPreference.loss_sum, 0
def counted(*arguments):
    global calls
    calls += 1
    if calls == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return inner(*arguments)
DirectPreference.loss_sum = counted
sys.argv = ["mathtune", "train", "r.yaml", "--run-dir", "parts"]
from mathtune.cli.main import main
main()
"""


def test_a_model_learns_to_prefer_and_a_killed_run_ends_the_same(tmp_path: Path) -> None:
    saved_model(tmp_path / "model", "llama")
    (tmp_path / "r.yaml").write_text(RECIPE)
    problems = [solved(n) for n in range(1, 11)]
    jsonl(tmp_path / "train.jsonl", problems)
    jsonl(tmp_path / "valid.jsonl", [solved(3, "cups")])
    jsonl(tmp_path / "test.jsonl", [solved(4, "bags")])
    rows = [
        row(problem(n), f"#### {2 * n + wrong}", not wrong, sample=wrong)
        for n in range(1, 11)
        for wrong in (0, 1)
    ]
    jsonl(tmp_path / "samples.jsonl", rows)
    done = mathtune("train", "r.yaml", "--run-dir", "whole", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "10 pairs from samples.jsonl" in done.stderr
    lines = [json.loads(each) for each in (tmp_path / "whole" / "metrics.jsonl").open()]
    margins = [line["reward_margin"] for line in lines if "reward_margin" in line]
    assert len(margins) == 2 and margins[1] > margins[0] > 0
    assert lines[-1].keys() >= {"eval_exact_match"}

    assert python(KILLED, cwd=tmp_path).returncode == -signal.SIGKILL
    kept = (tmp_path / "samples.jsonl").read_text()
    jsonl(tmp_path / "samples.jsonl", rows[2:])
    again = ("train", "r.yaml", "--run-dir", "parts")
    refused = mathtune(*again, cwd=tmp_path)
    assert refused.returncode == 2
    assert "the content of dpo.samples changed since training began" in refused.stderr
    (tmp_path / "samples.jsonl").write_text(kept)
    assert mathtune(*again, cwd=tmp_path).returncode == 0
    whole, parts = (tmp_path / each / "model" / "model.safetensors" for each in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
