"""``mathtune chat``."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from mathtune.cli.common import echo
from mathtune.cli.knob_options import KnobOptions

KNOBS = KnobOptions("prompt.style")

log = logging.getLogger(__name__)


@click.command("chat")
@click.argument("model")
@KNOBS
@click.option(
    "--calculator/--no-calculator", default=False, help="Let the calculator fill in <<…=."
)
@click.option("--max-new-tokens", default=256, type=click.IntRange(min=1))
def command(model: str, calculator: bool, max_new_tokens: int, **knobs: Any) -> None:
    """Ask MODEL questions, one per line; an empty line or Ctrl-D ends.

    Each question is independent, prompted exactly as in training and evaluation.
    """
    from mathtune import stages
    from mathtune.config import as_override
    from mathtune.errors import DataError
    from mathtune.models import files
    from mathtune.preflight import Purpose, load

    given = {"model": model, "eval.max_new_tokens": max_new_tokens}
    overrides = [as_override(key, value) for key, value in given.items()]
    overrides += KNOBS.overrides(knobs)
    recipe = load("gsm8k-eval", overrides, None, Purpose.CHAT)
    echo(f"loading {files.describe(model)}", err=True)  # importing torch takes seconds as well

    answer = stages.open_chat(recipe, calculator=calculator)
    log.info(f"{model} is ready: one question per line, prompted in style {recipe.prompt.style}")
    while True:
        if sys.stdin.isatty():
            echo("? ", nl=False)
        try:
            question = sys.stdin.readline().strip()
            question.encode()  # in the C locale, non-ASCII bytes arrive as lone surrogates
        except UnicodeError as error:
            raise DataError(f"the question is not UTF-8 ({error}); write it as UTF-8") from error
        if not question:
            return
        echo(answer(question).text.strip())
