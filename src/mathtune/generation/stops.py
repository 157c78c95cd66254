"""Text of tokens as they come: incremental decoding and stop strings, each token decoded once.

A stop string may span tokens, and a character may span byte tokens, so text is known only some
tokens later than the tokens are. ``RowText`` keeps the text of one row current at the cost of one
dictionary look-up per token; only tokens that hold part of a character are decoded together with
their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

_REPLACEMENT = "\ufffd"  # what decoders put for bytes that are not (yet) a complete character
_MAX_PENDING = 8  # a character has at most 4 bytes; more pending tokens than this are real garbage


class Tokenizer(Protocol):
    """What this package uses of a Transformers tokenizer."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the token ids of ``text``."""
        ...

    def decode(self, token_ids: Sequence[int], **options: Any) -> str:
        """Return the text of ``token_ids``."""
        ...


class Detokenizer:
    """Turns ids into the text they have in the middle of a text.

    Decoders of the SentencePiece family drop the space before the first word. Everything is
    therefore decoded behind a fixed anchor token whose text is then cut off, so that ``"▁cats"`` is
    ``" cats"``.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._anchor = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._anchor_text = self._decode(self._anchor)
        self._pieces: dict[int, str | None] = {}

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids`` as they continue other text, special tokens left out."""
        text = self._decode([*self._anchor, *ids])
        if text.startswith(self._anchor_text):
            return text[len(self._anchor_text) :]
        return self._decode(ids)

    def piece(self, token: int) -> str | None:
        """Return the text of one token, or None if it holds part of a character."""
        if token not in self._pieces:
            text = self.text([token])
            self._pieces[token] = None if _REPLACEMENT in text else text
        return self._pieces[token]


class RowText:
    """The text of one row, current up to the last complete character."""

    __slots__ = ("_detokenizer", "_pending", "text")

    def __init__(self, detokenizer: Detokenizer) -> None:
        self._detokenizer = detokenizer
        self._pending: list[int] = []
        self.text = ""

    def push(self, token: int) -> int:
        """Add a token and return the number of characters it made certain (0 or more)."""
        chunk = self._detokenizer.piece(token) if not self._pending else None
        if chunk is None:
            self._pending.append(token)
            chunk = self._detokenizer.text(self._pending)
            if chunk.endswith(_REPLACEMENT) and len(self._pending) < _MAX_PENDING:
                return 0
            self._pending.clear()
        self.text += chunk
        return len(chunk)


def find_stop(text: str, stops: Sequence[str], new: int | None = None) -> int | None:
    """Return where the first stop string in ``text`` begins, or None.

    Args:
        text: The text so far.
        stops: The strings that end a completion.
        new: How many characters at the end were not searched before; None searches all.
    """
    found = [
        at
        for stop in stops
        if (at := text.find(stop, 0 if new is None else max(0, len(text) - new - len(stop) + 1)))
        >= 0
    ]
    return min(found, default=None)


def without_possible_stop(text: str, stops: Sequence[str]) -> str:
    """Return a text that goes on, without an end that may become a stop string."""
    held = (
        length
        for stop in stops
        for length in range(len(stop) - 1, 0, -1)
        if text.endswith(stop[:length])
    )
    return text[: len(text) - max(held, default=0)]
