r"""Where in a completion the final answer is.

Every search here is a ``find`` for fixed text or a pattern with a fixed beginning, so that a
megabyte of hostile text costs milliseconds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from mathtune.grading.numbers import WINDOW, Kind, Number, number_alone
from mathtune.grading.reading.last_number import find_last_number
from mathtune.grading.reading.value import read_value


class Candidate(NamedTuple):
    """A place where a final answer may be.

    Attributes:
        method: ``answer_tag``, ``boxed``, ``hash``, ``answer_is`` or ``last_number``.
        text: The text there, at most ``WINDOW`` characters.
        number: What was read from it, words included, or None if it holds no answer.
        end: Where it ends in the completion.
    """

    method: str
    text: str
    number: Number | None
    end: int


_LINE_MARKUP = re.compile(r"(?:[\s*_:~`]|[=-]>|→|=|\\[\[(](?![0-9])|\$\$|<(?:b|strong|u)>)*")
_LEADING_DASH = re.compile(r"[-−] (?=[0-9.$\\])")
_TAIL = 10_000
_DIGIT = re.compile(r"[0-9]")
_SENTENCE_END = re.compile(r"[.!?](?=\s)|\n")
_COMMAND_OR_WORD = re.compile(r"\\[A-Za-z]+|[A-Za-z]+")
_TRIES = 50

# Between a marker and its number, these words do not stop it from being the answer.
_FILLER = frozenset(
    {"about", "approximately", "around", "exactly", "just", "only", "simply", "therefore", "thus"}
    | {"so", "is", "equal", "equals", "to", "the", "an", "total", "of", "answer", "final"}
    | {"usd", "us", "rs", "minus", "negative"}
)
_DENIAL_VERB = r"can(?:not|['’]t|\ not)|could\ not|does\ not|doesn['’]t"
_ANSWER = {
    word: re.compile(
        rf"""{word} {plural}? [*_"')\]]* (?: \s? [*_]* (?: : | = )
           | (?i: \s (?: is | are | was | would\ be | will\ be ) \b )
           | (?i: (?= \s (?: {_DENIAL_VERB} ) \b ) )
           | [ ]? \n )""",
        re.VERBOSE,
    )
    for word, plural in (("nswer", "s"), ("NSWER", "S"))
}
# Words that are an answer after "the answer is", which may also begin a remark ("… is correct").
_DENIAL = re.compile(
    rf"""(?: (?:that\ )? (?:there\ (?:is|are)|it\ is|it|we|one) \ )?
        (?: {_DENIAL_VERB} | not\ (?:possible|enough|determin|known|given|defined|solvable)
      | impossible | un(?:defined|determined|known|solvable) | indeterminate
      | infinit | insufficient
      | no\ (?:[a-z]+\ )?solutions? | none\b | nothing\b | no\ answer )""",
    re.VERBOSE | re.IGNORECASE,
)
_HEADING = re.compile(r"[0-9]{1,3}[.):]\s+[*_]*[A-Za-z]")
_MARKUP = " *_`\"'.$\\()[]{}"
_COMMENTARY = re.compile(
    r"(?:this|that|my|your|our|an|any|each|every)\s[*_]*(?:final\s|correct\s)?A?\Z", re.I
)


def candidates(text: str) -> Iterator[Candidate]:
    r"""Return the places where the final answer may be, best first.

    They are the last ``<answer>…</answer>``; the last ``\boxed{…}``; the last ``####``; the last
    "answer is", "answer:" or "answer" heading; the last number of the text. Only the last of each
    kind is considered.
    """
    for find in (_tag, _boxed, _hash, _answer_is):
        candidate = find(text)
        if candidate is not None:
            yield candidate
    number = find_last_number(text)
    if number is not None:
        yield Candidate("last_number", number.text, number, number.end)


def first_answer_end(text: str) -> int:
    """Return where the first marked answer ends; the text's length if there is none."""
    end = len(text)
    for mark, read in (("####", _after_hash), ("\\boxed", _box), ("<answer>", _in_tag)):
        start = text.find(mark, 0, end)
        for _ in range(_TRIES):
            if start < 0:
                break
            candidate = read(text, start)
            if _is_value(candidate):
                end = min(end, candidate.end)
                break
            start = text.find(mark, start + len(mark), end)
    for word, pattern in _ANSWER.items():
        if word in text:
            for _, marker in zip(range(_TRIES), pattern.finditer(text, 0, end), strict=False):
                candidate = _after_marker("answer_is", text, marker.end())
                if _is_value(candidate):
                    end = min(end, candidate.end)
                    break
    return end


def _is_value(candidate: Candidate) -> bool:
    return candidate.number is not None and candidate.number.kind is not Kind.WORDS


# --- Tags and boxes ------------------------------------------------------------------------------

_BOX_JOINER = re.compile(
    r"[\s$.\\)\]]*(?:,|;|and|or|\\text\s?\{\s?(?:and|or)\s?\})[\s$\\(\[]*(?:[A-Za-z]\s?=\s?)?\Z"
)


def _tag(text: str) -> Candidate | None:
    start = text.rfind("<answer>")
    return None if start < 0 else _in_tag(text, start)


def _in_tag(text: str, start: int) -> Candidate:
    start += len("<answer>")
    end = text.find("</answer>", start)
    inner = text[start : end if end >= 0 else start + WINDOW]
    for find in (_boxed, _hash, _answer_is):
        candidate = find(inner)
        if candidate is not None and candidate.number is not None:
            break
    else:
        candidate = _after_marker("answer_tag", inner, 0)
        if candidate.number is None and (number := find_last_number(inner)):
            candidate = Candidate("answer_tag", number.text, number, number.end)
    return candidate._replace(method="answer_tag", end=start + candidate.end)


def _boxed(text: str) -> Candidate | None:
    start = text.rfind("\\boxed")
    if start < 0:
        return None
    candidate = _box(text, start)
    if not candidate.text:  # "put your answer into \boxed{}"
        earlier = text.rfind("\\boxed", 0, start)
        return candidate if earlier < 0 else _box(text, earlier)
    earlier = text.rfind("\\boxed", max(0, start - 100), start)
    if earlier >= 0 and candidate.number is not None:
        other = _box(text, earlier)
        differs = other.number is not None and other.number.value != candidate.number.value
        if differs and other.end <= start and _BOX_JOINER.fullmatch(text, other.end, start):
            several = candidate.number._replace(value=None, kind=Kind.SEVERAL)
            return candidate._replace(number=several)
    return candidate


def _box(text: str, start: int) -> Candidate:
    number = number_alone(text, start + len("\\boxed{"), "}")
    if number is not None and text.startswith("{", start + len("\\boxed")):
        return Candidate("boxed", text[number.start : number.end].strip(), number, number.end + 1)
    content, end = _braced(text, start + len("\\boxed"))
    number = read_value(_joined_dash(content))
    if number is None and content:
        number = _in_words(content)
    return Candidate("boxed", content, number, end)


def _braced(text: str, start: int) -> tuple[str, int]:
    """Return the content of the braces, or the line if they never close, and where it ends."""
    window = text[start : start + WINDOW]
    if not window.startswith("{"):
        line = window.split("\n", 1)[0]
        return line.strip(" $."), start + len(line)
    depth = 0
    for brace in _BRACE.finditer(window):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return window[1 : brace.start()].strip(), start + brace.end()
    line = window.split("\n", 1)[0]
    return line[1:].strip(), start + len(line)


_BRACE = re.compile(r"(?<!\\)[{}]")


# --- Marks before a line -------------------------------------------------------------------


def _hash(text: str) -> Candidate | None:
    start = text.rfind("####")
    return None if start < 0 else _after_hash(text, start)


def _after_hash(text: str, start: int) -> Candidate:
    candidate = _after_marker("hash", text, start + len("####"))
    # ``#### 3. Compute`` is a heading where the solution goes on below it.
    line_end = text.find("\n", start)
    if line_end >= 0 and _HEADING.match(candidate.text) and _DIGIT.search(text, line_end):
        return candidate._replace(text="", number=None)
    return candidate


def _answer_is(text: str) -> Candidate | None:
    # The end of a long text is searched first: there may be a hundred thousand markers before it.
    for start in sorted({0, max(0, len(text) - _TAIL)}, reverse=True):
        last: re.Match[str] | None = None
        for word, pattern in _ANSWER.items():
            if word in text:
                for marker in deque(pattern.finditer(text, start), maxlen=1):
                    if last is None or marker.end() > last.end():
                        last = marker
        if last is not None:
            return _after_marker("answer_is", text, last.end(), _words_allowed(text, last))
    return None


def _words_allowed(text: str, marker: re.Match[str]) -> str:
    """Return which words after an a marker are the answer: ``any``, ``short`` or ``denial``."""
    line = text[text.rfind("\n", 0, marker.start()) + 1 : marker.start()]
    if _COMMENTARY.search(line[-30:]):
        return "denial"  # ``I hope this answer is clear``
    if marker[0].endswith("\n"):
        return "any" if _HEADING_LINE.fullmatch(line) else "denial"
    return "any" if marker[0].rstrip("*_ ")[-1] in ":=" else "short"


_HEADING_LINE = re.compile(r"[#*_\s]*(?:the\s)?(?:final\s|correct\s)?A?", re.IGNORECASE)


def _after_marker(method: str, text: str, start: int, words: str = "any") -> Candidate:
    """Read the line after a marker.

    The number must follow directly, except for filler such as "about $". Where other words come
    between ("Answer: Janet makes $18 a day") it is used only as a number in the last sentence that
    holds a digit: otherwise the words are a solution, and its last number is better than its first.
    A line without a number is an answer in words, unless the text goes on to numbers.
    """
    alone = number_alone(text, start, "\n")
    if alone is not None:
        return Candidate(method, text[alone.start : alone.end].strip(), alone, alone.end)
    markup = _LINE_MARKUP.match(text, start)
    begin = markup.end() if markup else start
    line = text[begin : begin + WINDOW].split("\n", 1)[0].strip()
    end = begin + len(line)
    same_line = text.find("\n", start, begin) < 0
    number = read_value(_joined_dash(line) if same_line else line)
    if number is not None:
        end = min(end, begin + number.end)
        if not _is_taken(text, begin, line, number, words):
            number = None
    elif line and _are_answer(text, line, end, words):
        number = _in_words(line)
    return Candidate(method, line, number, end)


def _is_taken(text: str, begin: int, line: str, number: Number, words: str) -> bool:
    gap = line[: number.start]
    in_words = number.value is not None and not _DIGIT.search(number.text)
    if in_words and _DIGIT.search(text, begin):
        return False  # ``Answer: Two trains … 18 hours``
    if number.kind is Kind.RELATION:
        return not _DIGIT.search(text, begin + number.end)  # ``not 5. It is 18.``
    if not gap or _is_filler(gap):
        return True
    if in_words and (words != "any" or number.value == 1):
        return False
    sentence = _SENTENCE_END.search(text, begin + number.end)
    goes_on = sentence is not None and _DIGIT.search(text, sentence.end())
    return not goes_on and number.kind in (Kind.NUMBER, Kind.SEVERAL)


def _are_answer(text: str, line: str, end: int, words: str) -> bool:
    """Return whether a line without a number is the answer, not the start of a solution."""
    said = line.strip(_MARKUP)
    if not _COMMAND_OR_WORD.search(said):
        return False
    if _DENIAL.match(said):
        return True
    if words == "denial" or _DIGIT.search(text, end):
        return False
    spoken = _COMMAND_OR_WORD.findall(said)
    return words == "any" or (len(spoken) <= 3 and spoken[0].lower() not in _REMARKS)


# "The answer is …" followed by one of these is a remark on the answer.
_REMARK_WORDS = """
    correct right wrong incorrect reasonable sensible confirmed verified clear complete
    consistent accurate valid good fine ok okay final unique simple obvious easy in not found
    obtained given provided as based therefore thus rounded expected shown above below here
    derived calculated computed determined reached positive negative greater less more between a
    an the that this what how when if because also indeed already now simply just only still
    same exact approximate done helpful useful written stated presented supported by from to for
    at on of
"""
_REMARKS = frozenset(_REMARK_WORDS.split())


def _in_words(text: str) -> Number:
    shown = text if len(text) <= 80 else text[:79] + "…"
    return Number(shown, None, False, 0, 0, len(text), Kind.WORDS)


def _joined_dash(text: str) -> str:
    """``- 5`` at the very beginning is minus five; within a text a dash with blanks is a dash."""
    return "-" + text[2:] if _LEADING_DASH.match(text) else text


def _is_filler(gap: str) -> bool:
    """True for markup, LaTeX commands, one-letter names and filler words only."""
    return all(
        word[0] == "\\" or len(word) == 1 or word.lower() in _FILLER
        for word in _COMMAND_OR_WORD.findall(gap)
    )
