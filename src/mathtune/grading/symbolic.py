r"""Gold answers that are not numbers (``\frac{\pi}{2}``, ``(3, 4)``, ``Monday``).

Equal text is equal, and words are compared as words. Anything else goes to math-verify.

math-verify stops a comparison that never ends with ``SIGALRM``, which works only in a main thread
and reports the time-out as "not equal". Here it runs in one worker process instead, started on
first use and ended after a time-out: grading then works from any thread, sympy is never imported
into the program itself, and a comparison that does not finish is ``UNGRADABLE``.

The worker is a plain subprocess that speaks JSON lines; ``multiprocessing`` would import the
caller's main module a second time.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from fractions import Fraction

from mathtune.errors import MathtuneError
from mathtune.grading.extract import Candidate, candidates
from mathtune.records import Grade, Outcome

TIMEOUT_SECONDS = 5.0
"""Wall-clock limit on one comparison."""

START_SECONDS = 120.0
"""Wall-clock limit on the worker's start, which imports sympy."""

MAX_LENGTH = 400
"""Longest gold or answer, in characters, that is passed to math-verify."""

_INLINE_MATH = re.compile(r"(?<!\\)\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+")
_TEXT = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s?\{([^{}]*)\}")
_LAYOUT = re.compile(r"\\left|\\right|\\[,;!]|[\s$]")
_WORD = re.compile(r"[A-Za-z]{3,}")
_WORDS = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ,.'-]+")
_FUNCTIONS = frozenset({"sqrt", "sin", "cos", "tan", "log", "exp", "pi"})
_TAIL = 2000
_LETTER_GOLD = re.compile(r"\(?([A-E])\)?\.?")
_OPTION = r"(?:[Oo]ption|[Cc]hoice|[Aa]nswer)\b[\s:*]{0,4}"
_NAMED = (
    r"[(\[*$]{0,3}(?:(?P<letter>[A-E])|(?<=\()(?P<small>[a-e])(?=\)))"
    r"(?![A-Za-z0-9'])(?<!A(?=\s+(?!because|since|as\b|is\b)[a-z]))"
)
_LETTER = re.compile(rf"[\s(*:$]*(?:{_OPTION})?{_NAMED}")
_MARKED_LETTER = re.compile(
    r"(?:nswer|ption|hoice)s?\b[\s*:_]{0,6}(?:(?:is|should be|would be|must be)\b[\s*:_]{0,6})?"
    rf"(?:{_OPTION})?{_NAMED}"
)
_ONLY_LETTER = re.compile(rf"\W*(?:{_OPTION})?{_NAMED}\W*")
_RAISED = {"²": "^{2}", "³": "^{3}", "⁴": "^{4}", "⁵": "^{5}", "⁶": "^{6}", "π": "\\pi "}
_ROOT = re.compile(r"(?:√|\bsqrt)\s?\(?([0-9.]+)\)?")


def grade_symbolic(text: str, gold: str, *, finished: bool) -> Grade | None:
    """Grade against a gold answer that is not a number.

    Args:
        text: The completion, without thoughts and cut before any next question.
        gold: The gold answer, without spaces around it.
        finished: False where the end of the text need not be its answer.

    Returns:
        A grade with method ``symbolic``, or ``UNGRADABLE`` where the gold is empty or the
        comparison did not finish. None if the completion has no answer.
    """
    if not gold:
        return Grade(Outcome.UNGRADABLE, reason="the gold answer is empty")
    marked = _best_marked(text)
    if marked and _bare(marked.text) == _bare(gold):
        shown = _shown(marked.text)
        return Grade(Outcome.CORRECT, shown, None, "symbolic", f"{shown} is the gold answer")
    letter = _LETTER_GOLD.fullmatch(gold)
    if letter:
        return _grade_letter(text, letter[1], marked)
    words = _TEXT.sub(r"\1", gold).strip(" .$")
    if _WORDS.fullmatch(words) and _is_prose(words):
        return _grade_words(words, marked)
    answer = _expression(text, finished=finished)
    if answer is None:
        return None
    shown = _shown(answer)
    if _bare(answer) == _bare(gold):
        outcome, reason = Outcome.CORRECT, f"{shown} is the gold answer"
    elif max(len(answer), len(gold)) > MAX_LENGTH:
        outcome, reason = Outcome.UNGRADABLE, f"it is longer than {MAX_LENGTH} characters"
    else:
        reply = _MATH_VERIFY.compare(gold, answer)
        if isinstance(reply, str):
            outcome, reason = Outcome.UNGRADABLE, reply
        elif reply:
            outcome, reason = Outcome.CORRECT, f"{shown} equals the gold answer {gold}"
        else:
            outcome, reason = Outcome.WRONG, f"{shown} is not the gold answer {gold}"
    return Grade(outcome, shown, None, "symbolic", reason)


def equal_to_number(gold: Fraction, expression: str) -> bool | str:
    r"""Return whether an expression (``\sqrt{16}``, ``10^2``) equals this value, or why unknown.

    What math-verify cannot read has no value, so it is not equal.
    """
    for mark, raised in _RAISED.items():
        expression = expression.replace(mark, raised)
    expression = _ROOT.sub(r"\\sqrt{\1}", expression)
    return _MATH_VERIFY.compare(str(gold), expression)


def _best_marked(text: str) -> Candidate | None:
    """Return the first marked place that is not empty."""
    for candidate in candidates(text):
        if candidate.method == "last_number":
            break
        if candidate.text.strip(" .$*\"'"):
            return candidate
    return None


def _grade_letter(text: str, gold: str, marked: Candidate | None) -> Grade | None:
    """Compare with the letter of an option: ``Option B``, ``(B)``, ``B.``, ``B) 18 apples``."""
    found = _LETTER.match(_TEXT.sub(r"\1", marked.text)) if marked else None
    if found is None and not (marked and marked.method in ("answer_tag", "boxed", "hash")):
        named = list(_MARKED_LETTER.finditer(text[-_TAIL:]))
        found = named[-1] if named else _ONLY_LETTER.fullmatch(text[-_TAIL:])
    if found:
        letter = (found["letter"] or found["small"]).upper()
        outcome = Outcome.CORRECT if letter == gold else Outcome.WRONG
        verb = "is" if outcome is Outcome.CORRECT else "is not"
        reason = f"option {letter} {verb} the gold answer {gold}"
        return Grade(outcome, letter, None, "symbolic", reason)
    if marked is None:
        return None
    shown = _shown(marked.text)
    return Grade(Outcome.WRONG, shown, None, "symbolic", f"{shown} names no option")


def _grade_words(words: str, marked: Candidate | None) -> Grade | None:
    """Compare words in any case; the answer may go on after them."""
    if marked is None:
        return None
    pattern = re.compile(re.escape(words) + r"(?![A-Za-z0-9])", re.IGNORECASE)
    answer = _TEXT.sub(r"\1", marked.text).strip(" .$*\"'")
    correct = pattern.match(answer) is not None
    outcome = Outcome.CORRECT if correct else Outcome.WRONG
    reason = f"the answer {'is' if correct else 'is not'} {words}"
    return Grade(outcome, answer[:80], None, "symbolic", reason)


def _shown(text: str) -> str:
    return text if len(text) <= 80 else text[:79] + "…"


def _is_prose(text: str) -> bool:
    return any(word.lower() not in _FUNCTIONS for word in _WORD.findall(text))


def _expression(text: str, *, finished: bool) -> str | None:
    """Find the LaTeX that is the answer: the marked one, else the last formula or number."""
    last_number = None
    for candidate in candidates(text):
        if candidate.method == "last_number":
            last_number = candidate.text
        elif candidate.method == "boxed":
            if candidate.text:
                return candidate.text
        elif formula := _formulas(candidate.text):
            return formula[0]
        elif candidate.text and not _is_prose(_COMMAND.sub("", candidate.text)):
            return candidate.text.strip(" .*")
    if not finished:
        return None
    formulas = _formulas(text[-_TAIL:])
    return formulas[-1] if formulas else last_number


def _formulas(text: str) -> list[str]:
    found = _INLINE_MATH.findall(text)
    return [next(group for group in groups if group).strip() for groups in found]


def _bare(text: str) -> str:
    """Drop what changes only the appearance of an expression."""
    text = _LAYOUT.sub("", text).rstrip(".")
    return text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")


class _MathVerify:
    """The worker process, and the lock that allows one comparison at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def compare(self, gold: str, answer: str) -> bool | str:
        """Return whether two LaTeX expressions are equal, or why that is unknown."""
        with self._lock:
            process = self._running()
            request = json.dumps({"gold": gold, "answer": answer, "seconds": TIMEOUT_SECONDS})
            line = _exchange(process, request, TIMEOUT_SECONDS)
            if not line:
                self._process = None
                process.kill()
                process.wait()
                return f"comparing took over {TIMEOUT_SECONDS:g} seconds, or too much memory"
        reply = json.loads(line)
        return str(reply["error"]) if "error" in reply else bool(reply["equal"])

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        # The worker gets this program's own import path; -m would put its working directory first.
        code = (
            "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
            "from mathtune.grading.symbolic_worker import serve; serve()"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        started = _exchange(process, None, START_SECONDS)
        if started != "ready\n":
            process.kill()
            process.wait()
            raise MathtuneError(
                "math-verify, which compares answers that are not numbers, did not start: "
                f"{started.strip() or 'no reply'}; try 'pip install math-verify'"
            )
        self._process = process
        return process

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def forget(self) -> None:
        """Leave the worker to the parent process after a fork."""
        self._lock = threading.Lock()
        self._process = None


def _exchange(process: subprocess.Popen[str], request: str | None, seconds: float) -> str:
    """Send a line and read one; empty if the process ended or was killed after the time-out."""
    assert process.stdin is not None and process.stdout is not None
    timer = threading.Timer(seconds, process.kill)
    timer.daemon = True
    timer.start()
    try:
        if request is not None:
            process.stdin.write(request + "\n")
            process.stdin.flush()
        return process.stdout.readline()
    except BrokenPipeError:
        return ""
    finally:
        timer.cancel()


_MATH_VERIFY = _MathVerify()
atexit.register(_MATH_VERIFY.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_MATH_VERIFY.forget)
