"""Planned memory and arithmetic against hand calculations and against real training."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch
from bitsandbytes.optim import GlobalOptimManager
from transformers import AutoConfig

from mathtune import config
from mathtune.models.compute import Compute
from mathtune.planning.layer_extrapolation import MemoryPlanner
from mathtune.planning.memory_trace import Use
from mathtune.planning.peak_memory import MemoryPlan, plan_memory
from mathtune.planning.text_lengths import example_of
from mathtune.training.batching.limits import limits_on


@pytest.fixture(autouse=True)
def _forget_earlier_optimisers() -> None:
    """bitsandbytes remembers overrides of one optimiser for the next ones in the process."""
    GlobalOptimManager.get_instance().initialize()


BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "plan_vs_measured.py"
SHAPE = {
    "model_type": "llama",
    "vocab_size": 500,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
LAYER = 4 * 64 * 64 + 3 * 64 * 128  # q, k, v, o; gate, up, down
HEAD = 500 * 64
TOTAL = 2 * HEAD + 3 * (LAYER + 2 * 64) + 64  # with norms
LORA = 3 * 8 * (4 * (64 + 64) + 3 * (64 + 128))  # r × (in + out) of each linear layer
TOKENS = 3 * 99  # the last token of an example is only a target
TARGETS = 3 * 60


def plan(
    *overrides: str,
    dtype: torch.dtype = torch.float32,
    autocast: bool = False,
    device: str = "cpu",
    tokens: int = 100,
) -> MemoryPlan:
    recipe = config.load("smollm2-135m-gsm8k", overrides)
    micro = [example_of(tokens, min(40, tokens // 2), recipe)] * 3
    compute = Compute(device, "a test", dtype, autocast, "")
    hf_config = AutoConfig.for_model(**SHAPE)
    limits = limits_on(recipe, hf_config, "cpu")
    return plan_memory(recipe, hf_config, compute, [micro], limits=limits, accumulates=True)


def test_weights_gradients_and_states_are_what_a_hand_calculation_gives():
    found = plan()
    assert found.parameters.total == found.parameters.trainable == TOTAL
    assert found.by_use[Use.GRADIENTS] == 4 * TOTAL
    assert found.by_use[Use.WEIGHTS] == pytest.approx(4 * TOTAL, abs=200)  # rotary frequencies
    steps = 4 * (2 + 3 * 9 + 1)  # a count of steps for each tensor
    assert found.by_use[Use.OPTIMIZER] == 8 * TOTAL + steps
    assert found.peak == sum(found.by_use.values())


@pytest.mark.parametrize(
    ("optim", "expected"),
    [
        ("sgd", 0),
        # Norms and embeddings stay in 32 bits.
        ("adamw_8bit", (2 + 2 * 4 / 256) * (TOTAL - 507 * 64) + 8 * 507 * 64),
        ("adamw_torch_fused", 8 * TOTAL),
        ("adafactor", 4 * (2 * (500 + 64) + 3 * (4 * (64 + 64) + 3 * (64 + 128)) + 7 * 64)),
    ],
)
def test_each_optimiser_has_its_own_states(optim, expected):
    states = plan(f"train.optim={optim}").by_use[Use.OPTIMIZER]
    assert states == pytest.approx(expected, rel=0.01, abs=200)


def test_a_gpu_takes_all_square_roots_of_adamw_at_once():
    """PyTorch's foreach kernels hold one more copy of what is trained in the optimiser's step."""
    found = plan("train.optim=adamw_torch", device="cuda", tokens=4)
    assert found.moment == "optimiser step"
    assert found.by_use[Use.OPTIMIZER] == pytest.approx(12 * TOTAL, rel=0.01)


def test_frozen_weights_have_their_type_and_only_the_adapter_has_gradients():
    found = plan("adapter.r=8", dtype=torch.bfloat16)
    assert found.parameters.trainable == LORA
    assert found.by_use[Use.GRADIENTS] == 4 * LORA
    assert found.by_use[Use.WEIGHTS] == pytest.approx(2 * TOTAL + 4 * LORA, abs=200)


def test_four_bit_weights_take_half_a_byte_and_their_scales():
    found = plan("adapter.r=8", "model.load_in_4bit=true", "train.optim=paged_adamw_8bit")
    linear = 3 * LAYER
    scales = linear // 64 + 4 * sum(-(-n // 64 // 256) for n in [4096] * 12 + [8192] * 9)
    tables = 21 * 4 * (16 + 256 + 1)
    rest = 4 * (TOTAL - linear) + 4 * LORA
    expected = linear // 2 + scales + tables + rest
    assert found.by_use[Use.WEIGHTS] == pytest.approx(expected, abs=200)
    assert found.parameters.total_packed == TOTAL - linear // 2 + LORA
    assert found.pageable == found.by_use[Use.OPTIMIZER] > 0
    single = plan("adapter.r=8", "model.load_in_4bit=true", "model.bnb_4bit_use_double_quant=false")
    expected = linear // 2 + 4 * linear // 64 + 21 * 4 * 16 + rest
    assert single.by_use[Use.WEIGHTS] == pytest.approx(expected, abs=200)


def test_logits_are_those_of_targets_and_autocast_copies_each_weight():
    found = plan()
    assert found.by_use[Use.LOGITS] == 4 * 500 * TARGETS  # their gradient takes their place
    wide = plan(autocast=True)
    assert wide.by_use[Use.COPIES] >= 0.9 * 2 * 3 * LAYER
    assert Use.COPIES not in found.by_use


def test_checkpointing_holds_less_and_computes_a_forward_more():
    before, after = plan(), plan("train.gradient_checkpointing=true")
    assert after.by_use[Use.ACTIVATIONS] < 0.6 * before.by_use[Use.ACTIVATIONS]
    # Multiplications and additions a token: 2 forward, 4 backward for each weight of a layer.
    attention = 3 * (4 + 10) * 3 * 99 * 99 * 64  # forward and backward, in each of three layers
    head = 6 * HEAD * TARGETS
    assert before.flops_per_token * TOKENS == pytest.approx(
        6 * 3 * LAYER * TOKENS + head + attention, rel=0.02
    )
    forward = 2 * 3 * LAYER * TOKENS + 3 * 4 * 3 * 99 * 99 * 64
    more = (after.flops_per_token - before.flops_per_token) * TOKENS
    assert more == pytest.approx(forward, rel=0.2)  # the last product of a layer is not needed


def test_lora_spares_the_gradients_of_frozen_weights():
    lora = plan("adapter.r=1")
    frozen = 4 * (3 * LAYER * TOKENS + HEAD * TARGETS)
    adapter = 6 * LORA / 8 * TOKENS
    attention = 3 * (4 + 10) * 3 * 99 * 99 * 64
    assert lora.flops_per_token * TOKENS == pytest.approx(frozen + adapter + attention, rel=0.03)


@pytest.mark.parametrize(
    ("layers", "overrides"),
    [
        (40, []),
        (40, ["train.gradient_checkpointing=true", "train.optim=adamw_8bit"]),
        (12, ["adapter.r=8", "train.logits_chunk_bytes=100000"]),
        (12, ["adapter.r=8", "model.load_in_4bit=true", "train.gradient_checkpointing=true"]),
    ],
    ids=["full", "full-checkpointing-8bit", "lora-chunks", "qlora-checkpointing"],
)
def test_two_layers_say_what_all_layers_do(overrides, layers):
    """The peak, its parts, operations and parameters, with and without tracing all layers."""
    recipe = config.load("smollm2-135m-gsm8k", overrides)
    hf_config = AutoConfig.for_model(**{**SHAPE, "num_hidden_layers": layers})
    limits = limits_on(recipe, hf_config, "cpu")
    micro_batches = [[example_of(100, 40, recipe)] * 3, [example_of(60, 10, recipe)] * 2]
    compute = Compute("cpu", "a test", torch.float32, True, "")
    given = {"limits": limits, "accumulates": True}
    said: list[str] = []
    planner = MemoryPlanner(hf_config, trace=False, say=said.append)
    found = planner.plan(recipe, compute, micro_batches, **given)
    whole = plan_memory(recipe, hf_config, compute, micro_batches, **given)
    assert said == []  # that all layers had to be walked through
    assert found.parameters == whole.parameters
    assert found.kernels == whole.kernels
    assert found.flops_per_token == pytest.approx(whole.flops_per_token)
    assert found.peak == pytest.approx(whole.peak, rel=0.01)
    assert found.moment == whole.moment
    for use in Use:
        assert found.by_use[use] == pytest.approx(whole.by_use[use], abs=0.02 * whole.peak)


def test_layers_that_differ_are_all_walked_through():
    recipe = config.load("smollm2-135m-gsm8k")
    kinds = ["sliding_attention", "full_attention"] * 4
    mixed = {**SHAPE, "model_type": "gemma3_text", "num_hidden_layers": 8, "head_dim": 16}
    hf_config = AutoConfig.for_model(**mixed, layer_types=kinds)
    limits = limits_on(recipe, hf_config, "cpu")
    said: list[str] = []
    compute = Compute("cpu", "a test", torch.float32, False, "")
    micro_batches, given = [[example_of(50, 10, recipe)]], {"limits": limits, "accumulates": True}
    planner = MemoryPlanner(hf_config, trace=False, say=said.append)
    found = planner.plan(recipe, compute, micro_batches, **given)
    assert said == ["tracing all 8 layers"]
    assert found == plan_memory(recipe, hf_config, compute, micro_batches, **given)


def test_peak_of_real_training_is_as_planned():
    """Full fine-tuning with a large vocabulary, and NF4 with LoRA, each in a fresh process.

    Resident memory varies by 5 to 10 % with what the allocator happens to hold, so a measurement
    that is far off is taken again. How close it usually is, benchmarks/plan_vs_measured.py says.
    """
    compare = runpy.run_path(str(BENCHMARK))["compare"]
    for case in ("quick-full", "quick-qlora"):
        errors: list[float] = []
        while not errors or (abs(errors[-1]) >= 0.25 and len(errors) < 4):
            found = compare(case)
            assert found["case"] == case
            errors.append(found["error"])
        assert abs(errors[-1]) < 0.25, errors
