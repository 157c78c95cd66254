"""The command line ``mathtune COMMAND``: one module a command, imported when it is called."""

from __future__ import annotations

import importlib
import sys

import click

from mathtune import __version__
from mathtune.errors import MathtuneError

COMMANDS = {
    "run": "Do everything a recipe asks for: base measured, training, tuned measured, report.",
    "train": "Train only.",
    "eval": "Measure a model on a problem set.",
    "compare": "Compare two or more models from their predictions.",
    "report": "Write a run folder's report again from its files.",
    "recipes": "List the recipes, show one, or explain every knob.",
    "validate": "Check a recipe, its data and its model without running anything.",
    "chat": "Put questions to a model.",
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
        module = importlib.import_module(f"mathtune.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

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


def main() -> None:
    """Run the command line; errors a user can act on end with their message and exit code 2."""
    try:
        cli(prog_name="mathtune")
    except MathtuneError as error:
        click.echo(_formatted(error), err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        click.echo("stopped; give the same command again to continue", err=True)
        sys.exit(130)


def _formatted(error: MathtuneError) -> str:
    faults = getattr(error, "faults", None) or [str(error)]
    if len(faults) == 1:
        return f"mathtune: {faults[0]}"
    lines = [f"mathtune: {len(faults)} faults:", *(f"  {i}. {f}" for i, f in enumerate(faults, 1))]
    return "\n".join(lines)
