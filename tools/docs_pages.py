"""A hook of mkdocs: the pages of the reference that come from the code, and links out of `docs/`.

`reference/commands.md` is what every command prints for `--help`; `reference/settings.md` lists the
settings of a recipe as `mathtune recipes --knobs` does. Both are made at build time, so that no
option is documented twice.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[1]
WIDTH = 78
"""Columns of a command's help."""


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that come from the code."""
    from mkdocs.structure.files import File

    for name, text in (("commands.md", commands_page()), ("settings.md", settings_page())):
        files.append(File.generated(config, f"reference/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Turn links to files outside `docs/`, which GitHub can follow, into their text or an address.

    With `repo_url` in mkdocs.yml they lead to the repository. A file that does not exist is left,
    so that the strict build names it.
    """
    folder = Path(config["docs_dir"]) / Path(page.file.src_uri).parent

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        path = Path(os.path.normpath(folder / target.partition("#")[0]))
        if not path.exists() or path.is_relative_to(config["docs_dir"]):
            return match[0]
        if not config["repo_url"]:
            return text
        return f"[{text}]({config['repo_url']}/blob/main/{path.relative_to(ROOT).as_posix()})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s:]+)\)", replaced, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep an interval and a percentage on one line: no break after its dash or before its sign."""
    return re.sub(r"(?<=\d)–(?=\d)", "–\u2060", re.sub(r"(?<=\d) %", "\u00a0%", html))


def commands_page() -> str:
    """Return the help of every command, as Markdown."""
    lines = [
        "# Commands",
        "",
        "What `mathtune COMMAND --help` prints. Exit code 0 means done, 2 a fault that the message",
        "explains, 130 and 143 an interruption, after which the same command continues.",
    ]
    for words, text in _helps():
        lines += ["", f"{'#' * len(words)} {' '.join(words)}", "", "```text", text, "```"]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return every setting of a recipe by section, as Markdown tables."""
    from mathtune import config

    lines = [
        "# Settings",
        "",
        "Every key of a recipe with its default, as `mathtune recipes --knobs` prints them. Set",
        "one in a [recipe](../recipes.md), or after its name on the command line, as in",
        "`mathtune run demo train.learning_rate=1e-3`.",
    ]
    section = None
    for key, default, text in config.knobs():
        if key.rpartition(".")[0] != section:
            section = key.rpartition(".")[0]
            lines += ["", f"## {section or 'The recipe itself'}", ""]
            lines += ["| key | default | what it does |", "| --- | --- | --- |"]
        lines.append(f"| `{key}` | `{_cell(default)}` | {_cell(text)} |")
    return "\n".join(lines) + "\n"


def _helps() -> Iterator[tuple[list[str], str]]:
    """Yield each command's words and help, subcommands after their group."""
    from mathtune.cli.main import COMMANDS

    for name in COMMANDS:
        command = importlib.import_module(f"mathtune.cli.commands.{name.replace('-', '_')}").command
        yield from _helps_of(command, ["mathtune", name])


def _helps_of(command: click.Command, words: list[str]) -> Iterator[tuple[list[str], str]]:
    context = click.Context(
        command,
        info_name=" ".join(words),
        max_content_width=WIDTH,
        terminal_width=WIDTH,
        help_option_names=["-h", "--help"],
    )
    yield words, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _helps_of(child, [*words, name])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
