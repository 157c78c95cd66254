"""``prompt``: what the text around a problem looks like."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mathtune.config.schema.section import Section


class PromptConfig(Section):
    """What the text around a problem looks like."""

    style: Literal["qa", "cot", "instruct", "chat", "orca"] = "qa"
    """``qa``, ``cot``: lm-evaluation-harness' gsm8k and gsm8k_cot; ``chat``: the tokenizer's."""
    system: str | None = None
    """System message of the chat style."""
    shots: Annotated[int, Field(ge=0)] = 0
    """Solved problems shown before each question in evaluation; training shows none."""
    shot_source: str = "train"
    """``train``: drawn from ``data.train`` by seed; ``gsm8k-cot``, ``word-problems``; or a file."""
