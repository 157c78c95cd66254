r"""Where in a completion the final answer stands.

Every search here is a ``find`` for fixed text or a pattern with a fixed beginning, so that a
megabyte of hostile text costs milliseconds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mathtune.errors import DataError
from mathtune.grading.numbers import WINDOW, Number, find_last_number, find_number
from mathtune.records import Grade, Outcome


class Candidate(NamedTuple):
    """A place where a final answer may stand.

    Attributes:
        method: ``boxed``, ``hash``, ``answer_is`` or ``last_number``.
        text: What stands there, at most ``WINDOW`` characters.
        number: The number read from it, or None.
    """

    method: str
    text: str
    number: Number | None


# --- The next question ---------------------------------------------------------------------------


def _sign_of_turn(word: str, *, anywhere: bool = False) -> re.Pattern[str]:
    """Match ``word:`` at the start of a line, or ``word`` in a Markdown heading.

    With ``anywhere`` the word with its colon also counts within a line, unless another word stands
    before it (``Understanding the Question:``). The word comes first in the pattern and its context
    in look-behinds, because a fixed beginning is what makes the search fast.
    """
    heading = rf"(?:(?<=\#\#\ {word})|(?<=\#\#{word}))\b"
    line = rf"(?:(?<=\n{word})|(?<=\n\*\*{word})|(?<=\n\#\ {word}))"
    free = rf"(?<!\w{word})(?<![A-Za-z]\ {word})"
    return re.compile(rf"{word}(?:{heading}|{free if anywhere else line}(?:\ ?[0-9]{{1,4}})?\**:)")


_NEXT_QUESTION = (
    _sign_of_turn("Question", anywhere=True),
    re.compile(r"Q:(?<!\wQ:)(?<![A-Za-z] Q:)"),
    *(_sign_of_turn(word) for word in ("Problem", "Instruction", "Exercise", "User", "Human")),
    re.compile(r"<(?:\|[a-z_]{1,20}\||/s|eos|start_of_turn|end_of_turn)>"),
    re.compile(r"\[INST\]"),
)


def cut_next_question(text: str) -> tuple[str, bool]:
    """Cut a completion where the model goes on to a question of its own, or to another turn.

    A sign at the very beginning of the text is passed over: a model that repeats the question
    before it answers has not gone on to another one.

    Returns:
        The text up to the first such sign, and whether there was one.
    """
    end = len(text)
    for sign in _NEXT_QUESTION:
        match = sign.search(text, 0, end)
        if match and not text[: match.start()].strip(" \n\t#*"):
            match = sign.search(text, match.end(), end)
        if match:
            end = match.start()
    return (text[:end].rstrip("#* \n"), True) if end < len(text) else (text, False)


# --- Candidates ----------------------------------------------------------------------------------

_LINE_MARKUP = re.compile(r"[\s*_:=~]*")
_LEADING_DASH = re.compile(r"[-−] (?=[0-9.$\\])")
_TAIL = 10_000
_DIGIT = re.compile(r"[0-9]")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_LIST_GOES_ON = re.compile(r"\s?(?:,|;|\\text\{ (?:and|or) \})\s?\\?[$0-9-]")

_COMMAND_OR_WORD = re.compile(r"\\[A-Za-z]+|[A-Za-z]+")

# Between a marker and its number, these words do not make it anything else than the answer.
_FILLER = frozenset(
    {"about", "approximately", "around", "exactly", "just", "only", "simply", "therefore", "thus"}
    | {"so", "is", "equal", "equals", "to", "the", "an", "total", "of", "answer", "final"}
    | {"usd", "us", "rs"}
)
_ANSWER = {
    word: re.compile(
        rf"""{word} {plural}? [*_"')\]]* (?: \s? [*_]* (?: : | = )
           | (?i: \s (?: is | are | was | would\ be | will\ be ) \b ) | [ ]? \n )""",
        re.VERBOSE,
    )
    for word, plural in (("nswer", "s"), ("NSWER", "S"))
}


def candidates(text: str) -> Iterator[Candidate]:
    r"""Give the places where the final answer may stand, best first.

    They are the last ``\boxed{…}``; the last ``####``; the last "answer is", "answer:" or "answer"
    heading; the last number of the text. Only the last of each kind is looked at.
    """
    for find in (_boxed, _hash, _answer_is):
        candidate = find(text)
        if candidate is not None:
            yield candidate
    number = find_last_number(text)
    if number is not None:
        yield Candidate("last_number", number.text, number)


def _boxed(text: str) -> Candidate | None:
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    content = _braced(text[start + len("\\boxed") : start + len("\\boxed") + WINDOW])
    number = find_number(_joined_dash(content))
    if number is not None and _LIST_GOES_ON.match(content, number.end):
        number = number._replace(text=content[:80], value=None)
    return Candidate("boxed", content, number)


def _braced(text: str) -> str:
    """Give what the braces at the beginning hold, or the line where nothing closes them."""
    if not text.startswith("{"):
        return text.split("\n", 1)[0].strip(" $.")
    depth = 0
    for index, character in enumerate(text):
        if character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if depth == 0:
                return text[1:index].strip()
    return text[1:].split("\n", 1)[0].strip()


def _hash(text: str) -> Candidate | None:
    start = text.rfind("####")
    return None if start < 0 else _after_marker("hash", text, start + len("####"))


def _answer_is(text: str) -> Candidate | None:
    # The end of a long text is looked at first: there may be a hundred thousand markers before it.
    for start in sorted({0, max(0, len(text) - _TAIL)}, reverse=True):
        ends = [
            marker.end()
            for word, pattern in _ANSWER.items()
            if word in text
            for marker in deque(pattern.finditer(text, start), maxlen=1)
        ]
        if ends:
            return _after_marker("answer_is", text, max(ends))
    return None


def _after_marker(method: str, text: str, start: int) -> Candidate:
    """Read the line after a marker.

    The number must follow directly, filler such as "about $" aside. Where other words come between
    ("Answer: Janet makes $18 a day") it is taken only as a plain number in the last sentence that
    holds a digit: else the words are a solution, and its last number says more than its first.
    """
    markup = _LINE_MARKUP.match(text, start)
    start = markup.end() if markup else start
    line = text[start : start + WINDOW].split("\n", 1)[0].strip()
    number = find_number(_joined_dash(line))
    if number is None:
        return Candidate(method, line, None)
    gap = line[: number.start]
    if gap and not _is_filler(gap):
        sentence = _SENTENCE_END.search(text, start + number.end)
        goes_on = sentence is not None and _DIGIT.search(text, sentence.end())
        if number.value is None or goes_on:
            return Candidate(method, line, None)
    return Candidate(method, line, number)


def _joined_dash(text: str) -> str:
    """``- 5`` at the very beginning is minus five; within a text a dash with blanks is a dash."""
    return "-" + text[2:] if _LEADING_DASH.match(text) else text


def _is_filler(gap: str) -> bool:
    """True for markup, LaTeX commands, one-letter names and filler words only."""
    return all(
        word[0] == "\\" or len(word) == 1 or word.lower() in _FILLER
        for word in _COMMAND_OR_WORD.findall(gap)
    )


def grade_no_answer(text: str, *, finished: bool) -> Grade:
    """Grade a completion in which no answer was found."""
    if not finished:
        return Grade(Outcome.TRUNCATED, reason="the token limit was hit before an answer was given")
    if not text.strip():
        return Grade(Outcome.NO_ANSWER, reason="the completion is empty")
    return Grade(Outcome.NO_ANSWER, reason="the completion holds no answer")


def gold_from_answer(answer: str) -> str:
    r"""Final answer as written in a gold solution.

    It is looked for where a completion's answer is looked for: the content of the last
    ``\boxed{…}``; else what follows the last ``####``; else the number after the last "answer is";
    else, for free prose such as Orca-Math's, the last number of the text.

    Args:
        answer: The gold solution as published.

    Returns:
        For example ``"1,450"``, ``"$5.00"``, ``"50%"`` or ``"\\frac{\\pi}{2}"``; never empty.

    Raises:
        DataError: The solution states no final answer.
    """
    for candidate in candidates(answer):
        if candidate.method in ("boxed", "hash"):
            if candidate.text:
                return candidate.text
        elif candidate.number is not None:
            return candidate.number.text
    shown = answer if len(answer) <= 60 else answer[:59] + "…"
    raise DataError(
        f"the gold solution {shown!r} states no final answer; "
        "end it with '#### <number>' or \\boxed{<number>}, or drop the problem"
    )
