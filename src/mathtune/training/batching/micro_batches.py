"""How the examples of one optimiser step are split into micro-batches and laid out as tensors.

The split never changes the gradient (see ``loss/supervised.py``), so it serves speed and memory: a
micro-batch has limits on examples, tokens and logits. Its examples are one after another in one row
(see ``padding_free.py``), or each in a row of its own, grouped by similar length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch.nn.utils.rnn import pad_sequence

from mathtune.records import Example


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Tensors of one forward pass over B rows of T tokens with N supervised positions.

    Attributes:
        input_ids_BT: Token ids, padded on the right. The last token of an example is only a target.
        rows_N: Row of each supervised position.
        columns_N: Column whose hidden state predicts it (one before the target).
        targets_N: The token id to predict there.
        lengths: Tokens of each example in the one row; empty where each has its own.
    """

    input_ids_BT: torch.Tensor
    rows_N: torch.Tensor
    columns_N: torch.Tensor
    targets_N: torch.Tensor
    lengths: tuple[int, ...] = ()

    def to(self, device: torch.device | str) -> MicroBatch:
        """Return the same batch on another device."""
        # Otherwise each copy waits until the GPU has done all its work.
        ahead = torch.device(device).type == "cuda"
        return MicroBatch(
            self.input_ids_BT.to(device, non_blocking=ahead),
            self.rows_N.to(device, non_blocking=ahead),
            self.columns_N.to(device, non_blocking=ahead),
            self.targets_N.to(device, non_blocking=ahead),
            self.lengths,
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one micro-batch; a single example may exceed that of tokens.

    Attributes:
        max_examples: Examples.
        max_tokens: Tokens, padding included.
        max_supervised_tokens: Supervised tokens; the logits of a longer example are made this many
            at a time.
        padding_free: Whether its examples share one row.
    """

    max_examples: int
    max_tokens: int
    max_supervised_tokens: int
    padding_free: bool = False

    def tokens_of(self, examples: Sequence[Example]) -> int:
        """Return how many tokens these examples make as one micro-batch."""
        lengths = [len(example.ids) for example in examples]
        return sum(lengths) if self.padding_free else len(lengths) * max(lengths)


def supervised_count(examples: Sequence[Example]) -> int:
    """Return how many tokens of the examples are training targets."""
    # The first token has no hidden state before it, so it can never be a target.
    return sum(sum(example.supervised[1:]) for example in examples)


def cut(examples: Sequence[Example], limits: Limits) -> Iterator[list[Example]]:
    """Yield the examples in micro-batches, the longest first so that memory peaks at once."""
    batch: list[Example] = []
    targets = 0
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        own_targets = supervised_count([example])
        full = (
            len(batch) >= limits.max_examples
            or limits.tokens_of([*batch, example]) > limits.max_tokens
            or targets + own_targets > limits.max_supervised_tokens
        )
        if batch and full:
            yield batch
            batch, targets = [], 0
        batch.append(example)
        targets += own_targets
    if batch:
        yield batch


def collate(
    examples: Sequence[Example], *, padding_free: bool = False, every_token: bool = False
) -> MicroBatch:
    """Lay examples out as tensors.

    Padding goes on the right and no attention mask is made: under causal attention no real token
    sees what comes after it, and padded positions are never read.

    Args:
        examples: At least one, each of at least two tokens.
        padding_free: Lay them one after another in one row.
        every_token: Make every token after the first a target, not only the supervised ones.
    """
    ids = [torch.tensor(example.ids[:-1]) for example in examples]
    lengths = tuple(map(len, ids))
    rows, columns, targets = [], [], []
    for index, example in enumerate(examples):
        row, start = (0, sum(lengths[:index])) if padding_free else (index, 0)
        for position in range(1, len(example.ids)):
            if every_token or example.supervised[position]:
                rows.append(row)
                columns.append(start + position - 1)
                targets.append(example.ids[position])
    return MicroBatch(
        torch.cat(ids)[None] if padding_free else pad_sequence(ids, batch_first=True),
        torch.tensor(rows),
        torch.tensor(columns),
        torch.tensor(targets),
        lengths if padding_free else (),
    )
