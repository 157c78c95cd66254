"""The answers of one or several models to the same problems: filtered, searched, paged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from mathtune.grading.steps import check_steps
from mathtune.report import wording
from mathtune.ui.answers.prediction_index import Key, PredictionIndex

PER_PAGE = 25
MOST_SCOPES = 8
"""Most results of filters and searches that are kept for turning pages."""

LONGEST = 20_000
"""Most characters of a text on the page; what is left out is counted there."""

ABSENT = -1
"""Row of a model that did not answer a problem."""

Row = tuple[int, ...]
"""One row of each file, or ``ABSENT``."""

_PIECE = re.compile(r"(?P<calc><<[^<>\n]*>>)|(?P<final>^####[^\n]*$)", re.MULTILINE)


class AnswerTable:
    """Pairs the rows of files by problem and sample.

    Args:
        sides: The indexes of the files, in the order of the columns.
        names: Their names.
    """

    def __init__(self, sides: Sequence[PredictionIndex], names: Sequence[str]) -> None:
        self.sides, self.names = sides, names
        rows: dict[Key, list[int]] = {}
        for number, side in enumerate(sides):
            for row, key in enumerate(side.keys):
                rows.setdefault(key, [ABSENT] * len(sides))[number] = row
        self.rows: list[Row] = [tuple(row) for row in rows.values()]
        self.samples = any(key[1] > 0 for key in rows)
        self._scopes: dict[tuple[str, str, bool, str], tuple[list[Row], dict[str, int]]] = {}
        self.rates = [_pass_rates(side) if self.samples else {} for side in sides]

    def page(
        self,
        number: int = 0,
        *,
        show: str = "all",
        outcome: str = "",
        error: str = "",
        disagree: bool = False,
        query: str = "",
        sort: str = "",
    ) -> dict[str, Any]:
        """Return one page of the rows that fit.

        Args:
            number: From 0; beyond the last page the last is returned.
            show: ``all``, ``right``, ``wrong``, and of several sides ``gained``, ``lost`` (between
                the first and the last) and ``flipped`` (not all alike).
            outcome: ``SIDE:OUTCOME``, for example ``1:truncated``.
            error: ``SIDE:KIND``.
            disagree: Only where graders disagree on some side.
            query: A text in question, type, gold answer or a completion.
            sort: ``pass_rate`` for the least often solved problems first.
        """
        scope, counts = self._scope(outcome, error, disagree, query.strip())
        chosen = self._choices().get(show, _anything)
        found = scope if chosen is _anything else [row for row in scope if chosen(row)]
        if sort == "pass_rate" and self.samples:
            found = sorted(found, key=self._pass_rate)
        pages = max(1, -(-len(found) // PER_PAGE))
        number = min(max(0, number), pages - 1)
        part = found[number * PER_PAGE : (number + 1) * PER_PAGE]
        return {
            "names": list(self.names),
            "counts": counts,
            "total": len(found),
            "number": number,
            "first": number * PER_PAGE,
            "pages": pages,
            "samples": self.samples,
            "outcomes": self._kinds(lambda side: side.outcomes),
            "errors": self._kinds(lambda side: side.errors),
            "unreadable": sum(side.unreadable for side in self.sides),
            "rows": [self._line(row) for row in part],
        }

    def _scope(
        self, outcome: str, error: str, disagree: bool, query: str
    ) -> tuple[list[Row], dict[str, int]]:
        """Return the rows that pass all filters but ``show``, and how many each ``show`` would.

        The last ones are kept, so that only the first page of a search reads the files.
        """
        asked = (outcome, error, disagree, query)
        if asked in self._scopes:
            return self._scopes[asked]
        tests = [_field_test(outcome, self._outcome), _field_test(error, self._error)]
        if disagree:
            tests.append(lambda row: any(s.disagree(r) for s, r in self._present(row)))
        needed = [test for test in tests if test]
        scope = [row for row in self.rows if all(test(row) for test in needed)]
        if query:
            scope = self._holding(query, scope)
        counts = {name: sum(map(test, scope)) for name, test in self._choices().items()}
        if len(self._scopes) >= MOST_SCOPES:
            self._scopes = {}
        self._scopes[asked] = scope, counts
        return scope, counts

    def _choices(self) -> dict[str, Callable[[Row], bool]]:
        first, last = self.sides[0], self.sides[-1]

        def marks(row: Row) -> list[int]:
            return [side.correct[r] for side, r in self._present(row)]

        def turned(row: Row, before: int) -> bool:
            a, b = row[0], row[-1]
            both = a != ABSENT and b != ABSENT
            return both and first.correct[a] == before and last.correct[b] != before

        one = {
            "all": _anything,
            "right": lambda row: all(marks(row)),
            "wrong": lambda row: not any(marks(row)),
        }
        if len(self.sides) == 1:
            return one
        if len(self.sides) == 2:
            gained = {"gained": lambda row: turned(row, 0), "lost": lambda row: turned(row, 1)}
            return {"all": one.pop("all"), **gained, **one}
        return {"all": one.pop("all"), "flipped": lambda row: len(set(marks(row))) > 1, **one}

    def _present(self, row: Row) -> Iterator[tuple[PredictionIndex, int]]:
        return ((side, r) for side, r in zip(self.sides, row, strict=True) if r != ABSENT)

    def _outcome(self, row: Row, side: int) -> str:
        return self.sides[side].outcome(row[side]) if row[side] != ABSENT else ""

    def _error(self, row: Row, side: int) -> str:
        return self.sides[side].error(row[side]) if row[side] != ABSENT else ""

    def _kinds(self, of: Callable[[PredictionIndex], bytearray]) -> list[tuple[int, str]]:
        """Return ``(side, name)`` of everything that occurs."""
        return [
            (number, name)
            for number, side in enumerate(self.sides)
            for name in sorted({side.names[code] for code in set(of(side))} - {""})
        ]

    def _holding(self, query: str, scope: list[Row]) -> list[Row]:
        hits = []
        for number, side in enumerate(self.sides):
            wanted = {row[number] for row in scope}
            hits.append(side.search(query, wanted.__contains__))
        return [row for row in scope if any(r in found for r, found in zip(row, hits, strict=True))]

    def _pass_rate(self, row: Row) -> float:
        side = len(self.sides) - 1
        if row[side] == ABSENT:
            return 2.0
        right, n = self.rates[side][self.sides[side].keys[row[side]][0]]
        return right / n

    def _line(self, row: Row) -> dict[str, Any]:
        answers: list[dict[str, Any] | None] = []
        problem: Mapping[str, Any] | None = None
        for number, (side, r) in enumerate(zip(self.sides, row, strict=True)):
            if r == ABSENT:
                answers.append(None)
                continue
            found = side.row(r)
            problem = problem or found
            answer = {**_answer(found), "disagree": side.disagree(r)}
            if self.samples:
                answer["pass_rate"] = list(self.rates[number][side.keys[r][0]])
            answers.append(answer)
        assert problem is not None  # a pair has at least one row
        question, gold, kind = (_text(problem.get(key)) for key in ("question", "gold", "type"))
        solution = marked(_text(problem.get("answer")), check=False)
        line = {"question": question, "gold": gold, "type": kind, "solution": solution}
        return {
            **line,
            "steps": problem.get("steps"),
            "sample": problem.get("sample") or 0,
            "answers": answers,
        }


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    published = row.get("published")
    verdicts = published if isinstance(published, Mapping) else {}
    extracted = row.get("extracted")
    return {
        "correct": row.get("correct") is True,
        "outcome": _text(row.get("outcome")),
        "error": _text(row.get("error")),
        "extracted": None if extracted is None else _text(extracted)[:200],
        "reason": _text(row.get("reason")),
        "tokens": row.get("tokens"),
        "inserted": row.get("inserted_tokens"),
        "ending": wording.ending(_text(row.get("stop_reason"))),
        "graders": [
            [wording.GRADERS.get(str(name), (str(name), ""))[0], bool(verdict)]
            for name, verdict in verdicts.items()
        ],
        "text": marked(_text(row.get("completion")).strip()),
    }


def marked(text: str, *, check: bool = True) -> list[tuple[str, str]]:
    """Return a solution as ``(kind, piece)``.

    Kinds are ``""``, ``calc`` (a calculator annotation), ``final`` (the line of the final answer),
    ``false`` (a stated equation that does not hold) and ``cut`` (how much is left out).
    """
    left_out = len(text) - LONGEST
    text = text[:LONGEST]
    spans = [(m.start(), m.end(), str(m.lastgroup)) for m in _PIECE.finditer(text)]
    if check:
        false = [(e.start, e.end, "false") for e in check_steps(text).wrong]
        spans = [s for s in spans if not any(s[0] < b and a < s[1] for a, b, _ in false)] + false
    pieces, at = [], 0
    for start, end, kind in sorted(spans):
        if start < at:
            continue
        if start > at:
            pieces.append(("", text[at:start]))
        pieces.append((kind, text[start:end]))
        at = end
    if at < len(text):
        pieces.append(("", text[at:]))
    if left_out > 0:
        pieces.append(("cut", f"… ({left_out:,} characters more)"))
    return pieces


def _pass_rates(side: PredictionIndex) -> dict[str, tuple[int, int]]:
    """Return problem id → how many of its samples are right, and how many there are."""
    n: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for (problem, _), correct in zip(side.keys, side.correct, strict=True):
        n[problem] += 1
        right[problem] += correct
    return {problem: (right[problem], count) for problem, count in n.items()}


def _field_test(given: str, of: Callable[[Row, int], str]) -> Callable[[Row], bool] | None:
    side, colon, name = given.partition(":")
    if not (colon and side.isdecimal() and len(side) < 3):
        return None
    number = int(side)

    def test(row: Row) -> bool:
        return number < len(row) and of(row, number) == name

    return test


def _anything(row: Row) -> bool:
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)
