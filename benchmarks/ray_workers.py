"""Ray's workers against one process: same predictions, whoever is killed, and at what cost.

    python benchmarks/ray_workers.py            # kills and costs, 200 problems
    python benchmarks/ray_workers.py --only kill-worker
    python benchmarks/ray_workers.py --only cost --model smollm2-135m-instruct --data svamp:test

Prints one JSON line a measurement. A model answers problems (the toy generated ones, unless others
are named), on two local workers with a thread each and in one process with two threads.
``cpu_seconds`` are those of all processes of a command (Ray's own included), read from /proc, since
wall-clock time on a busy machine says little. Costs come at two sizes: the difference is the cost
of decoding alone, without starting.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "MATHTUNE_BENCHMARK_OF"
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Asked:
    """A model, and the problems that it is asked."""

    model: str = "tiny-base"
    data: str | None = None

    def arguments(self, problems: int) -> list[str]:
        source = {"generated": "problems", "n": problems, "part": "test", "seed": 1}
        sources = [self.data or source]
        test = json.dumps([{"label": "new", "sources": sources}])
        return [self.model, f"data.test={test}", f"data.max_test_samples={problems}"]


class Command:
    """``mathtune eval`` as a process of its own, whose relatives are known by their environment."""

    asked = Asked()

    def __init__(self, folder: Path, problems: int, *options: str, threads: int = 1) -> None:
        self.mark = f"{folder.name}-{time.monotonic_ns()}"
        environment = {
            **os.environ, MARK: self.mark, "OMP_NUM_THREADS": str(threads), "RAY_ADDRESS": "",
        }  # fmt: skip
        self.rows = folder / "predictions" / "base.jsonl"
        self._seconds: dict[int, float] = {}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mathtune", "eval", *self.asked.arguments(problems),
             "eval.other_calculator=false", "eval.perplexity=false", "--run-dir", str(folder),
             *options],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        threading.Thread(target=self._sample, daemon=True).start()

    def _sample(self) -> None:
        while self.process.poll() is None:
            for pid in self.relatives():
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                self._seconds[pid] = (int(fields[11]) + int(fields[12])) / TICKS
            time.sleep(0.25)

    def relatives(self) -> Iterator[int]:
        """Yield the process and all that it started."""
        for name in filter(str.isdecimal, os.listdir("/proc")):
            try:
                if f"{MARK}={self.mark}".encode() in Path(f"/proc/{name}/environ").read_bytes():
                    yield int(name)
            except OSError:  # it has ended, or is another user's
                continue

    def workers(self) -> list[int]:
        """Return the processes that decode."""
        found = []
        for pid in self.relatives():
            try:
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::Worker"):
                    found.append(pid)
            except OSError:
                continue
        return found

    def count(self) -> int:
        """Return how many rows are saved."""
        return self.rows.read_bytes().count(b"\n") if self.rows.exists() else 0

    def wait_for(self, rows: int) -> bool:
        """Return True when so many rows are saved, or False when the command has ended."""
        while self.process.poll() is None:
            if self.count() >= rows:
                return True
            time.sleep(0.02)
        return False

    def finish(self) -> float:
        """Return the processor time of all processes."""
        _, said = self.process.communicate()
        if self.process.returncode:
            raise SystemExit(said)
        return sum(self._seconds.values())


RAY = ("--engine", "ray", "--workers", "2")


def kill_worker(folder: Path, reference: Path, n: int, kills: int) -> dict[str, object]:
    command = Command(folder / "kill-worker", n, *RAY)
    killed_at = []
    for kill in range(kills):
        if not command.wait_for((kill + 1) * n // (kills + 1)):
            break
        workers: list[int] = []
        while not workers and command.process.poll() is None:
            workers = command.workers()
        if workers:
            os.kill(workers[0], signal.SIGKILL)
            killed_at.append(command.count())
    command.finish()
    return {"killed_at_rows": killed_at, "same": same(command.rows, reference)}


def kill_driver(folder: Path, reference: Path, n: int, kills: int) -> dict[str, object]:
    killed_at, left = [], []
    for kill in range(kills):
        command = Command(folder / "kill-driver", n, *RAY)
        if command.wait_for((kill + 1) * n // (kills + 1)):
            command.process.kill()
            command.process.wait()
            killed_at.append(command.count())
            end = time.monotonic() + 60
            while (there := len(list(command.relatives()))) and time.monotonic() < end:
                time.sleep(0.5)
            left.append(there)
    command = Command(folder / "kill-driver", n, *RAY)
    command.finish()
    return {
        "killed_at_rows": killed_at,
        "processes_left": left,
        "same": same(command.rows, reference),
    }


WAYS = (("2 threads", ("--engine", "hf"), 2), ("ray", RAY, 1), ("1 thread", ("--engine", "hf"), 1))
"""Name, options, and threads of each process."""


def cost(folder: Path, sizes: Sequence[int], rounds: int) -> dict[str, object]:
    """Measure two workers with a thread each against one process with two threads, in turns.

    One process with one thread is measured as well: it loses nothing to waiting for a second one.
    With two sizes, their difference is what decoding costs without starting.
    """
    cpu: dict[tuple[str, int], list[float]] = defaultdict(list)
    wall: dict[tuple[str, int], list[float]] = defaultdict(list)
    identical = True
    for number in range(rounds):
        for size in sizes:
            files = []
            for name, options, threads in WAYS:
                start = time.monotonic()
                command = Command(
                    folder / f"{name}-{size}-{number}", size, *options, threads=threads
                )
                cpu[name, size].append(command.finish())
                wall[name, size].append(time.monotonic() - start)
                files.append(command.rows)
                print(name, size, cpu[name, size], wall[name, size], file=sys.stderr, flush=True)
            identical &= all(same(files[0], each) for each in files[1:])
    found: dict[str, object] = {"same": identical}
    names = [name for name, *_ in WAYS]
    for kind, measured in (("cpu", cpu), ("wall", wall)):
        least = {key: min(values) for key, values in measured.items()}
        seconds = {str(size): {name: least[name, size] for name in names} for size in sizes}
        if len(sizes) == 2:
            less, more = seconds.values()
            seconds["decoding alone"] = {name: more[name] - less[name] for name in names}
        found[f"{kind}_seconds"] = {
            what: {name: round(value, 1) for name, value in each.items()}
            for what, each in seconds.items()
        }
        found[f"{kind}_overhead"] = {
            what: {f"to {name}": round(each["ray"] / each[name] - 1, 3) for name in names}
            for what, each in seconds.items()
        }
    return found


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=2, help="of the costs, which are the least")
    parser.add_argument("--only", nargs="*", default=["kill-worker", "kill-driver", "cost"])
    parser.add_argument("--model", default="tiny-base")
    parser.add_argument("--data", help="default: generated problems")
    parser.add_argument("--sizes", type=int, nargs="*", help="default: --problems, and 3 times it")
    options = parser.parse_args()
    Command.asked = Asked(options.model, options.data)
    n = options.problems
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reference = Command(folder / "reference", n, "--engine", "hf")
        reference.finish()
        for what, measure in (("kill-worker", kill_worker), ("kill-driver", kill_driver)):
            if what in options.only:
                found = measure(folder, reference.rows, n, options.kills)
                print(json.dumps({"what": what, "problems": n, **found}), flush=True)
        if "cost" in options.only:
            found = cost(folder, options.sizes or [n, 3 * n], options.rounds)
            print(json.dumps({"what": "cost", **found}), flush=True)


if __name__ == "__main__":
    main()
