"""The tests that need a GPU, reported as one JSON line.

python benchmarks/gpu/cuda_tests.py --seconds 90
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from shared import WORK, emit, reported

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=90)
    seconds = parser.parse_args().seconds
    found = WORK / "tests.xml"
    command = [sys.executable, "-m", "pytest", "-m", "cuda", "tests/cuda", f"--junitxml={found}"]
    try:
        done = subprocess.run(
            [*command, "-p", "no:cacheprovider", "--color=no"],
            cwd=ROOT,
            stdout=sys.stderr,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"not finished after {seconds:.0f} s") from error
    if not found.is_file():
        raise RuntimeError(f"pytest ended with code {done.returncode} and no report")
    outcomes: dict[str, list[str]] = {"failed": [], "skipped": []}
    cases = list(ElementTree.parse(found).iter("testcase"))
    for case in cases:
        for child in case:
            kind = {"failure": "failed", "error": "failed", "skipped": "skipped"}.get(child.tag)
            if kind:
                text = f"{case.get('name')}: {child.get('message', '')}".splitlines()[0]
                outcomes[kind].append(text[:200])
    emit("tests", passed=len(cases) - sum(map(len, outcomes.values())), **outcomes)


if __name__ == "__main__":
    with reported("tests"):
        main()
