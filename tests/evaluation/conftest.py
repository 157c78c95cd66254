from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

DECODING: dict[str, Any] = {
    "max_new_tokens": 256,
    "temperature": 0.0,
    "top_p": 1.0,
    "samples": 1,
    "seed": 0,
    "stop": [],
    "calculator": False,
}


@pytest.fixture
def make_row() -> Callable[..., dict[str, Any]]:
    """Rows as they stand in a predictions file; correct unless said otherwise."""

    def make(problem_id: str, correct: bool = True, **fields: Any) -> dict[str, Any]:
        samples = fields.pop("samples", 1)
        decoding = {**DECODING, "samples": samples, **fields.pop("decoding", {})}
        row = {
            "problem_id": problem_id,
            "sample": 0,
            "set": "test set",
            "question": f"What is {problem_id}?",
            "answer": "It is 7.\n#### 7",
            "gold": "7",
            "type": None,
            "steps": None,
            "prompt_hash": "00112233",
            "style": "qa",
            "decoding": decoding,
            "completion": "#### 7" if correct else "#### 8",
            "tokens": 4,
            "inserted_tokens": 0,
            "stop_reason": "eos",
            "outcome": "correct" if correct else "wrong",
            "correct": correct,
            "extracted": "7" if correct else "8",
            "method": "hash",
            "reason": "",
            "error": None if correct else "reasoning",
            "published": {"openai": correct, "lm_eval_strict": correct},
        }
        assert fields.keys() <= row.keys()
        return {**row, **fields}

    return make
