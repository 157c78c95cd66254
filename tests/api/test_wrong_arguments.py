"""Arguments of a wrong type or value: a sentence, not an error of Python's."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mathtune as mt
from api.conftest import PROBLEMS, SHORT

api: Any = mt  # arguments that type checkers refuse


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: api.run("demo", run_dir=3), "run_dir=3 has type int; give a folder"),
        (lambda: api.train("demo", run_dir=b"x"), "run_dir=b'x' has type bytes"),
        (lambda: api.evaluate("tiny-base", run_dir=3), "run_dir=3 has type int"),
        (lambda: api.evaluate("tiny-base", recipe=5), "recipe=5 has type int; give a recipe"),
        (lambda: api.evaluate("tiny-base", limit=1.5), "limit=1.5 has type float; give a whole"),
        (lambda: api.evaluate("tiny-base", limit=True), "limit=True has type bool"),
        (lambda: api.chat("tiny-base", recipe=5), "recipe=5 has type int"),
        (lambda: api.load_problems("gsm8k:test", limit="x"), "limit='x' has type str"),
        (lambda: api.run(3), "recipe=3 has type int"),
        (lambda: api.train(None), "recipe=None has type NoneType"),
        (lambda: api.plan(None), "recipe=None has type NoneType"),
        (lambda: api.plan("demo", device=3), "device=3 has type int; give its name"),
        (lambda: api.plan("demo", memory=b"x"), "memory=b'x' has type bytes; give a whole number"),
        (lambda: api.load_recipe(None), "name_or_path=None has type NoneType; give a name"),
        (lambda: api.load_recipe("demo", 5), "overrides has type int; give a list of strings"),
        (lambda: api.load_recipe("demo", [5]), "overrides holds 5; give strings"),
        (lambda: api.load_recipe("demo", eval={"stop": [""]}), "eval.stop holds an empty string"),
        (lambda: api.compare([], []), r"before=\[\] has type list; give an evaluation"),
        (lambda: api.compare("a", None), "after=None has type NoneType"),
        (lambda: api.grade(None, "3"), "completion=None has type NoneType; give the text"),
        (lambda: api.grade(3, 3), "completion=3 has type int"),
        (lambda: api.grade(b"3", "3"), "completion=b'3' has type bytes"),
        (lambda: api.grade("3", None), "gold=None has type NoneType; give the final answer"),
        (lambda: api.grade("3", [3]), r"gold=\[3\] has type list"),
        (lambda: api.grade("3", True), "gold=True has type bool"),
        (lambda: api.grade("3", float("nan")), "gold=nan is not finite"),
        (lambda: api.grade("3", float("-inf")), "gold=-inf is not finite"),
        (lambda: api.grade("3", Decimal("sNaN")), "gold=sNaN is not finite"),
        (lambda: api.grade("3", Decimal("1e999999")), "gold is a number of more than 200 digits"),
        (lambda: api.grade("3", 10**5000), "gold is a number of more than 200 digits"),
        (lambda: api.grade(10**5000, "3"), "completion=a very large int has type int"),
    ],
)
def test_a_wrong_argument_is_a_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(mt.MathtuneError, match=sentence):
        call()
    assert not Path("runs").exists()


def test_both_arguments_of_grade_are_reported_at_once() -> None:
    with pytest.raises(mt.MathtuneError) as caught:
        api.grade(None, None)
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize(
    "gold", ["3", 3, 3.0, Fraction(3), Decimal(3), np.int64(3), np.float64(3)], ids=repr
)
def test_each_form_of_a_gold_answer_is_graded(gold: Any) -> None:
    assert mt.grade("#### 3", gold).outcome is mt.Outcome.CORRECT
    assert mt.grade("#### 4", gold).outcome is mt.Outcome.WRONG


def test_a_question_that_is_no_text_is_refused(model: Path) -> None:
    chat: Any = mt.chat(model, eval=SHORT)
    with pytest.raises(mt.MathtuneError, match="question=None has type NoneType"):
        chat.ask(None)
    with pytest.raises(mt.MathtuneError, match=r"lone surrogate '\\ud800' at character 2"):
        chat.ask("a\ud800")


def test_a_limit_may_be_a_number_of_numpy(model: Path) -> None:
    assert api.evaluate(model, PROBLEMS, limit=np.int64(1), eval=SHORT).n == 1
