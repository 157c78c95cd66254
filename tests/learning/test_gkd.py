"""``train.objective: gkd``: reverse KL by hand, a model that approaches its teacher, refusals."""

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

from learning_for_tests import gradient_of, lines, recipe_on_own_answers
from log_for_tests import logged
from mathtune import config
from mathtune.cli.main import cli
from mathtune.config.schema import GkdConfig
from mathtune.errors import ConfigError, ModelError, RunError
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.learning.distillation.gkd import Distillation, OwnAnswers
from mathtune.learning.distillation.loss import OnPolicyDistillation
from mathtune.learning.figures import Figures
from mathtune.learning.rollouts import Sampler, Task
from mathtune.models.files import resolve
from mathtune.prompts.render import Renderer
from mathtune.records import Completion, Example, Problem, Prompt, StopReason
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.batching.padding_free import attention_for
from mathtune.training.checkpointing.state import TrainingState
from mathtune.training.loss.lm_head import logits_of, target_hidden
from mathtune.training.loss.reverse_kl import _ReverseKL
from mathtune.training.memory.out_of_memory import FittingLimits
from mathtune.training.objective import Start
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


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_packed_rows_give_the_teacher_the_log_probabilities_of_separate_ones(name: str) -> None:
    learner, teacher = (tiny_model(name, VOCABULARY, seed=seed).eval() for seed in (0, 1))
    answers = [answer(30, "xx-x"), answer(5, "xxxxxx"), answer(2, "x")]  # one beyond a window
    limits, batch = replace(WHOLE, padding_free=True), collate(answers, padding_free=True)
    with torch.no_grad(), attention_for(teacher, limits):
        packed = logits_of(teacher, target_hidden(teacher, batch)).log_softmax(-1)
    with torch.no_grad():
        alone = [teacher(torch.tensor([each.ids])).logits[0].log_softmax(-1) for each in answers]
    chosen = [
        logprobs[:-1][torch.tensor(each.supervised[1:])]
        for each, logprobs in zip(answers, alone, strict=True)
    ]
    torch.testing.assert_close(packed, torch.cat(chosen), rtol=1e-4, atol=1e-5)
    objective = OnPolicyDistillation(teacher, Figures())
    losses = [gradient_of(objective, learner, answers, each)[0] for each in (WHOLE, limits)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_a_teacher_that_mixes_examples_of_a_row_makes_both_models_read_padded_ones(
    tmp_path: Path,
) -> None:
    """LFM2 has short convolutions, which reach into the example before."""
    own, tokenizer = saved_model(tmp_path / "own", "llama")
    mixing = tiny_model("lfm2", len(tokenizer), layer_types=["conv", "full_attention"])
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.mul_(50 if parameter.dim() == 3 else 1)  # of the convolution
    mixing.save_pretrained(tmp_path / "lfm2")
    tokenizer.save_pretrained(tmp_path / "lfm2")
    problems = [Problem(f"p{n}", "How many? " * n, "#### 1", "1") for n in (1, 9)]
    for teacher, shared in ((own, True), (tmp_path / "lfm2", False)):
        recipe = config.load("grpo-demo", [
            f"model={own}", "train.objective=gkd", f"gkd.teacher_model_name_or_path={teacher}",
            "grpo.max_refills=3", "eval.max_new_tokens=8",
        ])  # fmt: skip
        learning = Distillation(recipe, problems)
        learning.prepare(Renderer(tokenizer, "qa"))
        fitting = FittingLimits(tmp_path / "limits.json", {}, replace(WHOLE, padding_free=True))
        model = AutoModelForCausalLM.from_pretrained(own)
        with logged() as said:
            learning.start(Start(model, TrainingState(1, 1), fitting, tmp_path))
        assert fitting.limits.padding_free is shared
        assert (
            "for the teacher's sake both models read padded rows, because" in said.getvalue()
        ) is not shared


def sampled(model: torch.nn.Module, tokenizer: Any, seed: int = 3) -> OwnAnswers:
    tasks = [
        Task(Problem(f"p{n}", "", "", ""), Prompt(f"p{n}", "", (4 + n, 6 + n))) for n in range(4)
    ]
    decoding = Decoding(8, temperature=1.0, samples=2, seed=seed)
    sampler = Sampler(
        tasks, HFEngine(model, tokenizer, rows=4), decoding, memory_budget=1, figures=Figures()
    )
    return OwnAnswers(sampler, len(tasks), 3)


def test_a_model_approaches_its_teacher_on_its_own_answers():
    tokenizer = bpe()
    vocabulary = len(tokenizer)
    learner, teacher = (tiny_model("llama", vocabulary, seed=seed) for seed in (0, 1))
    with torch.no_grad():
        teacher.lm_head.weight.mul_(8)  # with opinions of its own
    objective = OnPolicyDistillation(teacher.eval().requires_grad_(False), Figures())
    source, optimizer = sampled(learner, tokenizer), torch.optim.AdamW(learner.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss, _ = gradient_of(objective, learner, source.next_step(), WHOLE)
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


RECIPE = recipe_on_own_answers(
    "gkd", "{teacher_model_name_or_path: teacher, num_generations: 2}", max_new_tokens=16
)


def call(*arguments: str) -> None:
    done = CliRunner().invoke(cli, list(arguments), standalone_mode=False)
    if done.exception:
        raise done.exception


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
    assert trained[0]["loss"] > 1e-4  # of the same weights about 1e-9

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
