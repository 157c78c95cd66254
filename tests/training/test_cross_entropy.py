"""Loss and gradient are PyTorch's in double precision, and the logits become the gradient."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mathtune.training.loss.cross_entropy import summed_cross_entropy


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 5), (300, 1000), (5, 300_000)])
def test_equals_cross_entropy_in_double_precision(shape, dtype, label_smoothing):
    torch.manual_seed(0)
    logits = (torch.randn(shape) * 5).to(dtype)
    targets = torch.randint(0, shape[1], shape[:1])
    exact = logits.double().requires_grad_()
    expected = F.cross_entropy(exact, targets, reduction="sum", label_smoothing=label_smoothing)
    (expected * 0.3).backward()
    leaf = logits.clone().requires_grad_()
    found = summed_cross_entropy(leaf * 1, targets, label_smoothing)
    (found * 0.3).backward()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    rounding = 1e-6 if dtype == torch.float32 else 8e-3
    torch.testing.assert_close(leaf.grad.double(), exact.grad, rtol=rounding, atol=rounding / 10)


def test_logits_become_their_gradient():
    weight = torch.randn(8, 50, requires_grad=True)
    logits = torch.randn(4, 8) @ weight
    loss = summed_cross_entropy(logits, torch.tensor([1, 2, 3, 4]))
    logits.register_hook(lambda grad: seen.append(grad.data_ptr()))
    seen = []
    loss.backward()
    assert seen == [logits.data_ptr()]


def test_targets_that_are_almost_impossible_stay_finite():
    logits = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    loss = summed_cross_entropy(logits * 1, torch.tensor([0]))
    loss.backward()
    assert float(loss.detach()) == 1000.0
    assert logits.grad.tolist() == [[-1.0, 1.0]]
