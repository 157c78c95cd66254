"""A question, an answer and a verdict as one text: what a verifier reads and predicts.

The verdict is one more token after the answer's end: ``1`` for right, ``0`` for wrong. The model's
own output layer predicts it, so a verifier is an ordinary model or adapter without a new head.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mathtune.errors import ModelError
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem

RIGHT, WRONG = "1", "0"


def verdict_tokens(tokenizer: Any) -> tuple[int, int]:
    """Return the tokens for right and wrong.

    Raises:
        ModelError: The tokenizer does not tell them apart.
    """
    right, wrong = (
        tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in (RIGHT, WRONG)
    )
    if right == wrong:
        raise ModelError(
            f"the tokenizer writes the digits {RIGHT} and {WRONG} with the same token, so a "
            "verifier could not say which; use another model"
        )
    return right, wrong


def with_verdict(renderer: Renderer, problem: Problem, completion: str, right: bool) -> Example:
    """Return an answer as a text whose only supervised token is its verdict."""
    text = renderer.example(replace(problem, answer=completion.strip()))
    token = verdict_tokens(renderer.tokenizer)[not right]
    return replace(
        text,
        ids=(*text.ids, token),
        supervised=(False,) * len(text.ids) + (True,),
        prompt_tokens=len(text.ids),
    )
