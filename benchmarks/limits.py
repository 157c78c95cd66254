"""How far run folders and training sets may grow: seconds and peak memory at two sizes each.

    python benchmarks/limits.py                                  # 100,000 and 1,000,000 rows
    python benchmarks/limits.py --rows 100000 --only compare
    python benchmarks/limits.py --problems 1000000 10000000      # training rows

Prints one JSON line a measurement: ``cpu_seconds`` and ``peak_mb`` are those of a process of its
own that does nothing else. Rows have the length of GSM8K's answers and are graded rows of a real
evaluation, of which only question, ids and texts differ. Files are written to ``--folder`` (about
1.5 GB for a million rows), and are used again if they are there.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mathtune.evaluation.compare import compare_files
from mathtune.evaluation.evaluate import evaluate
from mathtune.evaluation.predictions.light_rows import read_light_rows
from mathtune.evaluation.predictions.rows import iter_rows
from mathtune.evaluation.request import EvaluationRequest
from mathtune.evaluation.summary import summarise
from mathtune.generation.engine import Decoding
from mathtune.generation.ray.shards import Came, Finished, share_out
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Completion, Problem, ProblemSet, Prompt, StopReason, content_id

STORY = (
    "apple basket clerk dollar engine farmer garden hammer island jacket kitchen ladder market "
    "needle orange parcel quarry ribbon saddle teacher umbrella village window yellow zipper "
    "bakery carton drawer eraser folder"
)
WORDS = STORY.split()
MISSING = 1_000
"""Rows that a resumed evaluation still has to make."""


def problem(number: int) -> Problem:
    """Return one of any number of problems: about 45 words, no two alike."""
    rng = random.Random(number)
    a, b = rng.randrange(2, 90), rng.randrange(2, 90)
    # Words between the fixed parts, or every two problems would share 13 words in a row.
    story, more = (" ".join(rng.choices(WORDS, k=15)) for _ in range(2))
    question = (
        f"Order {number}: a shop has {a} of these: {story}. Then {b} more come in, next to "
        f"{more}. How many of each kind are there now?"
    )
    answer = (
        f"There were {a} of each kind before.\nNow there are {a}+{b}=<<{a}+{b}={a + b}>>{a + b}."
    )
    return Problem(
        content_id(question, answer), question, f"{answer}\n#### {a + b}", str(a + b),
        type=f"kind {number % 8}", steps=2,
    )  # fmt: skip


def answer(given: Problem, right: bool) -> str:
    return given.answer if right else given.answer.rsplit(" ", 1)[0] + " 0"


def is_right(side: str, number: int) -> bool:
    share = {"base": 0.4, "tuned": 0.5}[side]
    return hashlib.sha256(f"{side}{number}".encode()).digest()[0] < 256 * share


def prediction_lines(side: str, n: int) -> Iterator[str]:
    """Yield rows as an evaluation of ``n`` problems writes them; two were really graded."""
    decoding = Decoding()
    first = problem(0)
    request = EvaluationRequest(ProblemSet("shop", (first,)), [prompt(first)], decoding, "qa")
    graded = {
        right: request.row(Completion(first.id, 0, answer(first, right), (1,) * 60, StopReason.EOS))
        for right in (False, True)
    }
    for number in range(n):
        given, right = problem(number), is_right(side, number)
        known = EvaluationRequest(ProblemSet("shop", (given,)), [prompt(given)], decoding, "qa")
        row: dict[str, Any] = {**graded[right], **known.shared(given.id)}
        row |= {"completion": answer(given, right), "extracted": given.gold if right else "0"}
        yield json.dumps(row, ensure_ascii=False) + "\n"


def prompt(given: Problem) -> Prompt:
    return Prompt(given.id, f"Question: {given.question}\nAnswer:", ())


# --- What is measured: functions of a folder and a size ------------------------------------------


def predictions(folder: Path, side: str, n: int) -> Path:
    return folder / f"run-{n}" / "predictions" / f"{side}.jsonl"


def make(folder: Path, n: int) -> dict[str, Any]:
    """Write a run folder with both sides' predictions and their figures."""
    for side in ("base", "tuned"):
        path = predictions(folder, side, n)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with path.with_suffix(".part").open("w", encoding="utf-8") as file:
                file.writelines(prediction_lines(side, n))
            path.with_suffix(".part").rename(path)
    results = folder / f"run-{n}" / "results.json"
    if not results.exists():
        evaluations = [
            summarise(
                read_light_rows(predictions(folder, side, n)),
                model=side,
                predictions=f"predictions/{side}.jsonl",
            )
            for side in ("base", "tuned")
        ]
        headline = {"set": "shop", "calculator": False}
        found = {"headline": headline, "evaluations": evaluations, "comparisons": []}
        results.write_text(json.dumps(found | {"example": {"answers": []}}))
    return {"file_mb": round(path.stat().st_size / 1e6)}


def opened(folder: Path, n: int) -> dict[str, Any]:
    """List the run, and check its rows against its figures, as starting it again does."""
    from mathtune.binding.side_files import foreign_predictions
    from mathtune.run_list.summary import summary_of

    run = folder / f"run-{n}"
    start = time.process_time()
    summary_of(run, folder)
    listed = time.process_time() - start
    figures = json.loads((run / "results.json").read_text())["evaluations"]
    paths = [predictions(folder, side, n) for side in ("base", "tuned")]
    different = list(foreign_predictions(paths, None, figures))
    return {"listed_in_seconds": round(listed, 3), "different": len(different)}


def stream(folder: Path, n: int) -> dict[str, Any]:
    """Read and check a file row by row."""
    return {"n": sum(1 for _ in iter_rows(predictions(folder, "base", n)))}


def figures(folder: Path, n: int) -> dict[str, Any]:
    """Read a whole file, and compute all figures of ``results.json``."""
    path = predictions(folder, "base", n)
    found = summarise(read_light_rows(path), model="base", predictions=str(path))
    return {"n": found["n"]}


def resume(folder: Path, n: int) -> dict[str, Any]:
    """Continue an evaluation of which the last rows are missing, to its end."""
    problems = tuple(problem(number) for number in range(n))
    path = folder / f"resumed-{n}.jsonl"
    with predictions(folder, "base", n).open("rb") as source, path.open("wb") as target:
        for _ in range(n - MISSING):
            target.write(source.readline())
    engine = ScriptedEngine({p.id: p.answer for p in problems[-MISSING:]})
    start = time.process_time()
    found = evaluate(
        engine, ProblemSet("shop", problems), prompt, Decoding(), path=path, style="qa"
    )
    seconds = time.process_time() - start
    path.unlink()
    return {"resumed": found.counts.resumed, "cpu_seconds": round(seconds, 1)}


def compare(folder: Path, n: int) -> dict[str, Any]:
    """Compare both sides, as ``mathtune compare`` does."""
    files = [predictions(folder, side, n) for side in ("base", "tuned")]
    (found,) = compare_files(files)
    return {
        "difference": found.overall.difference,
        "shown": len(found.gained[0].before["question"]),
    }


def report(folder: Path, n: int) -> dict[str, Any]:
    """Write ``report.html`` and ``README.md``."""
    from mathtune import report as page

    run = folder / f"run-{n}"
    page.write(run)
    return {"page_mb": round((run / "report.html").stat().st_size / 1e6, 1)}


def make_problems(folder: Path, n: int) -> dict[str, Any]:
    path = folder / f"train-{n}.jsonl"
    if not path.exists():
        with path.with_suffix(".part").open("w", encoding="utf-8") as file:
            for number in range(n):
                given = problem(number)
                row = {"question": given.question, "answer": given.answer}
                file.write(json.dumps(row) + "\n")
        path.with_suffix(".part").rename(path)
    return {"file_mb": round(path.stat().st_size / 1e6)}


def index(folder: Path, n: int) -> dict[str, Any]:
    """Read a training file: columns recognised, gold answers checked by the grader."""
    return {"n": len(_training(folder, n))}


def shuffle(folder: Path, n: int) -> dict[str, Any]:
    """Hold out validation and take a tenth, both by content hash."""
    from mathtune.problems.splits import first_by_hash, hold_out

    problems = tuple(_without_answer(folder, n))
    start = time.process_time()
    train, validation = hold_out(problems, 0.1)
    few = first_by_hash(train, n // 10)
    seconds = time.process_time() - start
    return {"validation": len(validation), "taken": len(few), "cpu_seconds": round(seconds, 1)}


def contamination(folder: Path, n: int) -> dict[str, Any]:
    """Search the training rows for windows of 1,319 test questions, of which 10 are there."""
    from mathtune.problems.contamination import overlap

    tests = [replace(problem(10**9 + number), id=f"test {number}") for number in range(1, 1_310)]
    tests += [replace(problem(number), id=f"hidden {number}") for number in range(10)]
    return {"found": sum(1 for _ in overlap(_without_answer(folder, n), tests))}


def template(folder: Path, n: int) -> dict[str, Any]:
    """Do the check that a recipe does where every row is of a test question's template."""
    from collections import Counter

    from mathtune.problems.pool import Pool

    def one_of_template(number: int) -> Problem:
        question = f"Ann has {number} pens, {STORY}. How many does she have?"
        return Problem(f"{number}", question, "", "")

    test = Pool("test", (), Counter(), tuple(map(one_of_template, range(1_319))), frozenset())
    problems = tuple(map(one_of_template, range(n)))
    pool = Pool("train", problems, Counter(), problems, frozenset())
    start = time.process_time()
    pool.check_contamination([test], "drop")
    seconds = time.process_time() - start
    return {"dropped": n - len(pool.problems), "cpu_seconds": round(seconds, 1)}


def _without_answer(folder: Path, n: int) -> Iterator[Problem]:
    with (folder / f"train-{n}.jsonl").open(encoding="utf-8") as file:
        for line in file:
            question = json.loads(line)["question"]
            yield Problem(content_id(question), question, "", "")


def _training(folder: Path, n: int) -> tuple[Problem, ...]:
    from mathtune.config.schema import SourceConfig
    from mathtune.problems.reading import Role
    from mathtune.problems.sources import read_source

    source = SourceConfig(path=str(folder / f"train-{n}.jsonl"))
    return read_source(source, Role.TRAIN, 0).problems


class Simulated:
    """Workers of one process that send 8 completions in turn."""

    count = 64

    def __init__(self, answers: dict[str, str]) -> None:
        self._answers = answers
        self._running: dict[int, Iterator[Completion]] = {}

    def ask(self, worker: int, prompts: Sequence[Prompt], decoding: Decoding) -> None:
        self._running[worker] = ScriptedEngine(self._answers).generate(prompts, decoding)

    def next_event(self) -> Came | Finished:
        worker = next(iter(self._running))
        running = self._running.pop(worker)
        found = list(itertools.islice(running, 8))
        if not found:
            return Finished(worker)
        self._running[worker] = running
        return Came(worker, found)

    def replace(self, worker: int) -> None: ...

    def stop(self) -> None: ...


class SimulatedEngine:
    """The engine that shares problems out to them."""

    name = "simulated"

    def __init__(self, answers: dict[str, str]) -> None:
        self._workers = Simulated(answers)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        return share_out(self._workers, prompts, decoding)


def drive(folder: Path, n: int) -> dict[str, Any]:
    """Grade and save what 64 workers send: what the driver can take, the workers' time aside."""
    problems = tuple(problem(number) for number in range(n))
    engine = SimulatedEngine({p.id: p.answer for p in problems})
    path = folder / f"driven-{n}.jsonl"
    path.unlink(missing_ok=True)
    start = time.process_time()
    evaluate(engine, ProblemSet("shop", problems), prompt, Decoding(), path=path, style="qa")
    seconds = time.process_time() - start
    path.unlink()
    return {"workers": Simulated.count, "rows_a_cpu_second": round(n / seconds)}


OF_ROWS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "make": make, "open": opened, "stream": stream, "figures": figures, "resume": resume,
    "compare": compare, "report": report, "drive": drive,
}  # fmt: skip
OF_PROBLEMS: dict[str, Callable[[Path, int], dict[str, Any]]] = {
    "make-problems": make_problems, "index": index, "shuffle": shuffle,
    "contamination": contamination, "template": template,
}  # fmt: skip


def main() -> None:
    """Measure each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--problems", type=int, nargs="*", default=[])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "limits")
    parser.add_argument("--one", nargs=2, metavar=("NAME", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if options.one:
        one(options.folder, options.one[0], int(options.one[1]))
        return
    tasks = [(name, n) for n in options.rows for name in OF_ROWS]
    tasks += [(name, n) for n in options.problems for name in OF_PROBLEMS]
    for name, n in tasks:
        if not options.only or name in options.only:
            command = [sys.executable, __file__, "--folder", str(options.folder)]
            subprocess.run([*command, "--one", name, str(n)], check=False)


def one(folder: Path, name: str, n: int) -> None:
    """Print one measurement."""
    begin = time.process_time()
    found = {**OF_ROWS, **OF_PROBLEMS}[name](folder, n)
    line = {
        "what": name,
        "rows": n,
        "cpu_seconds": round(time.process_time() - begin, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        **found,
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
