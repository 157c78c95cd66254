"""``mathtune completion``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")

_ADD = "COMPREPLY+=($value)"
_ADD_KEY = f"{_ADD}; [[ $value == *= ]] && compopt -o nospace"
"""Behind ``train.max_steps=`` the value follows, so bash must not put a space."""


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that completes commands, options, recipes and knobs in SHELL.

    bash: echo 'eval "$(mathtune completion bash)"' >> ~/.bashrc

    zsh: echo 'eval "$(mathtune completion zsh)"' >> ~/.zshrc

    fish: mathtune completion fish > ~/.config/fish/completions/mathtune.fish
    """
    from mathtune.cli.main import cli

    made = get_completion_class(shell)
    assert made is not None  # click has all three
    found = made(cli, {}, "mathtune", "_MATHTUNE_COMPLETE")
    script = found.source_template % found.source_vars()  # source() would start bash to look at it
    click.echo(script.replace(_ADD, _ADD_KEY))
