"""``mathtune chat``."""

from __future__ import annotations

import logging
import sys
from typing import Any

import click

from mathtune.cli.common import FiniteRange, echo, json_option, model_argument, overrides_argument
from mathtune.cli.knob_options import KnobOptions

KNOBS = KnobOptions("prompt.style", "eval.max_new_tokens")

log = logging.getLogger(__name__)


@click.command("chat")
@model_argument
@overrides_argument
@click.option(
    "--against",
    metavar="MODEL",
    help="Ask this model too, side by side; 'base' is what MODEL was trained from.",
)
@KNOBS
@click.option(
    "--calculator/--no-calculator",
    default=None,
    help="Let the calculator fill in <<…=.  [default: as the run has it, else off]",
)
@click.option(
    "--temperature",
    default=0.0,
    type=FiniteRange(min=0),
    help="0 is greedy; above, answers are sampled.  [default: 0]",
)
@json_option("Print one JSON object per question, with the answers and their checks.")
def command(
    model: str,
    overrides: tuple[str, ...],
    against: str | None,
    calculator: bool | None,
    temperature: float,
    as_json: bool,
    **knobs: Any,
) -> None:
    """Ask MODEL questions, one per line; Ctrl-D or /quit ends, /help lists the commands.

    MODEL is a hub id, the folder of a model or an adapter, or a run folder: that is asked as it was
    trained and evaluated. In prompt style chat a question follows those before it, in all other
    styles each stands alone. Every answer's equations are checked; /gold ANSWER grades it. Ctrl-C
    stops an answer, not the chat.

    Questions can be piped in, one per line: answers then go to standard output, remarks to standard
    error.
    """
    from mathtune.cli.chat_display import Blocks, Columns, JsonLines
    from mathtune.cli.chat_loop import Chat, described_style
    from mathtune.config import as_override
    from mathtune.conversation import ChatModel, find
    from mathtune.models import files

    given = [*KNOBS.overrides(knobs), *overrides]
    if calculator is not None:
        given.append(as_override("eval.calculator", calculator))
    models = []
    for named in find(model, against, given):
        name = named.recipe.model.name_or_path or ""
        echo(f"loading {files.describe(name)}", err=True)  # importing torch takes seconds as well
        models.append(ChatModel(named.label, named.recipe))
        models[-1].temperature = temperature
        log.info(f"{name} is ready")
    interactive = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    display = Columns() if interactive else JsonLines() if as_json else Blocks()
    state = "on, its figures cyan" if interactive else "on"
    display.say(
        f"{described_style(models[0])}; calculator {state if models[0].calculator else 'off'}"
        f"{'; /help lists the commands' if interactive else ''}"
    )
    Chat(models, display, interactive=interactive).run()
