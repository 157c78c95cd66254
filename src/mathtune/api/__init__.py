"""mathtune from Python: what ``import mathtune as mt`` offers.

A thin layer over ``mathtune.pipeline``, like the command line: the same recipes, checks, run
folders and messages. Errors are ``mathtune.errors.MathtuneError`` and the standard exception that
fits.
"""

from mathtune.api.comparison_result import ComparisonResult
from mathtune.api.conversation import Answer, Chat
from mathtune.api.data import data_check, data_preview
from mathtune.api.evaluation import chat, compare, evaluate
from mathtune.api.exports import Export, export
from mathtune.api.grading import grade
from mathtune.api.plan_result import PlanResult
from mathtune.api.problem_lists import Problems, ProblemSplits, load_problems
from mathtune.api.recipes import load_recipe, plan, run, train
from mathtune.api.results import EvaluationResult, RunResult, TrainResult
from mathtune.api.sampling import Selected, pass_rates_of, sample, select
from mathtune.config.schema import Recipe
from mathtune.errors import MathtuneError
from mathtune.progress.display import show_progress
from mathtune.records import Grade, Outcome, Problem

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
