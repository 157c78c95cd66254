"""``train.objective: gkd``: reverse KL by hand, a student that approaches its teacher, refusals."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from log_for_tests import logged
from mathtune import config
from mathtune.cli.main import cli
from mathtune.config.schema import GkdConfig
from mathtune.errors import ConfigError, ModelError, RunError
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.learning.distillation.gkd import OwnAnswers
from mathtune.learning.distillation.loss import OnPolicyDistillation
from mathtune.learning.figures import Figures
from mathtune.learning.rollouts import Sampler, Task
from mathtune.models.files import resolve
from mathtune.records import Completion, Example, Problem, Prompt, StopReason
from mathtune.training.batching.micro_batches import Limits
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.loss.reverse_kl import _ReverseKL
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

VOCABULARY = 20
WHOLE = Limits(100, 10_000, 10_000)


def answer(prompt: int, chosen: str) -> Example:
    """An answer of tokens that were chosen (``x``) or inserted by the calculator (``-``)."""
    flags = (False,) * prompt + tuple(letter == "x" for letter in chosen)
    ids = tuple((7 * place + 3 * prompt) % VOCABULARY for place in range(len(flags)))
    return Example(f"p{prompt}", ids, flags, prompt)


def test_the_divergence_and_its_gradient_by_hand():
    """Two tokens: the model says 1/2 and 1/2, the teacher 1/4 and 3/4."""
    logits = torch.tensor([[0.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[0.0, math.log(3.0)]])
    divergence, entropy = _ReverseKL.apply(logits.clone(), teacher)
    # 1/2 ln(1/2 / 1/4) + 1/2 ln(1/2 / 3/4) = ln 2 - 1/2 ln 3
    kl = math.log(2) - math.log(3) / 2
    assert divergence.item() == pytest.approx(kl, abs=1e-6)
    assert entropy.item() == pytest.approx(math.log(2), abs=1e-6)
    (2 * divergence).sum().backward()
    # p (log p - log q - KL): 1/2 (ln 2 - KL) = 1/4 ln 3 for the first token, minus it for the other
    assert logits.grad is not None
    assert logits.grad.tolist() == [pytest.approx([math.log(3) / 2, -math.log(3) / 2], abs=1e-6)]


def test_a_vocabulary_padded_to_another_size_is_compared_in_what_both_have():
    torch.manual_seed(0)
    logits, teacher = torch.randn(3, 7, requires_grad=True), torch.randn(3, 5)
    divergence, _ = _ReverseKL.apply(logits.clone(), teacher)
    own = logits[:, :5].log_softmax(-1)
    expected = (own.exp() * (own - teacher.log_softmax(-1))).sum(-1)
    torch.testing.assert_close(divergence, expected)
    expected.sum().backward()
    expected_gradient, logits.grad = logits.grad, None
    divergence.sum().backward()
    torch.testing.assert_close(logits.grad, expected_gradient)


def gradient_of(
    objective: OnPolicyDistillation,
    model: torch.nn.Module,
    answers: Sequence[Example],
    limits: Limits,
) -> tuple[float, dict[str, torch.Tensor]]:
    """Return a step's mean loss and gradient, as the loop adds them up."""
    model.zero_grad()
    total = 0.0
    with attention_for(model, limits):
        for micro, weight in objective.micro_batches(answers, limits):
            loss = objective.loss_sum(model, micro, limits) * weight / objective.normaliser(answers)
            loss.backward()
            total += float(loss.detach())
    named = model.named_parameters()
    return total, {name: p.grad.clone() for name, p in named if p.grad is not None}


def test_the_loss_of_a_step_is_its_mean_over_chosen_tokens_however_it_is_split():
    model, teacher = tiny_model("llama", VOCABULARY), tiny_model("llama", VOCABULARY, seed=1)
    answers = [answer(3, "xx-x"), answer(5, "xxxxxx"), answer(2, "x")]
    objective = OnPolicyDistillation(teacher, Figures())
    loss, gradient = gradient_of(objective, model, answers, WHOLE)
    divergences = []
    for each in answers:
        ids = torch.tensor([each.ids])
        own = model(ids).logits[0].log_softmax(-1)
        other = teacher(ids).logits[0].log_softmax(-1).detach()
        places = [place - 1 for place, chosen in enumerate(each.supervised) if chosen]
        divergences.append((own.exp() * (own - other)).sum(-1)[places])
    mean = torch.cat(divergences).mean()
    assert len(torch.cat(divergences)) == objective.normaliser(answers) == 10
    assert loss == pytest.approx(mean.item(), rel=1e-4)
    model.zero_grad()
    mean.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-3, atol=1e-6)
    for limits in (
        Limits(2, 10_000, 10_000),
        Limits(1, 10_000, 10_000),
        replace(WHOLE, padding_free=True),
        Limits(100, 10_000, 3),  # logits of three positions at a time
    ):
        again, split = gradient_of(objective, model, answers, limits)
        assert again == pytest.approx(loss, rel=1e-5)
        for name, value in gradient.items():
            torch.testing.assert_close(split[name], value, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in teacher.parameters())


def sampled(model: torch.nn.Module, tokenizer: Any, seed: int = 3) -> OwnAnswers:
    tasks = [
        Task(Problem(f"p{n}", "", "", ""), Prompt(f"p{n}", "", (4 + n, 6 + n))) for n in range(4)
    ]
    decoding = Decoding(8, temperature=1.0, samples=2, seed=seed)
    sampler = Sampler(
        tasks, HFEngine(model, tokenizer, rows=4), decoding, memory_budget=1, figures=Figures()
    )
    return OwnAnswers(sampler, len(tasks), 3)


def test_a_student_approaches_its_teacher_on_its_own_answers():
    tokenizer = bpe()
    vocabulary = len(tokenizer)
    student, teacher = (tiny_model("llama", vocabulary, seed=seed) for seed in (0, 1))
    with torch.no_grad():
        teacher.lm_head.weight.mul_(8)  # with opinions of its own
    objective = OnPolicyDistillation(teacher.eval().requires_grad_(False), Figures())
    source, optimizer = sampled(student, tokenizer), torch.optim.AdamW(student.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss, _ = gradient_of(objective, student, source.next_step(), WHOLE)
        optimizer.step()
        losses.append(loss)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert source.epoch == 20


def test_a_source_goes_on_where_its_state_was_taken():
    tokenizer = bpe()
    model = tiny_model("llama", len(tokenizer))
    whole, again = sampled(model, tokenizer), sampled(model, tokenizer)
    first = whole.next_step()
    again.restore(json.loads(json.dumps(whole.state())))
    second = whole.next_step()
    assert again.next_step() == second and first != second
    assert again.state() == whole.state()
    assert len(second) == 6 and all(any(each.supervised) for each in second)


class Inserting:
    """An engine whose answers have two tokens from the calculator."""

    name = "inserting"

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        for prompt in prompts:
            yield Completion(
                prompt.problem_id, 0, "", (9, 8, 7, 6), StopReason.EOS,
                inserted_tokens=2, inserted_at=(1, 2),
            )  # fmt: skip


def test_the_calculators_tokens_are_not_learned():
    task = Task(Problem("a", "", "", ""), Prompt("a", "", (1, 2)))
    sampler = Sampler([task], Inserting(), Decoding(4), memory_budget=1, figures=Figures())
    (made,) = OwnAnswers(sampler, 1, 1).next_step()
    assert made.ids == (1, 2, 9, 8, 7, 6)
    assert made.supervised == (False, False, True, False, False, True)


RECIPE = """
name: distil
seed: 1
model: {name_or_path: tiny-base, dtype: float32}
data:
  train: {generated: problems, types: [equal_groups, share_equally, leftover], n: 8}
  validation: {generated: problems, types: [share_equally], n: 1, seed: 7}
  test: {generated: problems, types: [share_equally], part: test, n: 1}
train:
  objective: gkd
  max_steps: 3
  per_device_train_batch_size: 2
  learning_rate: 1.0e-3
  optim: sgd
  max_length: 300
  exact_match_samples: 1
  metric_for_best_model: eval_exact_match
  eval_strategy: steps
  eval_steps: 100
  save_steps: 1
  logging_steps: 2
gkd: {teacher_model_name_or_path: teacher, num_generations: 2}
eval: {max_new_tokens: 16, perplexity: false}
"""


def call(*arguments: str) -> None:
    done = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if done.exception:
        raise done.exception


def lines(run: Path) -> list[dict[str, Any]]:
    made = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in made]


def changed_toy(folder: Path, seed: int = 0) -> None:
    """Save the toy with other weights, as a teacher with its tokenizer."""
    toy = Path(resolve("tiny-base"))
    model = AutoModelForCausalLM.from_pretrained(toy, dtype=torch.float32)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(toy).save_pretrained(folder)


def test_a_run_that_is_continued_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    changed_toy(Path("teacher"))
    with logged() as said:
        call("train", "r.yaml", "--run-dir", "whole")
    assert "loading the teacher teacher" in said.getvalue()
    trained = [line for line in lines(Path("whole")) if "reward" in line]
    assert set(trained[0]) >= {"reward", "completion_length", "truncated", "entropy"}
    assert trained[0]["loss"] > 1e-3

    inner, calls = OnPolicyDistillation.loss_sum, iter(range(100))

    def broken(*given: Any) -> torch.Tensor:
        if next(calls) == 2:
            raise RuntimeError("so it goes")
        return inner(*given)

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="so it goes"):
        patched.setattr(OnPolicyDistillation, "loss_sum", broken)
        call("train", "r.yaml", "--run-dir", "parts")
    with logged() as said:
        call("train", "r.yaml", "--run-dir", "parts")
    assert "continuing from checkpoint-2" in said.getvalue()
    whole, parts = (Path(each, "model", "model.safetensors") for each in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
    assert lines(Path("parts")) == lines(Path("whole"))

    # Another teacher under the same name is not the one that the run learned from.
    changed_toy(Path("teacher"), seed=1)
    with pytest.raises(RunError, match=r"the content of gkd\.teacher_model_name_or_path"):
        call("train", "r.yaml", "--run-dir", "whole")


def test_a_teacher_with_another_tokenizer_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    saved_model(tmp_path / "other", "llama")
    with pytest.raises(ModelError, match="teacher other has another tokenizer than tiny-base: "):
        call("run", "r.yaml", "gkd.teacher_model_name_or_path=other", "--run-dir", "run")
    assert not list(Path("run").glob("predictions/*.jsonl"))
    with pytest.raises(ConfigError, match=r"gkd\.teacher_model_name_or_path: .*nowhere"):
        call("train", "r.yaml", "gkd.teacher_model_name_or_path=./nowhere", "--run-dir", "run")


def test_settings_that_do_not_fit_are_refused():
    with pytest.raises(ConfigError) as refused:
        config.load("grpo-demo", ["train.objective=gkd", "grpo.num_generations=5"])
    assert any("gkd.teacher_model_name_or_path empty" in fault for fault in refused.value.faults)
    assert any("grpo.num_generations=5 with" in fault for fault in refused.value.faults)
    with pytest.raises(ConfigError, match=r"gkd\.num_generations=2 with train\.objective=grpo"):
        config.load("grpo-demo", ["gkd.num_generations=2"])
    assert GkdConfig().temperature == 1.0
