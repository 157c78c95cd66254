"""Perplexity from token log-probabilities: ``exp(-1/N Σ log p(x_i))`` over tokens.

The mean is over all tokens of all examples, so a long solution weighs more than a short one and the
result does not depend on how examples were batched. (The mean of each batch's own perplexity, as
often reported, does.)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mathtune import ranks
from mathtune.errors import DataError, ModelError
from mathtune.records import Example
from mathtune.storage import replace_file

Scorer = Callable[[Sequence[Example]], Iterable[Sequence[float | None]]]
"""Examples → one natural log-probability per token of ``ids``, given the tokens before it.

The first token has nothing before it; its value is ignored."""


@dataclass(frozen=True, slots=True)
class Perplexity:
    """Perplexities of one model on one set of solved problems.

    Attributes:
        completion: Over the tokens after the prompt, EOS included.
        whole_text: Over all tokens but the first.
        completion_tokens: Number of tokens in the former.
        whole_text_tokens: Number of tokens in the latter.
    """

    completion: float
    whole_text: float
    completion_tokens: int
    whole_text_tokens: int

    def result(self) -> dict[str, Any]:
        """Return the ``perplexity`` object of ``results.json``."""
        return asdict(self)


def perplexity(examples: Sequence[Example], scorer: Scorer) -> Perplexity:
    """Score examples and return both perplexities.

    ``Example.prompt_tokens`` sets what counts as completion, not the loss mask, so the figure means
    the same for a model that was trained on whole texts.

    Raises:
        DataError: If there is no example, or none has a token after its prompt.
        ModelError: If the scorer returns more or fewer examples or tokens than it was given, or a
            value that is not a log-probability.
    """
    completion: list[float] = []
    prompt: list[float] = []
    for example, logprobs in zip_longest(examples, scorer(examples)):
        if example is None or logprobs is None or len(logprobs) != len(example.ids):
            raise ModelError(
                f"the scorer returned {len(logprobs or ())} log-probabilities for "
                f"{len(example.ids) if example else 0} tokens of problem "
                f"{example.problem_id if example else None!r}; it must return one per token"
            )
        for position in range(1, len(logprobs)):
            value = logprobs[position]
            if value is None or not value <= 1e-6:  # NaN fails every comparison
                raise ModelError(
                    f"token {position} of problem {example.problem_id!r} has log-probability "
                    f"{value}; the model's weights or its number type give no usable probabilities"
                )
            (completion if position >= example.prompt_tokens else prompt).append(value)
    if not completion:
        raise DataError(
            f"{len(examples)} examples have no token after their prompt; "
            "perplexity needs solved problems"
        )
    # fsum is exact in any order; sums of sums would not be.
    return Perplexity(
        completion=_perplexity(math.fsum(completion), len(completion)),
        whole_text=_perplexity(math.fsum(prompt + completion), len(prompt) + len(completion)),
        completion_tokens=len(completion),
        whole_text_tokens=len(prompt) + len(completion),
    )


def saved_perplexity(predictions: Path, examples: Sequence[Example], scorer: Scorer) -> Perplexity:
    """Return the saved measurement of exactly these tokens, or measure and save it.

    It is kept next to the predictions file, which is of one model, in ``FILE.perplexity.json``. A
    file that is unreadable or of different tokens is replaced.

    Raises:
        DiskError: If it could not be saved; otherwise as ``perplexity``.
    """
    path = predictions.with_name(predictions.name + ".perplexity.json")
    tokens = hashlib.sha256()
    for example in examples:
        tokens.update(repr((example.problem_id, example.prompt_tokens, example.ids)).encode())

    def read() -> Perplexity | None:
        try:
            saved = json.loads(path.read_bytes())
            return Perplexity(**saved) if saved.pop("tokens") == tokens.hexdigest() else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # measuring again costs time, never a result

    if found := ranks.from_first(read):
        return found
    measured = perplexity(examples, scorer)
    content = {"tokens": tokens.hexdigest(), **measured.result()}
    if ranks.is_first():
        replace_file(path, [json.dumps(content).encode() + b"\n"])
    return measured


def _perplexity(total: float, tokens: int) -> float:
    loss = -total / tokens
    return math.exp(loss) if loss < 700 else math.inf  # exp overflows from about 709.8 on
