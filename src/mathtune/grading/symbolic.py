r"""Gold answers that are no number (``\frac{\pi}{2}``, ``(3, 4)``, ``Monday``).

Equal text is equal, and words are compared as words. Anything else goes to math-verify.

math-verify stops a comparison that never ends with ``SIGALRM``, which works in a main thread only and
reports the time-out as "not equal". Here it runs in one worker process instead, started at first use and
ended after a time-out: grading then works from any thread, sympy is never imported into the program
itself, and a comparison without an end is ``UNGRADABLE``.

The worker is a plain subprocess that speaks JSON lines; ``multiprocessing`` would import the caller's
main module a second time.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator

from mathtune.errors import MathtuneError
from mathtune.grading.extract import Candidate, candidates
from mathtune.records import Grade, Outcome

TIMEOUT_SECONDS = 5.0
"""Wall-clock limit on one comparison."""

START_SECONDS = 120.0
"""Wall-clock limit on the worker's start, which imports sympy."""

MAX_LENGTH = 400
"""Longest gold or answer, in characters, that is handed to math-verify."""

_INLINE_MATH = re.compile(r"\$([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
_COMMAND = re.compile(r"\\(?:text|mathrm|mathbf|operatorname)\s?\{[^{}]*\}|\\[A-Za-z]+")
_PROSE = re.compile(r"[A-Za-z]{3,}")
_WORDS = re.compile(r"[A-Za-z][A-Za-z' -]+")
_TEXT = re.compile(r"\\(?:text|mathrm|mathbf)\s?\{([^{}]*)\}")
_LAYOUT = re.compile(r"\\left|\\right|\\[,;!]|[\s$]")
_TAIL = 2000


def grade_symbolic(text: str, gold: str, *, finished: bool) -> Grade:
    """Grade against a gold answer that is no number.

    Args:
        text: The completion, cut before any next question.
        gold: The gold answer.
        finished: False where the completion hit the token limit.

    Returns:
        A grade with method ``symbolic``, or ``UNGRADABLE`` where the gold is empty or the comparison
        did not come to an end.
    """
    gold = gold.strip()
    if not gold:
        return Grade(Outcome.UNGRADABLE, reason="the gold answer is empty")
    words = _TEXT.sub(r"\1", gold).strip(" .$")
    if _WORDS.fullmatch(words):
        return _grade_words(text, words, finished=finished)
    answer = next(_expressions(text, finished=finished), None)
    if answer is None:
        if not finished:
            reason = "the token limit was hit before an answer was given"
            return Grade(Outcome.TRUNCATED, reason=reason)
        return Grade(Outcome.NO_ANSWER, reason="the completion holds no answer")
    shown = answer if len(answer) <= 80 else answer[:79] + "…"

    def verdict(outcome: Outcome, reason: str) -> Grade:
        return Grade(outcome, shown, None, "symbolic", reason)

    if _bare(answer) == _bare(gold):
        return verdict(Outcome.CORRECT, f"{shown} is the gold answer")
    if max(len(answer), len(gold)) > MAX_LENGTH:
        return verdict(Outcome.UNGRADABLE, f"it is longer than {MAX_LENGTH} characters")
    reply = _MATH_VERIFY.compare(gold, answer)
    if isinstance(reply, str):
        return verdict(Outcome.UNGRADABLE, reply)
    if reply:
        return verdict(Outcome.CORRECT, f"{shown} equals the gold answer {gold}")
    return verdict(Outcome.WRONG, f"{shown} is not the gold answer {gold}")


def _grade_words(text: str, words: str, *, finished: bool) -> Grade:
    """Compare words whatever their case; the answer may go on after them."""
    for candidate in candidates(text):
        if candidate.method == "last_number":
            break
        answer = _TEXT.sub(r"\1", candidate.text).strip(" .$*\"'")
        if not answer:
            continue
        same = re.match(re.escape(words) + r"(?![A-Za-z])", answer, re.IGNORECASE) is not None
        reason = f"the answer {'is' if same else 'is not'} {words}"
        outcome = Outcome.CORRECT if same else Outcome.WRONG
        return Grade(outcome, answer[:80], None, "symbolic", reason)
    if not finished:
        return Grade(Outcome.TRUNCATED, reason="the token limit was hit before an answer was given")
    return Grade(Outcome.NO_ANSWER, reason="the completion marks no answer")


def _expressions(text: str, *, finished: bool) -> Iterator[str]:
    """Give the LaTeX that may be the answer, best first."""
    for candidate in candidates(text):
        if candidate.method == "boxed" and candidate.text:
            yield candidate.text
        elif candidate.method in ("hash", "answer_is"):
            yield from _expression(candidate)
        elif candidate.method == "last_number" and finished:
            yield from _last_inline_math(text)
            yield candidate.text
            return
    if finished:
        yield from _last_inline_math(text)


def _expression(candidate: Candidate) -> Iterator[str]:
    math = _INLINE_MATH.search(candidate.text)
    if math:
        yield next(group for group in math.groups() if group).strip()
    elif candidate.text and not _PROSE.search(_COMMAND.sub("", candidate.text)):
        yield candidate.text.strip(" .*")


def _last_inline_math(text: str) -> Iterator[str]:
    found = _INLINE_MATH.findall(text[-_TAIL:])
    if found:
        yield next(group for group in found[-1] if group).strip()


def _bare(text: str) -> str:
    """Drop what changes the look of an expression only."""
    return _LAYOUT.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac").rstrip(".")


class _MathVerify:
    """The worker process, and the lock that lets one comparison at a time use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def compare(self, gold: str, answer: str) -> bool | str:
        """Tell whether two LaTeX expressions are equal, or why that could not be told."""
        with self._lock:
            process = self._running()
            request = json.dumps({"gold": gold, "answer": answer, "seconds": TIMEOUT_SECONDS})
            line = _exchange(process, request, TIMEOUT_SECONDS)
            if not line:
                self._process = None
                process.kill()
                process.wait()
                return f"the comparison with {gold} took over {TIMEOUT_SECONDS:g} seconds or too much memory"
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
                "math-verify, which compares answers that are no numbers, did not start: "
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
    """Send a line and read one; empty where the process ended or was ended for taking too long."""
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
