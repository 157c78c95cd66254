"""Grading speed: mathtune's grader, the published ones, step checks; math-verify as the peer.

    python benchmarks/grading.py
    python benchmarks/grading.py --peer-texts 0      # without the peer

Prints one JSON line a measurement: grades a second of processor time on solutions of GSM8K's length
(GSM8K test itself where ``MATHTUNE_DATA_DIR`` is set, else generated ones of that length), in the
answer formats that take different ways through the grader; then on the same solutions written as
models write them (``SHAPES``); then seconds on hostile texts of 1 MB.
Each rate is the best of ``--rounds``. The peer grades the same texts, parsing and comparing as its
README shows; on a hostile text it is ended after ``--peer-seconds``, and the line says so.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import random
import re
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from mathtune.grading import check_steps, gold_from_answer, grade, published_grades

Pair = tuple[str, str]
MEGABYTE = 1_000_000


def solutions() -> tuple[str, list[Pair]]:
    """Name of the texts, and each with its gold answer."""
    folder = os.environ.get("MATHTUNE_DATA_DIR")
    if folder:
        path = Path(folder) / "gsm8k" / "test.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines()
        answers = [json.loads(line)["answer"] for line in lines]
        return "gsm8k test", [(answer, gold_from_answer(answer)) for answer in answers]
    rng = random.Random(0)
    return "generated", [_generated(rng) for _ in range(1_319)]


def _generated(rng: random.Random) -> Pair:
    total, lines = rng.randrange(2, 50), []
    for step in range(rng.randrange(2, 6)):
        other = rng.randrange(2, 50)
        result = total + other
        lines.append(
            f"In week {step + 1} she sells {total}+{other} = <<{total}+{other}={result}>>{result} "
            "clips to her friends and their families."
        )
        total = result
    return "\n".join(lines) + f"\n#### {total}", str(total)


FORMATS: dict[str, Callable[[str, str], str]] = {
    "#### 18": lambda text, gold: text,
    "\\boxed{18}": lambda text, gold: text.split("####")[0] + f"\\boxed{{{gold}}}",
    "The answer is 18.": lambda text, gold: text.split("####")[0] + f"The answer is {gold}.",
    "last number": lambda text, gold: text.split("####")[0] + f"So it is {gold} in all.",
}


def _steps(text: str) -> list[str]:
    """The solution's lines without calculator annotations, which only GSM8K itself has."""
    return re.sub(r"<<[^<>]*>>", "", text.split("####")[0]).strip().splitlines()


def _latex(text: str, gold: str) -> str:
    """Qwen2.5-Math and its like: numbered steps, display formulas, a box at the end."""
    steps = "\n\n".join(
        f"{number}. **Work out step {number}:**\n   {line}\n   \\[\n   \\text{{Total}} = {number} "
        f"\\times {len(line)} = {number * len(line)} \\text{{ dollars}}\n   \\]"
        for number, line in enumerate(_steps(text), start=1)
    )
    return (
        f"To determine the result, we need to follow these steps:\n\n{steps}\n\n"
        f"Therefore, the final answer is:\n\\[\n\\boxed{{{gold}}}\n\\]"
    )


def _markdown(text: str, gold: str) -> str:
    """Chat models: headings, bullets, bold, a closing remark after the answer."""
    steps = "\n\n".join(
        f"### Step {number}: Understand what is given\n- **Given:** {line}\n- We use this below."
        for number, line in enumerate(_steps(text), start=1)
    )
    return f"Let's break this down.\n\n{steps}\n\n**Answer: \\${gold} in all.** Let me know!"


def _thinking(text: str, gold: str) -> str:
    """Reasoning models: a thought three times as long as the solution, then the solution."""
    thought = "\n".join(["Okay, so the answer is 7? Wait, let me check.", *_steps(text)] * 3)
    return f"<think>\n{thought}\n</think>\n\n{_latex(text, gold)}"


SHAPES: dict[str, Callable[[str, str], str]] = {
    "prose (GPT)": lambda text, gold: "\n".join(_steps(text)) + f"\nThe answer is ${gold} per day.",
    "#### and answer (MetaMath)": lambda text, gold: (
        "\n".join(_steps(text)) + f"\n#### {gold}\nThe answer is: {gold}"
    ),
    "LaTeX steps and box (Qwen2.5-Math)": _latex,
    "Markdown (Llama 3 Instruct)": _markdown,
    "thought, LaTeX and box (R1)": _thinking,
    "annotations and invented question (base model)": lambda text, gold: (
        f"{text}\n\nQuestion: Tom has 5 apples and eats 2. How many are left?"
        "\nAnswer: 5 - 2 = 3\n#### 3"
    ),
    "last number (Abel without a mark)": lambda text, gold: (
        "\n".join(_steps(text)) + f"\nSo she makes ${gold} every day at the farmers' market."
    ),
}

HOSTILE: dict[str, str] = {
    "a million digits": "9" * MEGABYTE,
    "a million digits after ####": "#### " + "9" * MEGABYTE,
    "####": "####" * (MEGABYTE // 4),
    "\\boxed{ nested": "\\boxed{" * (MEGABYTE // 8) + "18" + "}" * (MEGABYTE // 8),
    "answer is": "answer is " * (MEGABYTE // 10),
    "commas": "1," * (MEGABYTE // 2),
    "dollar signs": "$" * MEGABYTE,
    "backslashes": "\\" * MEGABYTE,
    "braces": "{" * MEGABYTE,
    "fractions": "\\frac{" * (MEGABYTE // 6),
    "equations": "9 + 9 = " * (MEGABYTE // 8),
    "next questions": "a Question: " * (MEGABYTE // 12),
    "blanks": " " * MEGABYTE,
}


def rate(function: Callable[[str, str], object], pairs: Sequence[Pair], rounds: int) -> float:
    """Calls a second of processor time, best of the rounds."""
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for text, gold in pairs:
            function(text, gold)
        best = min(best, time.process_time() - start)
    return len(pairs) / best


def seconds(function: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def peer_grade(text: str, gold: str) -> bool:
    """Grade with math-verify as its README shows; imports sympy at first use."""
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(text)))


def peer_seconds(text: str, limit: float) -> float | None:
    """Seconds math-verify takes on one text in a process of its own, or None past the limit."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_peer_once, args=(text, sender))
    process.start()
    try:
        receiver.recv()  # the library is loaded
        return float(receiver.recv()) if receiver.poll(limit) else None
    finally:
        process.kill()
        process.join()


def _peer_once(text: str, sender: Connection) -> None:
    logging.disable()  # it logs the text it could not read, a megabyte of it
    peer_grade("#### 18", "18")
    sender.send(None)
    sender.send(seconds(lambda: peer_grade(text, "18")))


def report(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--peer-texts", type=int, default=200, help="texts the peer grades; 0: none"
    )
    parser.add_argument("--peer-seconds", type=float, default=10.0)
    options = parser.parse_args()

    name, pairs = solutions()
    characters = sum(len(text) for text, _ in pairs) / len(pairs)
    for form, write in FORMATS.items():
        texts = [(write(text, gold), gold) for text, gold in pairs]
        ours = rate(grade, texts, options.rounds)
        fields: dict[str, object] = {
            "measure": "grades a second",
            "texts": name,
            "characters": round(characters),
            "format": form,
            "mathtune": round(ours),
            "mathtune_correct": sum(grade(*pair).correct for pair in texts) / len(texts),
        }
        if options.peer_texts:
            some = texts[: options.peer_texts]
            peer_grade(*some[0])
            theirs = rate(peer_grade, some, 1)
            fields["math_verify"] = round(theirs)
            fields["math_verify_correct"] = sum(peer_grade(*p) for p in some) / len(some)
            fields["ratio"] = round(ours / theirs, 1)
        report(**fields)
    for form, write in SHAPES.items():
        texts = [(write(text, gold), gold) for text, gold in pairs]
        report(
            measure="grades a second",
            texts=f"{name}, as models write",
            characters=round(sum(len(text) for text, _ in texts) / len(texts)),
            format=form,
            mathtune=round(rate(grade, texts, options.rounds)),
            mathtune_correct=sum(grade(*pair).correct for pair in texts) / len(texts),
        )
    published = rate(published_grades, pairs, options.rounds)
    steps = rate(lambda text, gold: check_steps(text), pairs, options.rounds)
    report(measure="all four published grades a second", texts=name, mathtune=round(published))
    report(measure="step checks a second", texts=name, mathtune=round(steps))

    for kind, text in HOSTILE.items():
        fields = {
            "measure": "seconds on 1 MB",
            "text": kind,
            "mathtune": round(seconds(lambda text=text: grade(text, "18")), 4),
            "published": round(seconds(lambda text=text: published_grades(text, "#### 18")), 4),
            "steps": round(seconds(lambda text=text: check_steps(text)), 3),
        }
        if options.peer_texts:
            taken = peer_seconds(text, options.peer_seconds)
            fields["math_verify"] = (
                f"over {options.peer_seconds:g}" if taken is None else round(taken, 4)
            )
        report(**fields)


if __name__ == "__main__":
    main()
