"""mathtune: turn an open language model into a better solver of math word problems, and prove it.

From Python (``docs/python.md``)::

    import mathtune as mt

    result = mt.run("demo")

:mod:`mathtune.pipeline` shows how a run works. Everything here is imported on first use (PEP 562),
so that ``import mathtune`` takes no time; ``__init__.pyi`` declares it for editors and type
checkers.
"""

import importlib
import os

__version__ = "0.1.0"

# PyTorch on CPU keeps a compiled product of matrices, with its buffers, for each of the last 1,024
# shapes, and oneDNN once more. Here nearly every batch has a shape of its own, so that takes
# gigabytes and saves no time. Both are read when the first such product is made.
for _capacity in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
    os.environ.setdefault(_capacity, "64")

__all__ = [
    "Answer",
    "Chat",
    "ComparisonResult",
    "EvaluationResult",
    "Export",
    "Grade",
    "MathtuneError",
    "Outcome",
    "PlanResult",
    "Problem",
    "ProblemSplits",
    "Problems",
    "Recipe",
    "RunResult",
    "Selected",
    "TrainResult",
    "chat",
    "compare",
    "data_check",
    "data_preview",
    "evaluate",
    "export",
    "grade",
    "load_problems",
    "load_recipe",
    "pass_rates_of",
    "plan",
    "run",
    "sample",
    "select",
    "show_progress",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'mathtune' has no attribute {name!r}")
    value = getattr(importlib.import_module("mathtune.api"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
