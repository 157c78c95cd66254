"""Examples that share a row give what each gives alone, and a model that mixes them is found."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from transformers import AttentionInterface

from log_for_tests import logged
from mathtune import config
from mathtune.config.schema import AdapterConfig
from mathtune.errors import ModelError, TrainingStopped
from mathtune.models.adapters import add_adapter
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.training.batching.limits import check_causal, limits_for, why_mixed
from mathtune.training.batching.micro_batches import Limits, collate, cut, supervised_count
from mathtune.training.batching.padding_free import (
    RowLengths,
    _attention,
    _varying_lengths,
    attention_within_examples,
    varying_lengths_kernel,
)
from mathtune.training.kernels import describe_kernels
from mathtune.training.loss.lm_head import target_hidden
from mathtune.training.loss.supervised import summed_loss, token_logprobs
from models_for_tests import ARCHITECTURES, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
QUESTIONS = [
    ("Tom has 3 apples. " * n + "How many?", "He has 3. " * (n % 4) + "#### 3") for n in range(1, 9)
]
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(Problem(content_id(q, a), q, a, "3")) for q, a in QUESTIONS
]
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")
ALONE = Limits(max_examples=1, max_tokens=10**6, max_supervised_tokens=10**6)
CUTS = {
    "1x8": replace(ALONE, max_examples=8),
    "2x4": replace(ALONE, max_examples=4),
    "8x1": ALONE,
    "by tokens and targets": replace(
        ALONE, max_examples=8, max_tokens=90, max_supervised_tokens=20
    ),
    "packed": replace(ALONE, max_examples=8, padding_free=True),
    "packed 3 + 3 + 2": replace(ALONE, max_examples=3, padding_free=True),
    "packed by tokens": replace(ALONE, max_examples=8, max_tokens=150, padding_free=True),
    "logits in pieces": replace(ALONE, max_examples=8, max_supervised_tokens=5, padding_free=True),
}


def gradient(model, limits, checkpointing=False):
    """The gradient of one step of 8 examples, and its loss."""
    model.zero_grad()
    total, step_loss = supervised_count(EXAMPLES), 0.0
    for micro in cut(EXAMPLES, limits):
        with attention_within_examples(model) if limits.padding_free else nullcontext():
            batch = collate(micro, padding_free=limits.padding_free)
            loss = summed_loss(model, batch, chunk=limits.max_supervised_tokens) / total
            loss.backward()
        step_loss += float(loss.detach())
    parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat(parts), step_loss


def made(name, adapted):
    model = tiny_model(name, len(TOKENIZER))
    if adapted:
        model = add_adapter(model, AdapterConfig(r=4), seed=0)
        for parameter in model.parameters():
            if parameter.requires_grad:  # B starts at zero, which would hide A's gradient
                torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("adapted", [False, True], ids=["full", "lora"])
def test_gradient_is_the_same_however_a_step_is_laid_out(name, adapted):
    model = made(name, adapted)
    expected, loss = gradient(model, CUTS["8x1"])
    for layout, limits in CUTS.items():
        found, other = gradient(model, limits)
        assert torch.linalg.norm(found - expected) / torch.linalg.norm(expected) < 1e-5, layout
        assert other == pytest.approx(loss, rel=1e-5), layout


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("opt", {"ffn_dim": 64, "word_embed_proj_dim": 16}),
        ("llama4_text", {"intermediate_size_mlp": 64, "num_local_experts": 2, "head_dim": 8}),
        ("modernbert-decoder", {}),
    ],
)
def test_logits_in_pieces_of_models_whose_layers_go_by_other_names(name, sizes):
    """Of those that do more between layers and output layer, too; perplexity goes the same way."""
    model = tiny_model(name, len(TOKENIZER), dropout=0.0, **sizes)
    expected, loss = gradient(model, CUTS["8x1"])
    found, other = gradient(model, replace(CUTS["8x1"], max_supervised_tokens=5))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    assert other == pytest.approx(loss, rel=1e-5)
    logprobs = token_logprobs(model, EXAMPLES, ALONE)
    supervised = sum(
        sum(value for value, own in zip(values, example.supervised, strict=True) if own)
        for values, example in zip(logprobs, EXAMPLES, strict=True)
    )
    assert -supervised / supervised_count(EXAMPLES) == pytest.approx(loss, rel=1e-4)


def test_gradient_checkpointing_recomputes_the_same_attention():
    model = tiny_model("llama", len(TOKENIZER))
    expected, _ = gradient(model, CUTS["packed"])
    model.activation_checkpointing_enable()
    model.train()
    found, _ = gradient(model, CUTS["packed"])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_no_example_sees_another():
    """Another text before it changes nothing in an example's loss, to the last bit."""
    model = tiny_model("llama", len(TOKENIZER)).eval()
    first, second, last = EXAMPLES[0], EXAMPLES[5], EXAMPLES[3]
    other = replace(second, ids=tuple(reversed(second.ids)))
    losses = []
    for neighbour in (second, other):
        batch = collate([first, neighbour, last], padding_free=True)
        own = slice(0, supervised_count([first]))
        with torch.no_grad(), attention_within_examples(model):
            only = replace(
                batch,
                rows_N=batch.rows_N[own],
                columns_N=batch.columns_N[own],
                targets_N=batch.targets_N[own],
            )
            end = replace(
                batch,
                rows_N=batch.rows_N[-supervised_count([last]) :],
                columns_N=batch.columns_N[-supervised_count([last]) :],
                targets_N=batch.targets_N[-supervised_count([last]) :],
            )
            losses.append((float(summed_loss(model, only)), float(summed_loss(model, end))))
    assert losses[0] == losses[1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ordinary_architectures_can_share_rows(name):
    model = tiny_model(name, len(TOKENIZER))
    assert why_mixed(model, EXAMPLES, padding_free=True) is None
    assert why_mixed(model, EXAMPLES, padding_free=False) is None


def test_a_state_that_runs_along_the_row_is_found():
    """LFM2 has short convolutions, which reach into the example before."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        "lfm2",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=len(TOKENIZER),
        layer_types=["conv", "full_attention"],
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    assert "its hidden states change by" in str(why_mixed(model, EXAMPLES, padding_free=True))


def test_other_rules_for_texts_longer_than_a_pass_are_found():
    """Llama 4 attends within chunks; an example above ``micro_batch_tokens`` has its own row."""
    sizes = {"intermediate_size_mlp": 64, "num_local_experts": 2, "head_dim": 8}
    model = tiny_model("llama4_text", len(TOKENIZER), attention_chunk_size=64, **sizes)
    recipe = config.load("smollm2-135m-gsm8k", ["train.micro_batch_tokens=40"])
    assert max(len(example.ids) for example in EXAMPLES) > 64
    for examples, shares in ((EXAMPLES, False), (EXAMPLES[:3], True)):
        assert limits_for(recipe, model, FLOAT32, examples).padding_free is shares


LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 4,
    "long_factor": [4.0] * 4,
    "rope_theta": 10000.0,
}


def test_a_short_example_with_other_rules_beside_a_long_one_has_a_pass_of_its_own():
    """Phi-3's rotary embedding goes by the length of the row, padding included."""
    sizes = {"original_max_position_embeddings": 64, "max_position_embeddings": 256}
    model = tiny_model("phi3", len(TOKENIZER), rope_parameters=LONGROPE, **sizes)
    recipe = config.load("smollm2-135m-gsm8k", [])
    with logged() as said:
        limits = limits_for(recipe, model, FLOAT32, EXAMPLES)
    assert limits.max_examples == 1 and not limits.padding_free
    assert "at most 1 problem and" in said.getvalue()
    assert "even in padded rows its hidden states change by" in said.getvalue()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_an_encoder_is_refused(name, dtype):
    """It attends to the very tokens that it is to predict."""
    model = tiny_model(name, len(TOKENIZER)).to(dtype)
    with pytest.raises(ModelError, match=f"this {name} model sees the tokens after each token"):
        limits_for(config.load("smollm2-135m-gsm8k"), model, FLOAT32, EXAMPLES)
    decoder = tiny_model(name, len(TOKENIZER), is_decoder=True).to(dtype)
    check_causal(decoder, EXAMPLES[0])


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_causal_model_is_none_in_numbers_of_any_size(name):
    for dtype in (torch.float32, torch.bfloat16):
        for example in (EXAMPLES[0], EXAMPLES[-1]):
            check_causal(tiny_model(name, len(TOKENIZER)).to(dtype), example)
    broken = tiny_model(name, len(TOKENIZER))
    next(broken.parameters()).data.fill_(float("nan"))
    check_causal(broken, EXAMPLES[0])  # is no encoder either


def test_attention_that_sees_the_whole_row_is_found(monkeypatch):
    """The check fails where the mechanism is taken away."""
    model = tiny_model("llama", len(TOKENIZER))

    def whole_row(module, query, key, value, mask, *, example_lengths, scaling=None, **_):
        out = torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, scale=scaling, enable_gqa=True
        )
        return out.transpose(1, 2), None

    monkeypatch.setitem(AttentionInterface._global_mapping, "mathtune_padding_free", whole_row)
    assert "its hidden states change by" in str(why_mixed(model, EXAMPLES, padding_free=True))


def test_the_output_layers_result_is_never_larger_than_a_chunk():
    model = tiny_model("gemma2", len(TOKENIZER))
    sizes = []
    model.lm_head.register_forward_hook(lambda _m, _a, out: sizes.append(out.numel()))
    batch = collate(EXAMPLES[:4])
    assert len(batch.targets_N) > 20
    summed_loss(model, batch, chunk=5).backward()
    assert max(sizes) == 5 * len(TOKENIZER)


def test_kernels_are_told():
    model = tiny_model("llama", len(TOKENIZER))
    asked = config.load("smollm2-135m-gsm8k", ["model.attn_implementation=eager"])
    default = config.load("smollm2-135m-gsm8k")
    gpu = Compute("cuda", "GPU", torch.bfloat16, False, "a test")
    assert "PyTorch's SDPA, one call per example" in describe_kernels(default, model, FLOAT32, True)
    assert "sdpa, Transformers' choice" in describe_kernels(default, model, FLOAT32, False)
    assert "sdpa, as the recipe asks" in describe_kernels(asked, model, FLOAT32, False)
    assert "varying lengths, one call per row" in describe_kernels(default, model, gpu, True)
    assert describe_kernels(default, model, gpu, True).endswith("all weights in one kernel")


def test_memory_that_runs_out_before_the_first_step(monkeypatch):
    """For one example it ends the run; for two together, each has a pass of its own."""
    model = tiny_model("llama", len(TOKENIZER))
    recipe = config.load("smollm2-135m-gsm8k")
    most = 0

    def within(model, batch):
        if batch.input_ids_BT.numel() > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return target_hidden(model, batch)

    monkeypatch.setattr("mathtune.training.batching.limits.target_hidden", within)
    with pytest.raises(TrainingStopped, match="in a test with 66 tokens; lower train"):
        limits_for(recipe, model, FLOAT32, EXAMPLES)
    most = 65  # the last token is only a target
    with logged() as said:
        limits = limits_for(recipe, model, FLOAT32, EXAMPLES)
    assert limits.max_examples == 1 and "memory does not hold two of them" in said.getvalue()


def example_by_example(query, key, value, cu_seq, scale, window):
    """What PyTorch's kernel computes on GPUs: ``(T, H, D)``, with as many keys as queries."""
    assert query.shape == key.shape == value.shape
    outs = []
    for start, end in pairwise(cu_seq.tolist()):
        q, k, v = (all_[start:end].transpose(0, 1) for all_ in (query, key, value))
        seen = torch.ones(end - start, end - start, dtype=torch.bool).tril(window[1])
        seen = seen if window[0] < 0 else seen.triu(-window[0])
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=scale)
        outs.append(out.transpose(0, 1))
    return torch.cat(outs)


def as_in_pytorch_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size):
    assert cu_seq_q is cu_seq_k and max_q == max_k == int(cu_seq_q.diff().max())
    return example_by_example(query, key, value, cu_seq_q, scale, window_size)


def as_in_pytorch_2_13(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, scale, window_size, enable_gqa=False
):
    assert enable_gqa == (query.shape[1] != key.shape[1])
    share = query.shape[1] // key.shape[1]
    key, value = (all_.repeat_interleave(share, 1) for all_ in (key, value))
    return as_in_pytorch_2_11(
        query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, scale=scale, window_size=window_size
    )


@pytest.mark.parametrize("kernel", [as_in_pytorch_2_11, as_in_pytorch_2_13])
@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_one_call_per_row_is_given_what_each_call_per_example_gets(kernel, window, groups):
    """The kernel itself needs a GPU (tests/cuda); here a reference takes its arguments."""
    lengths = (7, 3, 12)
    generator = torch.Generator().manual_seed(groups)
    drawn = [torch.randn(1, n, 22, 8, generator=generator) for n in (4, groups, groups)]
    ends = torch.tensor([0, 7, 10, 22], dtype=torch.int32)
    found = _varying_lengths(kernel, *drawn, 0.3, window, cu_seq_lens_q=ends, max_length_q=12)
    wanted, _ = _attention(
        torch.nn.Module(), *drawn, None,
        example_lengths=RowLengths(lengths), scaling=0.3, sliding_window=window,
    )  # fmt: skip
    torch.testing.assert_close(found, wanted)


def test_the_installed_pytorch_has_the_kernel():
    assert varying_lengths_kernel() is not None
