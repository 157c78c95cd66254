"""Speed of the word-problem generator on one core.

    python benchmarks/generator.py --problems 50000 --repeats 5

Prints one JSON line: problems a second, best and median of the repeats.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

from mathtune.problems.generate import TEMPLATES, generate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--problems", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    rates = []
    for seed in range(options.repeats):
        start = time.perf_counter()
        generate(options.problems, seed=seed, split="all")
        rates.append(options.problems / (time.perf_counter() - start))
    print(
        json.dumps(
            {
                "benchmark": "generator",
                "problems": options.problems,
                "templates": len(TEMPLATES),
                "problems_per_second_best": round(max(rates)),
                "problems_per_second_median": round(statistics.median(rates)),
                "python": platform.python_version(),
            }
        )
    )


if __name__ == "__main__":
    main()
