"""One completion in flight: its tokens, when it ends and its record."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from mathtune.generation.calculator import Calculator
from mathtune.generation.engine import Decoding
from mathtune.generation.repetition import loop_length, without_last_part
from mathtune.generation.stops import Detokenizer, RowText, find_stop
from mathtune.records import Completion, Prompt, StopReason


@dataclass(slots=True)
class DecodeRow:
    """One completion in flight.

    Attributes:
        prompt: The prompt it continues.
        sample: Its number among the samples of the problem.
        limit: Most new tokens.
        text: The text of ``ids``.
        generator: Its own random numbers.
        started: ``time.perf_counter()`` when it took the row.
        ids: New tokens so far.
        logprobs: Their log-probabilities if requested.
        forced: Tokens the calculator still has to write.
        inserted_at: Positions of those that it has written.
        corrected: How many of those the model would have written differently.
    """

    prompt: Prompt
    sample: int
    limit: int
    text: RowText
    generator: random.Random
    started: float = field(default_factory=time.perf_counter)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: deque[int] = field(default_factory=deque)
    inserted_at: list[int] = field(default_factory=list)
    corrected: int = 0


class Rules:
    """When rows end, and what the calculator writes into them."""

    def __init__(
        self,
        decoding: Decoding,
        eos_ids: Iterable[int],
        tokenizer: Any,
        detokenizer: Detokenizer,
    ) -> None:
        self._stops = decoding.stop
        self._stop_repetition = decoding.stop_repetition
        self._logprobs = decoding.logprobs
        self._eos_ids = frozenset(eos_ids)
        # Special tokens are not part of the text, so a stop string that is one is matched by id.
        self._stop_ids = frozenset(
            token
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.special and added.content in decoding.stop
        )
        self._detokenizer = detokenizer
        self._calculator = Calculator(tokenizer, detokenizer) if decoding.calculator else None

    def next_token(self, row: DecodeRow, chosen: int) -> int:
        """Return the row's next token: one the calculator has waiting, else the model's choice."""
        if not row.forced:
            return chosen
        row.inserted_at.append(len(row.ids))
        token = row.forced.popleft()
        row.corrected += token != chosen
        return token

    def push(self, row: DecodeRow, token: int) -> StopReason | None:
        """Add a token to a row and return why the row ends with it, or None."""
        row.ids.append(token)
        if token in self._eos_ids:
            return StopReason.EOS
        if token in self._stop_ids:
            return StopReason.STOP_STRING
        new = row.text.push(token)
        if new and self._stops and find_stop(row.text.text, self._stops, new) is not None:
            return StopReason.STOP_STRING
        if len(row.ids) >= row.limit:
            return StopReason.LENGTH
        if self._stop_repetition and loop_length(row.ids):
            return StopReason.REPETITION
        if new and self._calculator is not None and not row.forced:
            row.forced.extend(self._calculator.insertion(row.text.text))
        return None

    def complete(self, row: DecodeRow, reason: StopReason) -> Completion:
        """Turn a row that ended into its record."""
        text = self._detokenizer.text(row.ids)
        text = text[: find_stop(text, self._stops)]
        if reason is StopReason.REPETITION:
            block = self._detokenizer.text(row.ids[-loop_length(row.ids) :])
            text = without_last_part(text, len(block))
        return Completion(
            problem_id=row.prompt.problem_id,
            sample=row.sample,
            text=text,
            ids=tuple(row.ids),
            stop_reason=reason,
            seconds=time.perf_counter() - row.started,
            logprobs=tuple(row.logprobs) if self._logprobs else None,
            inserted_tokens=len(row.inserted_at),
            inserted_at=tuple(row.inserted_at),
            corrected_tokens=row.corrected,
        )


def eos_ids(model: Any, tokenizer: Any) -> set[int]:
    """Return the ids that end a text: the tokenizer's EOS and those of the generation config."""
    configured = getattr(model, "generation_config", None)
    ids = getattr(configured, "eos_token_id", None)
    several = ids if isinstance(ids, list) else [ids]
    return {i for i in (*several, tokenizer.eos_token_id) if i is not None}
