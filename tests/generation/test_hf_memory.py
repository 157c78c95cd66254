"""How many rows fit into memory."""

from __future__ import annotations

import types

import pytest
import torch

from mathtune.errors import ModelError
from mathtune.generation.hf.memory import rows_that_fit

GB = 10**9


class OnGpu:
    """A model whose weights say that they are on a GPU."""

    def parameters(self):
        return iter([types.SimpleNamespace(device=torch.device("cuda", 0))])


@pytest.fixture
def after_a_training(monkeypatch):
    """A GPU on which PyTorch holds 60 GB for later, of which tensors take 20."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * GB, 80 * GB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 60 * GB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20 * GB)


def test_memory_that_pytorch_keeps_for_later_is_free(after_a_training):
    assert rows_that_fit(OnGpu(), GB, 1000, 100, None) == 26  # 60 % of 45 GB, less the spare row


def test_more_than_the_budget_is_refused():
    with pytest.raises(ModelError, match="raise the budget or lower max_new_tokens"):
        rows_that_fit(torch.nn.Linear(2, 2), 100, 10, None, 150)
    assert rows_that_fit(torch.nn.Linear(2, 2), 100, 10, None, 450) == 3
