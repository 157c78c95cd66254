"""The path for architectures that the packed path cannot compute: one row at a time.

It feeds a model exactly as ``model.generate`` does on one prompt, so it is correct wherever that
is: states of recurrent layers, for example, may not be continued by more than one token.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mathtune.generation.hf.packed import unwrap


class PlainForward:
    """Same interface as ``PackedForward``, with the model's own cache for each row."""

    def __init__(self, model: Any, prefix: Sequence[int]) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._prefix = tuple(prefix)
        parameters = inspect.signature(unwrap(model).forward).parameters
        self._caches = "past_key_values" in parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._rows: dict[int, Any] = {}

    def reserve(self, rows: int, capacity: int, *, share_prompts: bool = False) -> None:
        """Do nothing: caches grow as they are needed."""

    def step(self, decode: Sequence[int], start: Sequence[Sequence[int]]) -> Tensor:
        """Return logits ``[len(decode) + len(start), vocabulary]``; see ``PackedForward.step``."""
        for row in range(len(decode), len(decode) + len(start)):
            self._rows[row] = None
        fed = [[token] for token in decode] + [[*self._prefix, *ids] for ids in start]
        return torch.stack([self._run(row, ids) for row, ids in enumerate(fed)])

    def copy_row(self, source: int, target: int) -> None:
        """Make row ``target`` equal to row ``source``."""
        self._rows[target] = copy.deepcopy(self._rows[source])

    def remove(self, row: int, used: int) -> list[tuple[int, int]]:
        """Free a row and return the moves that close the gap; see ``PackedForward.remove``."""
        last = used - 1
        if row == last:
            return []
        self._rows[row] = self._rows[last]
        return [(last, row)]

    def _run(self, row: int, ids: list[int]) -> Tensor:
        state = self._rows[row]
        if self._caches:
            options = {"past_key_values": state, "use_cache": True}
        else:  # nothing to continue from: the row's ids so far are its state
            ids = [*(state or ()), *ids]
            options = {"use_cache": False}
        output = self._model(
            input_ids=torch.tensor([ids], device=self._device), **options, **self._last_only
        )
        self._rows[row] = output.past_key_values if self._caches else ids
        return output.logits[0, -1]
