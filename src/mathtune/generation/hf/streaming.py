"""One completion while it is written, as a reader may already see it."""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.generation.engine import StreamedCompletion
from mathtune.generation.hf.rows import DecodeRow
from mathtune.generation.stops import without_possible_stop
from mathtune.records import Completion


class WrittenText:
    """Follows one row: what of its text is certain, and what the calculator wrote.

    Args:
        stops: The strings that end the completion and are no part of its text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._length = 0
        self._inserted: list[tuple[int, int]] = []

    def so_far(self, row: DecodeRow) -> StreamedCompletion:
        """Return what is certain after the row's newest token; called once per token."""
        text = row.text.text
        self._follow(text, row.ids, row.inserted_at)
        return self._shown(without_possible_stop(text, self._stops), None)

    def whole(self, completion: Completion) -> StreamedCompletion:
        """Return the row's completion."""
        self._follow(completion.text, completion.ids, completion.inserted_at)
        return self._shown(completion.text, completion)

    def _follow(self, text: str, ids: Sequence[int], inserted_at: Sequence[int]) -> None:
        """Note what the calculator wrote, if it wrote the newest token."""
        start, self._length = self._length, len(text)
        if inserted_at and inserted_at[-1] == len(ids) - 1:
            if self._inserted and self._inserted[-1][1] == start:
                start = self._inserted.pop()[0]
            self._inserted.append((start, self._length))

    def _shown(self, text: str, completion: Completion | None) -> StreamedCompletion:
        spans = ((start, min(end, len(text))) for start, end in self._inserted)
        return StreamedCompletion(text, tuple(s for s in spans if s[0] < s[1]), completion)
