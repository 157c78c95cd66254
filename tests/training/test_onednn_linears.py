"""Linear layers through oneDNN give the loss and the gradients of PyTorch's own."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mathtune.attention.onednn_linear import onednn_available
from mathtune.config.schema import AdapterConfig
from mathtune.models.adapters import add_adapter
from mathtune.training.onednn_linears import onednn_linears
from models_for_tests import tiny_model

pytestmark = pytest.mark.skipif(
    not onednn_available(torch.zeros(1)), reason="this PyTorch has no oneDNN for x86 here"
)


class Products(TorchDispatchMode):
    """Counts oneDNN's products, forward and backward."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.mkldnn._linear_pointwise.default
        return func(*args, **(kwargs or {}))


def gradients(model):
    model.zero_grad()
    ids = torch.arange(40).view(2, 20) % 32
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", ["llama", "llama-tied", "gemma2", "qwen2", "gpt2"])
def test_loss_and_gradients_are_the_same(name):
    model = tiny_model(name, 32)
    expected = gradients(model)
    with Products() as products, onednn_linears(model):
        found = gradients(model)
    assert products.count > 0
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    with Products() as products:  # the block is over
        gradients(model)
    assert products.count == 0


def test_frozen_weights_cost_no_gradient():
    """Base layers of an adapter: one product forward, one for the gradient of the input."""
    model = add_adapter(tiny_model("llama", 32), AdapterConfig(r=2), seed=0)
    expected = gradients(model)
    layers = [m for m in model.modules() if type(m) is torch.nn.Linear]
    frozen = [layer for layer in layers if not layer.weight.requires_grad]
    with Products() as products, onednn_linears(model):
        found = gradients(model)
    # q, k and v of the first layer, and lora_A on them, get inputs that need no gradient.
    assert products.count == 3 * len(layers) - len(frozen) - 6
    for one, two in zip(expected, found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_a_model_computed_in_bf16_is_left_to_pytorch():
    model = tiny_model("llama", 32)
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(model)
        with Products() as products, onednn_linears(model):
            found = gradients(model)
    assert products.count == 0
    assert all(torch.equal(one, two) for one, two in zip(expected, found, strict=True))
