"""The loss of a policy gradient: by hand, and the same however a step is split."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from learning_for_tests import gradient_of
from mathtune import ranks
from mathtune.config.schema import GrpoConfig
from mathtune.learning.figures import Figures
from mathtune.learning.policy_gradient.loss import Answer, PolicyGradient, advantages
from mathtune.training.batching.micro_batches import Limits
from mathtune.training.loss.supervised import token_logprobs
from mathtune.training.memory.out_of_memory import halved
from models_for_tests import tiny_model

VOCABULARY = 20
WHOLE = Limits(100, 10_000, 10_000)


def answer(prompt: int, actions: str, advantage: float, **more: Any) -> Answer:
    """An answer of tokens that were chosen (``x``) or inserted by the calculator (``-``)."""
    chosen = (False,) * prompt + tuple(letter == "x" for letter in actions)
    ids = tuple(
        (7 * place + 3 * prompt + len(actions)) % VOCABULARY for place in range(len(chosen))
    )
    return Answer(f"p{prompt}", ids, chosen, advantage, **more)


def objective(**config: Any) -> PolicyGradient:
    return PolicyGradient(GrpoConfig(**config), 8, Figures())


def test_one_group_by_hand():
    """Two right answers of 2 and 4 actions, two wrong ones of 3 and 1, one token inserted."""
    config = GrpoConfig(num_generations=4)
    assert advantages([[1.0, 0.0, 0.0, 1.0]], config) == [[0.5, -0.5, -0.5, 0.5]]
    group = [
        answer(3, "xx", 0.5), answer(3, "xx-x", -0.5), answer(3, "x", -0.5), answer(3, "xxxx", 0.5),
    ]  # fmt: skip
    model = tiny_model("llama", VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight.zero_()  # every token has probability 1/20
    policy = objective(num_generations=4)
    assert policy.normaliser(group) == 2 + 3 + 1 + 4
    loss, gradient = gradient_of(policy, model, group, WHOLE)
    # The ratio is 1, so each action adds minus its advantage: -(2 - 3 - 1 + 4) * 0.5 / 10.
    assert loss == pytest.approx(-0.1, abs=1e-6)

    # d loss / d logits = advantage * (p - one-hot) / 10, at the state before each action.
    expected = torch.zeros_like(model.lm_head.weight)
    for each in group:
        hidden_TD = model.model(torch.tensor([each.ids])).last_hidden_state[0]
        for place, chosen in enumerate(each.supervised):
            if chosen:
                target_V = torch.zeros(VOCABULARY)
                target_V[each.ids[place]] = 1.0
                per_logit_V = each.advantage * (1 / VOCABULARY - target_V) / 10
                expected += per_logit_V[:, None] * hidden_TD[place - 1]
    torch.testing.assert_close(gradient["lm_head.weight"], expected, rtol=1e-4, atol=1e-6)
    assert policy.metrics() == {"entropy": pytest.approx(math.log(VOCABULARY), rel=1e-5)}
    assert policy.metrics() == {}  # since the last line nothing was added


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.75, -0.25, -0.25, -0.25]),
        ({"leave_one_out": True}, [1.0, -1 / 3, -1 / 3, -1 / 3]),
        # The standard deviation of (1, 0, 0, 0) is 0.5.
        ({"scale_rewards": "group"}, [1.49970, -0.49990, -0.49990, -0.49990]),
        # That of all eight rewards, half of them 1, is sqrt(8 / 28).
        ({"scale_rewards": "batch"}, [1.40285, -0.46762, -0.46762, -0.46762]),
    ],
)
def test_advantages(settings: dict[str, Any], expected: list[float]):
    groups = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    first, _ = advantages(groups, GrpoConfig(num_generations=4, **settings))
    assert first == pytest.approx(expected, abs=1e-5)


def test_the_ratio_is_clipped_higher_above_than_below():
    """Only actions whose probability moved less than the clip allows have a gradient."""
    model = tiny_model("llama", VOCABULARY)
    base = [answer(3, "x", a) for a in (1.0, 1.0, -1.0, -1.0)]
    now = [values[-1] for values in token_logprobs(model, base, WHOLE)]
    ratios = (1.25, 1.5, 0.9, 0.5)
    group = [
        answer(3, "x", a.advantage, old=(lp - math.log(ratio),))
        for a, lp, ratio in zip(base, now, ratios, strict=True)
    ]
    policy = objective(num_iterations=2, epsilon=0.2, epsilon_high=0.28)
    loss, _ = gradient_of(policy, model, group, WHOLE)
    # min(r A, clip(r) A): 1.25, 1.28 (clipped), -0.9, -0.8 (clipped).
    assert loss == pytest.approx(-(1.25 + 1.28 - 0.9 - 0.8) / 4, abs=1e-5)
    assert policy.metrics()["clip_ratio"] == 0.5
    for index, moves in enumerate((True, False, True, False)):
        _, gradient = gradient_of(policy, model, [group[index]], WHOLE)
        assert any(bool(each.any()) for each in gradient.values()) is moves


def test_the_kl_term_and_the_other_normalisers():
    model = tiny_model("llama", VOCABULARY)
    group = [answer(3, "xx", 0.5), answer(4, "xxxx", -0.5)]
    now = [
        tuple(v for v, own in zip(values, a.supervised, strict=True) if own)
        for a, values in zip(group, token_logprobs(model, group, WHOLE), strict=True)
    ]
    away = [
        answer(3, "xx", 0.5, reference=tuple(v + 0.5 for v in now[0])),
        answer(4, "xxxx", -0.5, reference=now[1]),
    ]
    k3 = math.exp(0.5) - 0.5 - 1
    policy = objective(beta=0.1)
    loss, _ = gradient_of(policy, model, away, WHOLE)
    assert loss == pytest.approx((-2 * 0.5 + 4 * 0.5 + 0.1 * 2 * k3) / 6, abs=1e-5)
    assert policy.metrics()["kl"] == pytest.approx(2 * k3 / 6, abs=1e-5)

    loss, _ = gradient_of(objective(loss_type="dr_grpo"), model, group, WHOLE)
    assert loss == pytest.approx((-2 * 0.5 + 4 * 0.5) / (2 * 8), abs=1e-6)
    loss, _ = gradient_of(objective(loss_type="grpo"), model, group, WHOLE)
    assert loss == pytest.approx((-0.5 + 0.5) / 2, abs=1e-6)


def test_temperature_divides_the_logits_and_the_gap_is_measured_without_it():
    model = tiny_model("llama", VOCABULARY)
    (plain,) = token_logprobs(model, [answer(3, "xx", 1.0)], WHOLE)
    each = answer(3, "xx", 1.0, sampled=(plain[3] + 0.02, plain[4] - 0.04))
    policy = objective(temperature=0.5)
    _, gradient = gradient_of(policy, model, [each], WHOLE)
    assert policy.metrics()["logprob_gap"] == pytest.approx(0.03, abs=1e-5)
    model.zero_grad()
    logits_TV = model(torch.tensor([each.ids])).logits[0, 2:4] / 0.5
    chosen = logits_TV.log_softmax(-1).gather(1, torch.tensor(each.ids)[3:5, None])
    (-chosen.sum() / 2).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-4, atol=1e-6)


ANSWERS = [
    answer(
        3 + n % 4, "xx-x" * (1 + n % 3) + "x" * n, (-1) ** n * 0.1 * n,
        old=(-3.0,) * (3 * (1 + n % 3) + n), reference=(-2.5,) * (3 * (1 + n % 3) + n),
    )
    for n in range(6)
]  # fmt: skip


@pytest.mark.parametrize(
    "limits",
    [
        Limits(1, 10_000, 10_000),
        Limits(4, 30, 10_000),
        Limits(100, 10_000, 3),  # logits of three actions at a time
        Limits(100, 10_000, 10_000, padding_free=True),
        Limits(3, 10_000, 4, padding_free=True),
    ],
)
@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_the_split_of_a_step_leaves_the_gradient_unchanged(limits: Limits, loss_type: str):
    model = tiny_model("llama", VOCABULARY)
    policy = objective(num_iterations=2, beta=0.1, loss_type=loss_type)
    loss, whole = gradient_of(policy, model, ANSWERS, WHOLE)
    again, split = gradient_of(policy, model, ANSWERS, limits)
    assert again == pytest.approx(loss, rel=1e-5)
    for name, gradient in whole.items():
        torch.testing.assert_close(split[name], gradient, rtol=1e-4, atol=1e-6)


def test_ranks_share_a_step_without_changing_its_gradient(monkeypatch: pytest.MonkeyPatch):
    model = tiny_model("llama", VOCABULARY)
    policy = objective(num_iterations=2, beta=0.1)
    limits = Limits(2, 10_000, 10_000)
    loss, whole = gradient_of(policy, model, ANSWERS, WHOLE)
    monkeypatch.setattr(ranks, "world_size", lambda: 3)
    parts = []
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        parts.append(gradient_of(policy, model, ANSWERS, limits))
    assert sum(part for part, _ in parts) == pytest.approx(loss, rel=1e-5)
    for name, gradient in whole.items():
        together = torch.stack([gradients[name] for _, gradients in parts]).sum(0)
        torch.testing.assert_close(together, gradient, rtol=1e-4, atol=1e-6)


def test_answers_are_split_again_when_memory_runs_out():
    limits = halved(WHOLE, [ANSWERS[:4]], "step 1")
    assert limits.max_examples == 2
    assert limits.max_tokens == (4 * max(len(a.ids) for a in ANSWERS[:4]) + 1) // 2
