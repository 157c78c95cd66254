"""mathtune: turn an open language model into a better solver of math word problems, and prove it.

From Python (``docs/python.md``)::

    import mathtune as mt

    result = mt.run("demo")

:mod:`mathtune.pipeline` shows how a run works. Everything here is imported on first use (PEP 562),
so that ``import mathtune`` takes no time; ``__init__.pyi`` declares it for editors and type
checkers.
"""

import importlib

__version__ = "0.1.0"

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
