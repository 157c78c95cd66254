"""Named sets of solved problems to show before a question; always the first ``k``, in file order.

``gsm8k-cot`` is quoted from Wei et al. 2022, "Chain-of-Thought Prompting Elicits Reasoning in Large
Language Models", table 20, which lm-evaluation-harness' gsm8k_cot shows too. ``word-problems`` was
written for mathtune in the form of GSM8K's solutions and shares no 13 words with a problem of it.
"""

from __future__ import annotations

import json
from importlib import resources

from mathtune.errors import ConfigError, did_you_mean
from mathtune.records import Problem, content_id
from mathtune.text.counts import counted

NAMED_SHOTS = ("gsm8k-cot", "word-problems")
"""Names of the sets."""

TRAIN = "train"
"""Value of ``prompt.shot_source`` that draws shots from the training problems."""


def named_shots(name: str, k: int) -> tuple[Problem, ...]:
    """Return the first ``k`` examples of a named set.

    Raises:
        ConfigError: There is no such set, or it has fewer examples.
    """
    if name not in NAMED_SHOTS:
        known = (TRAIN, *NAMED_SHOTS)
        raise ConfigError(
            f"prompt.shot_source={name} is unknown{did_you_mean(name, known) or '.'} Known: "
            f"{', '.join(known)}; or give the path of a JSONL, JSON, CSV or Parquet file"
        )
    text = resources.files(__name__).joinpath(f"{name}.jsonl").read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    if k > len(rows):
        raise ConfigError(
            f"prompt.shots={k}, but the set {name} has {counted(len(rows), 'example')}; set "
            f"prompt.shots={len(rows)} or less, or prompt.shot_source=train"
        )
    return tuple(
        Problem(
            id=content_id(row["question"], row["answer"]),
            question=row["question"],
            answer=row["answer"],
            gold=row["gold"],
            source=f"example set {name}",
        )
        for row in rows[:k]
    )
