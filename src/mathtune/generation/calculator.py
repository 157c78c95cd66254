"""Exact results for ``<<48/2=`` while a model decodes (Cobbe et al. 2021, appendix B).

When the text of a row ends with ``=`` inside an open ``<<``, the expression before it is evaluated
exactly and the tokens of ``24>>`` are forced. The trigger looks at decoded text, not at token ids,
because tokenizers write ``=`` in several ways. It needs the text to *end* with ``=``: where one
token holds ``=`` and more (``=2``, ``=>>``), the model has already begun the result itself, so
nothing is inserted. An expression that is not arithmetic, holds a second ``=`` or divides by zero
inserts nothing either.
"""

from __future__ import annotations

from mathtune.arithmetic import ExpressionError, evaluate, format_number
from mathtune.generation.stops import Detokenizer, Tokenizer

OPEN, EQUALS, CLOSE = "<<", "=", ">>"


def pending_result(text: str) -> str | None:
    """Return what the calculator writes after ``text``, for example ``"24>>"``, or None.

    The result is exact; one without a finite decimal form is rounded to six decimals.
    """
    if not text.endswith(EQUALS):
        return None
    start = text.rfind(OPEN)
    if start < 0 or CLOSE in text[start:]:
        return None
    try:
        value = evaluate(text[start + len(OPEN) : -len(EQUALS)])
    except ExpressionError:
        return None
    return format_number(value) + CLOSE


class Calculator:
    """Encodes results as the tokens that continue a text ending with ``=``.

    ``tokenizer.encode("24>>")`` alone would be wrong: SentencePiece tokenizers put a dummy space in
    front. The result is encoded behind an ``=`` whose tokens are then cut off, and every spelling
    is decoded again before use, so that an insertion always reads exactly as the result.
    """

    def __init__(self, tokenizer: Tokenizer, detokenizer: Detokenizer) -> None:
        self._tokenizer = tokenizer
        self._detokenizer = detokenizer
        self._equals = self._encode(EQUALS)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def insertion(self, text: str) -> list[int]:
        """Return the ids to force after ``text``; empty if the calculator has nothing to add."""
        result = pending_result(text)
        if result is None:
            return []
        whole = self._spell(result)
        if whole is not None:
            return whole
        # Merges may reach over the "=" (a token "=2"); then it is spelled in single characters.
        single = [self._spell(character) for character in result]
        return [token for ids in single if ids is not None for token in ids] if all(single) else []

    def _spell(self, text: str) -> list[int] | None:
        behind = self._encode(EQUALS + text)
        candidates = [self._encode(text)]
        if behind[: len(self._equals)] == self._equals:
            candidates.insert(0, behind[len(self._equals) :])
        return next((ids for ids in candidates if self._detokenizer.text(ids) == text), None)
