"""What a shell completes besides commands and options: recipes, knobs with values, models."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import CompletionItem

FILE = "file"
"""The shell completes paths by itself."""


def recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a recipe, else a file."""
    from mathtune.config.loading import recipe_names

    found = [CompletionItem(name) for name in recipe_names() if name.startswith(incomplete)]
    return found or [CompletionItem(incomplete, type=FILE)]


def knobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete ``KEY=VALUE``: keys, and the values of a knob that has a few.

    bash takes ``KEY``, ``=`` and the value as three words, other shells as one.
    """
    from mathtune.config.wording import leaves

    key, equals, value = incomplete.partition("=")
    prefix = key + equals
    before = list(ctx.params.get(param.name or "") or ())
    if not equals and before[-1:] == ["="]:
        key, equals, value, prefix = "".join(before[-2:-1]), "=", key, ""
    fields = dict(leaves())
    if not incomplete and before and before[-1] in fields:  # click drops a lone "="
        key, equals, prefix = before[-1], "=", ""
    if equals:
        values = _values(fields[key].annotation) if key in fields else []
        fitting = [CompletionItem(prefix + each) for each in values if each.startswith(value)]
        return fitting or [CompletionItem(value, type=FILE)]
    return [
        CompletionItem(f"{name}=", help=_first_sentence(field.description or ""))
        for name, field in fields.items()
        if name.startswith(incomplete)
    ]


def models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a small model, else a folder."""
    from mathtune.models.fetch import MODELS
    from mathtune.models.files import TINY_BASE

    names = [name for name in (TINY_BASE, *MODELS) if name.startswith(incomplete)]
    return [CompletionItem(name) for name in names] or [CompletionItem(incomplete, type="dir")]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a run folder below ``--root``."""
    from mathtune.run_list.find import find_runs

    root = Path(ctx.params.get("root") or "runs")
    names = (os.path.relpath(folder, root) for folder in find_runs(root))
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _values(annotation: object) -> list[str]:
    from mathtune.cli.knob_options import kinds

    found = kinds(annotation)
    if bool in found:
        return ["true", "false"]
    return [kind for kind in found if isinstance(kind, str)]


def _first_sentence(text: str) -> str:
    return text.replace("\n", " ").replace("``", "").partition(". ")[0]
