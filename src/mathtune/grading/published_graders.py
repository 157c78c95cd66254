r"""The graders that published results were scored with, reproduced exactly, quirks included.

Sources: ``dataset.py`` of openai/grade-school-math (Cobbe et al. 2021); ``gsm8k.yaml`` (version 3),
``gsm8k-cot.yaml`` (version 3), ``filters/extraction.py`` and the ``exact_match`` metric of
lm-evaluation-harness 0.4.13.

What they compare with:

- ``openai`` extracts the gold from the gold solution with the expression it uses on the completion.
  If that finds nothing the original fails an assertion; here every completion is then wrong.
- ``lm_eval_strict`` and ``lm_eval_flexible`` take the whole gold solution and let the normalisation
  cut it down to what follows ``####``.
- ``lm_eval_cot_strict`` takes what follows the last ``####`` of it, stripped.

A gold text without ``####`` is a bare final answer, as in SVAMP: it is graded as the solution that
consists of ``####``, a space and that answer.

The harness also stops generation at a next question, so its published scores never saw text past
``Question:``; these graders see the completion as given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

_HASH = re.compile(r"#### (\-?[0-9\.\,]+)")
_ANSWER_IS = re.compile(r"The answer is (\-?[0-9\.\,]+).")
_FULL_STOP_AT_END = re.compile(r"\.$")
_NO_ANSWER = "[invalid]"

# The harness takes the last match of (-?[$0-9.,]{2,})|(-?[0-9]+). A match is a whole run of the
# class if it has two characters or more, else a single digit, with a minus before it; so the last
# match is this expression's first in the reversed text, and the search ends there.
_LAST_NUMBER_REVERSED = re.compile(r"(?:[$0-9.,]{2,}|[0-9])-?")


def openai(completion: str, gold: str) -> bool:
    """Grade as openai/grade-school-math: first ``#### <number>``, commas dropped, as strings."""
    wanted = _HASH.search(gold)
    found = _HASH.search(completion)
    if wanted is None or found is None:
        return False
    return found[1].replace(",", "") == wanted[1].replace(",", "")


def lm_eval_strict(completion: str, gold: str) -> bool:
    """Grade as lm-evaluation-harness gsm8k, filter ``strict-match``."""
    found = _HASH.search(completion)
    return _normalised(found[1] if found else _NO_ANSWER) == _normalised(gold)


def lm_eval_flexible(completion: str, gold: str) -> bool:
    """Grade as lm-evaluation-harness gsm8k, filter ``flexible-extract``: the last such run."""
    found = _LAST_NUMBER_REVERSED.search(completion[::-1])
    return _normalised(found[0][::-1] if found else _NO_ANSWER) == _normalised(gold)


def lm_eval_cot_strict(completion: str, gold: str) -> bool:
    """Grade as lm-evaluation-harness gsm8k_cot, filter ``strict-match``.

    The dot that ends its expression matches any character, so at the end of a text without a
    full stop the last digit is lost.
    """
    found = _ANSWER_IS.search(completion)
    target = gold.split("####")[-1].strip()
    return _normalised(found[1] if found else _NO_ANSWER) == _normalised(target)


PUBLISHED_GRADERS: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {
        "openai": openai,
        "lm_eval_strict": lm_eval_strict,
        "lm_eval_flexible": lm_eval_flexible,
        "lm_eval_cot_strict": lm_eval_cot_strict,
    }
)
"""Name to grader; each takes a completion and a gold solution that holds ``####``."""


def published_grades(completion: str, gold_answer_text: str) -> dict[str, bool]:
    """Grade a completion with each of ``PUBLISHED_GRADERS``.

    Args:
        completion: What the model wrote after the prompt.
        gold_answer_text: The gold solution as published (GSM8K's ``answer``), or a bare final
            answer.

    Returns:
        Name of the grader to its verdict, in their order.
    """
    gold = gold_answer_text if "####" in gold_answer_text else f"#### {gold_answer_text.strip()}"
    return {name: grader(completion, gold) for name, grader in PUBLISHED_GRADERS.items()}


def _normalised(text: str) -> str:
    r"""Apply the harness' ``regexes_to_ignore`` in their order, then its ``ignore_case``.

    Its third, ``(?s).*####[ ]``, drops everything up to the last such marker. As a regular
    expression it takes quadratic time on a text without one.
    """
    text = text.replace(",", "").replace("$", "")
    text = text[text.rfind("#### ") + len("#### ") :] if "#### " in text else text
    return _FULL_STOP_AT_END.sub("", text).lower()
