"""The preview of a recipe's data for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

import click
from rich.text import Text

from mathtune.cli.common import echo
from mathtune.preflight.data_preview import DataPreview, ShownExample
from mathtune.progress.console import SafeConsole
from mathtune.text.counts import counted, percent
from mathtune.text.visible import visible

WIDTH = 40
"""Characters of the longest bar."""

RULE = "-" * 80
SUPERVISED, SPECIAL = "green underline", "bold magenta"


def show_preview(preview: DataPreview) -> None:
    """Print a preview: the figures, then the examples."""
    for line in figures(preview):
        echo(line)
    console = SafeConsole(soft_wrap=True)
    for number, example in enumerate(preview.examples, start=1):
        fits = "" if example.fits else "; too long, so left out"
        echo(
            f"example {number}, problem {example.problem_id} of {example.source}: "
            f"{counted(len(example.tokens), 'token')}, {example.targets:,} supervised{fits}"
        )
        echo(RULE)
        if console.is_terminal:
            console.print(coloured(example))
        else:
            click.echo(bracketed(example))
        echo(RULE)


def figures(preview: DataPreview) -> Iterator[str]:
    """Yield what is said before the examples."""
    yield from preview.read_as
    for each in preview.sets:
        yield f"{each.label}: {counted(each.problems, 'problem')}"
        for why, count in each.dropped.items():
            yield f"  {why}: {count:,}"
    if len(preview.sources) > 1:
        for source, count in preview.sources.items():
            yield f"  {count:,} training problems from {source}"
    yield f"tokenizer of {preview.model}, style {preview.style}"
    if preview.objective != "sft":
        yield (
            f"train.objective={preview.objective} learns from the model's own answers: of the "
            "examples below it uses the prompts only"
        )
    lengths = preview.lengths
    yield (
        f"tokens per training example: {lengths.least:,} to {lengths.most:,}, median "
        f"{lengths.median:,}, 95 % at most {lengths.p95:,}; "
        f"{percent(lengths.targets)} are supervised"
    )
    most = max(count for _, _, count in lengths.bins)
    for low, high, count in lengths.bins:
        bar = "█" * -(-WIDTH * count // most)
        mark = " ← beyond train.max_length" if high > preview.max_length else ""
        yield f"  {low:>6,}–{high:<6,} {count:>8,} {bar}{mark}"
    yield f"longer than train.max_length={preview.max_length:,}: {preview.too_long:,}"
    if preview.unknown:
        yield f"with characters that the tokenizer does not know: {preview.unknown:,}"


def coloured(example: ShownExample) -> Text:
    """Return an example with supervised and special tokens in colours."""
    text = Text()
    for token in example.tokens:
        style = SUPERVISED if token.supervised else ""
        text.append(visible(token.text), f"{SPECIAL} {style}" if token.special else style)
    return text


def bracketed(example: ShownExample) -> str:
    """Return an example with its supervised runs between brackets, for a file or a pipe."""
    parts, inside = [], False
    for token in example.tokens:
        if token.supervised != inside:
            parts.append("⟦" if token.supervised else "⟧")
            inside = token.supervised
        parts.append(visible(token.text))
    return "".join(parts) + ("⟧" if inside else "")
