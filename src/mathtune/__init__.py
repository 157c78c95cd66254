"""mathtune: turn an open language model into a better solver of math word problems, and prove it.

From Python (``docs/python.md``)::

    import mathtune as mt

    result = mt.run("demo")

The story of a run is told in :mod:`mathtune.pipeline`. Everything here is imported when it is first
used (PEP 562), so that ``import mathtune`` takes no time; ``__init__.pyi`` tells editors and type
checkers what there is.
"""

import importlib

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Chat",
    "ComparisonResult",
    "EvaluationResult",
    "Grade",
    "MathtuneError",
    "Outcome",
    "PlanResult",
    "Problem",
    "ProblemSplits",
    "Problems",
    "Recipe",
    "RunResult",
    "TrainResult",
    "chat",
    "compare",
    "evaluate",
    "grade",
    "load_problems",
    "load_recipe",
    "plan",
    "run",
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
