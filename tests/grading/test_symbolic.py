"""Gold answers that are no number: text, words, and math-verify in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from mathtune.grading import Outcome, grade, symbolic

CORRECT, WRONG = Outcome.CORRECT, Outcome.WRONG


@pytest.mark.parametrize(
    ("completion", "gold", "outcome"),
    [
        ("\\boxed{\\frac{\\pi}{2}}", "\\frac{\\pi}{2}", CORRECT),
        ("\\boxed{\\dfrac{\\pi}{2}}", "\\frac{\\pi}{2}", CORRECT),
        ("\\boxed{\\pi/2}", "\\frac{\\pi}{2}", CORRECT),
        ("\\boxed{\\pi/3}", "\\frac{\\pi}{2}", WRONG),
        ("The answer is $x^2+2x+1$.", "(x+1)^2", CORRECT),
        ("#### x^2 + 2x", "(x+1)^2", WRONG),
        ("So it is \\(2\\sqrt{3}\\).", "\\sqrt{12}", CORRECT),
        ("\\boxed{(3,4)}", "(3, 4)", CORRECT),
        ("\\boxed{(4,3)}", "(3, 4)", WRONG),
        ("It is 4", "\\sqrt{16}", CORRECT),
        ("\\boxed{\\text{Monday}}", "Monday", CORRECT),
        ("The answer is monday, I think", "\\text{Monday}", CORRECT),
        ("The answer is Tuesday.", "Monday", WRONG),
        ("Answer: 3 hours and 20 minutes.", "3 hours and 20 minutes", CORRECT),
        ("#### 12:30", "12:30", CORRECT),
        ("", "x+1", Outcome.NO_ANSWER),
        ("I give up.", "x+1", Outcome.NO_ANSWER),
        ("I give up.", "Monday", Outcome.NO_ANSWER),
    ],
)
def test_outcomes(completion: str, gold: str, outcome: Outcome) -> None:
    graded = grade(completion, gold)
    assert graded.outcome is outcome, graded
    if outcome in (CORRECT, WRONG):
        assert graded.method == "symbolic" and graded.extracted


def test_truncated_without_a_marked_answer() -> None:
    assert grade("So $x + 1$ and", "x+1", finished=False).outcome is Outcome.TRUNCATED


def test_a_comparison_without_an_end_is_ungradable_and_the_next_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert grade("\\boxed{1+x}", "x+1").outcome is CORRECT  # the worker is up
    monkeypatch.setattr(symbolic, "TIMEOUT_SECONDS", 1.0)
    graded = grade("\\boxed{2^{10^{10^{10}}}}", "x+1")
    assert graded.outcome is Outcome.UNGRADABLE
    assert "1 seconds" in graded.reason
    monkeypatch.undo()
    assert grade("\\boxed{1+x}", "x+1").outcome is CORRECT


def test_too_long_an_answer_is_ungradable() -> None:
    assert grade("\\boxed{" + "x+" * 195 + "1}", "x+" * 300).outcome is Outcome.UNGRADABLE


def test_works_from_threads_and_in_parallel() -> None:
    outcomes: list[Outcome] = []

    def work(number: int) -> None:
        for step in range(5):
            gold = f"x+{number}" if step % 2 else f"y+{number}"
            outcomes.append(grade(f"\\boxed{{{number}+x}}", gold).outcome)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(CORRECT) == 8 * 2
    assert outcomes.count(WRONG) == 8 * 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_gets_a_worker_of_its_own() -> None:
    assert grade("\\boxed{1+x}", "x+1").outcome is CORRECT
    child = os.fork()
    if child == 0:
        os._exit(0 if grade("\\boxed{2+x}", "x+2").outcome is CORRECT else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert grade("\\boxed{1+x}", "x+2").outcome is WRONG  # the parent's still answers


def test_the_worker_ends_with_the_program() -> None:
    code = (
        "from mathtune.grading import grade, symbolic\n"
        "print(grade('\\\\boxed{1+x}', 'x+1').outcome.value)\n"
        "print(symbolic._MATH_VERIFY._process.pid)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outcome, pid = done.stdout.split()
    assert outcome == "correct"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)
