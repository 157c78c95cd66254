"""Attention on a GPU: whole rows in one kernel give what each example gives alone."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mathtune import config
from mathtune.attention.kernels import Prefix, attention, bias_of
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.training.batching.limits import limits_for
from mathtune.training.batching.micro_batches import collate
from mathtune.training.batching.padding_free import (
    RowLengths,
    _attention,
    attention_within_examples,
    varying_lengths_kernel,
)
from mathtune.training.kernels import describe_kernels
from mathtune.training.loss.supervised import summed_loss
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

LENGTHS = (37, 128, 5, 64)


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize(
    ("heads", "groups", "size"), [(4, 4, 64), (8, 1, 256), (8, 2, 128)], ids=["mha", "mqa", "gqa"]
)
def test_kernel_for_varying_lengths(heads: int, groups: int, size: int, window: int | None) -> None:
    """Output and gradients against float32 attention over each example."""
    assert varying_lengths_kernel() is not None, torch.__version__
    torch.manual_seed(0)
    tokens = sum(LENGTHS)
    drawn = [torch.randn(1, n, tokens, size, device="cuda") for n in (heads, groups, groups)]
    weights = torch.randn(1, tokens, heads, size, device="cuda")
    ends = torch.tensor([0, *torch.tensor(LENGTHS).cumsum(0)], dtype=torch.int32, device="cuda")
    ours = [each.bfloat16().requires_grad_() for each in drawn]
    out, _ = _attention(
        torch.nn.Module(),
        *ours,
        None,
        example_lengths=RowLengths(LENGTHS),
        sliding_window=window,
        cu_seq_lens_q=ends,
        max_length_q=max(LENGTHS),
    )
    (out.float() * weights).sum().backward()
    exact = [each.bfloat16().float().requires_grad_() for each in drawn]
    parts = []
    for q, k, v in zip(*(each.split(LENGTHS, 2) for each in exact), strict=True):
        seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool, device="cuda").tril()
        seen = seen if window is None else seen.triu(1 - window)
        parts.append(F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True))
    wanted = torch.cat(parts, 2).transpose(1, 2)
    (wanted * weights).sum().backward()
    assert relative(out.float(), wanted) < 1e-2
    for mine, theirs in zip(ours, exact, strict=True):
        assert relative(mine.grad.float(), theirs.grad) < 2e-2


@pytest.mark.parametrize("name", ["llama", "gemma", "qwen2", "mixtral"])
def test_bf16_models_train_whole_rows_in_one_call(name: str) -> None:
    """The loss of examples in one row is that of each alone in float32, up to bf16's rounding."""
    tokenizer = bpe()
    texts = [("Tom has 3 apples. " * n, "He has 3. " * (n % 3 + 1)) for n in range(1, 6)]
    renderer = Renderer(tokenizer, "qa")
    examples = [renderer.example(Problem(content_id(q, a), q, a, "3")) for q, a in texts]
    exact = tiny_model(name, len(tokenizer)).cuda()
    with torch.no_grad():
        wanted = sum(float(summed_loss(exact, collate([e]).to("cuda"))) for e in examples)
    model = exact.bfloat16()
    gpu = Compute("cuda", torch.cuda.get_device_name(), torch.bfloat16, False, "a test")
    recipe = config.load("smollm2-135m-gsm8k")
    fitting = limits_for(recipe, model, gpu, examples)
    assert fitting.padding_free
    assert "varying lengths, one call per row" in describe_kernels(recipe, model, gpu, True)
    with torch.no_grad(), attention_within_examples(model):
        found = summed_loss(model, collate(examples, padding_free=True).to("cuda"))
    assert float(found) == pytest.approx(wanted, rel=2e-2)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_shared_prefix_is_merged_exactly(dtype: torch.dtype, softcap: float | None) -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 6, 5, 32, device="cuda", dtype=dtype)
    keys, values = torch.randn(2, 1, 2, 24, 32, device="cuda", dtype=dtype)
    options = {"scaling": 0.3, "softcap": softcap}
    seen = torch.ones(5, 24, dtype=torch.bool, device="cuda").tril(24 - 5)
    own, lse = attention(
        query, keys[:, :, 14:], values[:, :, 14:], bias=bias_of(seen[:, 14:]), **options
    )
    found = Prefix(keys[:, :, :14], values[:, :, :14]).merge(query, own, lse, **options)
    wanted, _ = attention(
        query.double(), keys.double(), values.double(), bias=bias_of(seen), **options
    )
    assert relative(found.float(), wanted.float()) < (1e-5 if dtype == torch.float32 else 2e-2)


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float(torch.linalg.norm(found - wanted) / torch.linalg.norm(wanted))
