"""Saved outputs of any tool: which field of a row holds what, and which lines are broken.

Three layouts are distinguished:

- mathtune's own predictions files;
- what ``lm_eval --log_samples`` writes: one line per document *and filter*, of which the raw
  ``resps`` are read once per document, and the harness' own verdict from each line;
- anything else with a completion and a gold answer under a usual name, or under a given one.

A broken line never stops the others: it is kept with its number and what is wrong with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mathtune.errors import DataError
from mathtune.evaluation.predictions import rows
from mathtune.evaluation.regrade.saved_fields import Fields, Layout, as_text, look_up, recognise
from mathtune.grading.numbers import read_number
from mathtune.grading.stated import Stated, StatedGold, is_bare, is_marked, stated_gold

UNKNOWN = "unknown"
"""Stop reason of a completion whose row does not say how it ended."""

_LENGTH = frozenset({"length", "max_tokens", "max_new_tokens"})


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that cannot be graded, by its number from 1."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class SavedOutput:
    """The completions of one problem, as one line holds them.

    Attributes:
        line: Number of the line, from 1.
        row: The line as it was read.
        id: The problem's own name there, or None.
        question: What was asked, or ``""``.
        answer: The gold solution, or the gold answer where there is no solution.
        gold: The final answer.
        completions: At least one.
        stop_reasons: One per completion; ``length`` is the token limit, ``unknown`` not given.
        prompt: The whole prompt where it is known, else ``""``.
        verdicts: The harness' own verdict by the name of its filter; lm-eval files only.
        stated: How the final answer was stated.
    """

    line: int
    row: Mapping[str, Any]
    id: str | None
    question: str
    answer: str
    gold: str
    completions: tuple[str, ...]
    stop_reasons: tuple[str, ...]
    prompt: str = ""
    verdicts: dict[str, bool] = field(default_factory=dict)
    stated: Stated = Stated.ALONE


@dataclass(frozen=True, slots=True)
class SavedOutputs:
    """A file of saved outputs.

    Attributes:
        path: The file.
        layout: Its kind.
        fields: Which field holds what.
        outputs: One per problem and line, in file order.
        broken: The lines that cannot be graded, in file order.
    """

    path: Path
    layout: Layout
    fields: Fields
    outputs: tuple[SavedOutput, ...]
    broken: tuple[BrokenLine, ...]


Golds = Mapping[str, tuple[str, str]]
"""Gold solution and final answer by ``question_key``."""


def question_key(question: str) -> str:
    """Return what makes two questions the same: their text, regardless of white space."""
    return " ".join(question.split())


def read_saved_outputs(
    path: str | Path,
    given: Fields | None = None,
    *,
    golds: Golds | None = None,
) -> SavedOutputs:
    """Read a JSON-lines file of saved outputs.

    Args:
        path: The file.
        given: Fields named by the caller, which are not guessed.
        golds: Gold answers for a file that has none.

    Raises:
        NoGolds: No field holds gold answers, and no ``golds`` are given.
        DataError: There is no such file, or no line of it can be graded.
        ConfigError: A given field is in no row.
    """
    path, given = Path(path), given or Fields()
    lines = list(_read_lines(path))
    found = [(number, row) for number, row in lines if not isinstance(row, BrokenLine)]
    layout, chosen = recognise(path, [row for _, row in found], given, golds is not None)
    outputs: list[SavedOutput] = []
    broken = [row for _, row in lines if isinstance(row, BrokenLine)]
    earlier = _Earlier(layout)
    for number, row in found:
        try:
            output = _output(number, row, layout, chosen, golds or {})
            if not earlier.takes(output):
                outputs.append(output)
        except _Broken as fault:
            broken.append(BrokenLine(number, str(fault)))
    broken.sort(key=lambda each: each.line)
    if not outputs:
        first = f"line {broken[0].line} {broken[0].reason}" if broken else "it has no lines"
        raise DataError(f"{path} holds nothing that can be graded: {first}")
    return SavedOutputs(path, layout, chosen, tuple(outputs), tuple(broken))


class _Broken(Exception):
    """Why a line cannot be graded, worded to follow its number."""


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any] | BrokenLine]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    try:
                        yield number, _read_object(line.removeprefix(b"\xef\xbb\xbf").strip())
                    except _Broken as fault:
                        yield number, BrokenLine(number, str(fault))
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror or error}); give a file of JSON lines"
        ) from error


def _read_object(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise _Broken(f"is not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise _Broken(f"is not JSON ({error.msg}, column {error.colno})") from error
    except RecursionError as error:
        raise _Broken("is nested too deeply") from error
    if not isinstance(row, dict):
        raise _Broken(f"is not a JSON object but a {type(row).__name__}")
    return row


# --- One line ------------------------------------------------------------------------------------


def _output(
    line: int, row: dict[str, Any], layout: Layout, chosen: Fields, golds: Golds
) -> SavedOutput:
    if layout is Layout.PREDICTIONS:
        try:
            rows.decode(json.dumps(row).encode(), "it")
        except DataError as error:
            raise _Broken(f"is not a predictions row: {error}") from error

    def text(where: str | None) -> str:
        return as_text(look_up(row, where)) or ""

    completions = _completions(row, chosen)
    question, answer, gold = text(chosen.question), text(chosen.answer), text(chosen.gold)
    if not answer.strip() and layout is Layout.LM_EVAL:
        answer = text("target")
    if not answer.strip() and not gold.strip() and golds:
        try:
            answer, gold = golds[question_key(question)]
        except KeyError:
            raise _Broken("has no gold answer, and no other file asks its question") from None
    if not answer.strip() and not gold.strip():
        names = " or ".join(repr(name) for name in (chosen.gold, chosen.answer) if name)
        raise _Broken(f"has no gold answer in {names}")
    try:
        (question + answer).encode()
    except UnicodeEncodeError as error:
        raise _Broken("holds half of a surrogate pair, which is not a character") from error
    stated = Stated.ALONE
    if not gold.strip() or is_marked(gold):
        gold, stated = _final(gold.strip() or answer)
    return SavedOutput(
        line=line,
        row=row,
        id=text(chosen.id) or None,
        question=question,
        answer=answer if answer.strip() else gold,
        gold=gold,
        completions=completions,
        stop_reasons=_stop_reasons(look_up(row, chosen.stop_reason), len(completions)),
        prompt=text("arguments.gen_args_0.arg_0") if layout is Layout.LM_EVAL else "",
        verdicts=_verdicts(row) if layout is Layout.LM_EVAL else {},
        stated=stated,
    )


def _completions(row: dict[str, Any], chosen: Fields) -> tuple[str, ...]:
    value = look_up(row, chosen.completion)
    if value is None:
        raise _Broken(f"has no completion in {chosen.completion!r}")
    items = value if isinstance(value, list) else [value]
    # lm-eval writes a list of requests, each a list of repeats.
    flat = [part for item in items for part in (item if isinstance(item, list) else [item])]
    texts = [as_text(part) for part in flat]
    if not texts or None in texts:
        raise _Broken(f"has {chosen.completion!r} without text in it (a multiple-choice task?)")
    return tuple(text for text in texts if text is not None)


def _final(answer: str) -> StatedGold:
    """Return the final answer of a gold text, and how it was stated."""
    answer = answer.strip()
    if not is_marked(answer) and (read_number(answer) is not None or is_bare(answer)):
        return StatedGold(answer, Stated.ALONE)
    try:
        return stated_gold(answer)
    except DataError as error:
        raise _Broken(f"has a gold answer that cannot be used: {error}") from error


def _stop_reasons(value: Any, count: int) -> tuple[str, ...]:
    values = value if isinstance(value, list) and len(value) == count else [value] * count
    return tuple(
        "length" if each in _LENGTH else each if isinstance(each, str) else UNKNOWN
        for each in values
    )


def _verdicts(row: dict[str, Any]) -> dict[str, bool]:
    value = row.get("exact_match")
    return {str(row.get("filter", "none")): value == 1} if isinstance(value, (int, float)) else {}


# --- One document, several lines -----------------------------------------------------------------


class _Earlier:
    """The lines before, to tell a document's next filter from a repeated line."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._outputs: dict[object, SavedOutput] = {}
        self._filters: set[tuple[object, object]] = set()

    def takes(self, output: SavedOutput) -> bool:
        """Return whether an earlier line has these completions; if so, add the verdict to it.

        Raises:
            _Broken: The line contradicts or repeats an earlier one.
        """
        if self._layout is Layout.PLAIN or output.id is None:
            return False
        if self._layout is Layout.PREDICTIONS:
            key: object = (output.id, output.row["sample"])
            what = "problem and sample"
        else:
            key = output.id
            what = f"document {key} and filter"
        first = self._outputs.setdefault(key, output)
        pair = (key, output.row.get("filter"))
        if pair in self._filters:
            raise _Broken(f"repeats the {what} of line {first.line}")
        if output.completions != first.completions:
            raise _Broken(f"has different completions for document {key} than line {first.line}")
        self._filters.add(pair)
        first.verdicts.update(output.verdicts)
        return first is not output
