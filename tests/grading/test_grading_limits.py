"""Speed, hostile texts and threads."""

from __future__ import annotations

import sys
import threading
from functools import partial

import pytest

from mathtune.grading import check_steps, grade, published_grades
from timing_for_tests import least_seconds

MEGABYTE = 1_000_000
UNITS = [
    "9", "1 ", "1,", "1.", "9e", "1/", "- ", "-", ",", ".", "$", "%", "\\", "{", "}", "#", "*", "x",
    "=", " ", "\n", "\t", "é", "İ", "<", "<|a", "(", ")", "####", "#### ", "####\n", "\\boxed{",
    "\\frac{", "\\text{", "\\times", "answer is ", "Answer:", "answer\n", "nswer", "NSWER ",
    "the answer is the answer", "Question", "Question:", " Question:", "a Question:", "Q:",
    "\nProblem", "User\n## ", "## Instructio", "[INST", "9 + 9 = ", "<<1=", "<<1+1=2>>2 ", "1 1/2 ",
    "1+1=2 ", "3 apples + ", "a b c d ", "50% of ", "((1+",
]  # fmt: skip
TEXTS = {unit: unit * (MEGABYTE // len(unit)) for unit in UNITS} | {
    "million digits after ####": "#### " + "9" * MEGABYTE,
    "million digits before ####": "9" * MEGABYTE + "#### 18",
    "million digits after the answer is": "The answer is " + "9" * MEGABYTE,
    "nested boxes": "\\boxed{" * 100_000 + "18" + "}" * 100_000,
    "box of braces": "\\boxed{" + "{" * MEGABYTE,
    "blanks after ####": "####" + " " * MEGABYTE + "x",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_hostile_megabyte_grades_in_a_tenth_of_a_second(name: str) -> None:
    text = TEXTS[name]
    assert least_seconds(lambda: grade(text, "18"), enough=0.08) < 0.1
    assert least_seconds(lambda: published_grades(text, "#### 18"), enough=0.08) < 0.1


@pytest.mark.parametrize("name", TEXTS)
def test_step_checking_is_linear(name: str) -> None:
    # Sixteen times the text takes about sixteen times the time, never 256 times.
    short, long = (
        least_seconds(partial(check_steps, TEXTS[name][:size]), enough=0.0, tries=3)
        for size in (2_000, 32_000)
    )
    assert long < max(0.05, 50 * short)


def _solution(number: int) -> str:
    """A solution of GSM8K's usual length: about 290 characters."""
    return (
        f"Natalia sold {number}/2 = <<{number}/2={number // 2}>>{number // 2} clips in May, which "
        "is half as many as she sold in April, because some of her friends had enough of them.\n"
        f"Altogether she sold {number}+{number // 2} = <<{number}+{number // 2}="
        f"{number + number // 2}>>{number + number // 2} clips in April and May to her friends.\n"
        f"#### {number + number // 2}"
    )


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer slows every line")
def test_grades_many_a_second() -> None:
    texts = [(_solution(n), str(n + n // 2)) for n in range(2, 4_002, 2)]

    def batch() -> None:
        for text, gold in texts:
            assert grade(text, gold).correct

    # The benchmark reports the rate proper, 50,000 and more; this guards against a slow path.
    enough = len(texts) / 25_000
    assert least_seconds(batch, enough) < len(texts) / 10_000


def test_eight_threads_give_the_same_grades() -> None:
    texts = [(_solution(n) + ("" if n % 3 else "0"), str(n + n // 2)) for n in range(2, 302, 2)]
    alone = [(grade(*pair), check_steps(pair[0]), published_grades(*pair)) for pair in texts]
    results: list[list[object]] = [[] for _ in range(8)]

    def work(index: int) -> None:
        for pair in texts:
            results[index].append((grade(*pair), check_steps(pair[0]), published_grades(*pair)))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == alone for result in results)
    assert len({entry[0].outcome for entry in alone}) == 2
