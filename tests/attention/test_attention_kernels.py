"""Attention in two parts equals attention over all keys at once."""

from __future__ import annotations

import math

import pytest
import torch

from mathtune.attention.kernels import Prefix, attention, bias_of

HEADS, GROUPS, SIZE, TOKENS, PREFIX, OWN = 6, 2, 8, 5, 7, 9


def drawn(*shape, dtype):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=dtype)


def reference(query, key, value, *, scaling, softcap=None, visible=None):
    """Softmax attention written out, a head at a time."""
    share = query.shape[1] // key.shape[1]
    outs = []
    for head in range(query.shape[1]):
        scores = query[:, head] @ key[:, head // share].transpose(-1, -2) * scaling
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        if visible is not None:
            scores = scores.masked_fill(~visible, -math.inf)
        outs.append(scores.softmax(-1) @ value[:, head // share])
    return torch.stack(outs, 1)


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_prefix_and_own_tokens(dtype, window, softcap):
    query = drawn(1, HEADS, TOKENS, SIZE, dtype=dtype)
    keys = drawn(1, GROUPS, PREFIX + OWN, SIZE, dtype=dtype)
    values = drawn(1, GROUPS, PREFIX + OWN, SIZE, dtype=dtype) * 2
    # The five tokens are the last of the own ones; behind a window of 6 only the first of them
    # still sees something of the prefix.
    at = PREFIX + OWN - TOKENS + torch.arange(TOKENS)[:, None]
    place = torch.arange(PREFIX + OWN)
    visible = (place <= at) & (at - place < (window or 100))
    options = {"scaling": 0.3, "softcap": softcap}
    own, lse = attention(
        query,
        keys[:, :, PREFIX:],
        values[:, :, PREFIX:],
        bias=bias_of(visible[:, PREFIX:]),
        **options,
    )
    assert visible[:, :PREFIX].any(-1).sum() == (5 if window is None else 1)
    bias = None if window is None else bias_of(visible[:, :PREFIX])
    prefix = Prefix(keys[:, :, :PREFIX], values[:, :, :PREFIX])
    found = prefix.merge(query, own, lse, bias=bias, **options)
    wanted = reference(query.double(), keys.double(), values.double(), visible=visible, **options)
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("softcap", [None, 1.0])
def test_the_log_denominator(softcap):
    query, keys = (
        drawn(2, 4, 3, SIZE, dtype=torch.float32),
        drawn(2, 2, 3, SIZE, dtype=torch.float32),
    )
    _, lse = attention(query, keys, keys, scaling=0.5, softcap=softcap, causal=True)
    # The first token sees only itself, so its denominator is one exponential.
    score = (query[0, 3, 0] @ keys[0, 1, 0]) * 0.5
    if softcap is not None:
        score = torch.tanh(score)
    assert lse[0, 3, 0].item() == pytest.approx(score.item(), abs=1e-5)
