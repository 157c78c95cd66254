"""A folder for Ollama: the GGUF file and a Modelfile that prompts the model as in training.

Ollama's defaults would change a model's answers: it samples, penalises repetition (and solutions
repeat numbers), and takes the template that it guesses. The Modelfile sets all three.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mathtune.config.schema import Recipe
from mathtune.errors import ModelError
from mathtune.exporting import gguf
from mathtune.exporting.gguf import Written
from mathtune.exporting.source import Source
from mathtune.prompts import CHAT, ChatTemplate, stop_strings
from mathtune.prompts.styles import style_of
from mathtune.storage import publish, saving, staged, sync_folder

MODELFILE = "Modelfile"
CONTEXT = 4096
"""Most tokens of prompt and answer that Ollama keeps memory for."""

_QUESTION, _ANSWER = "QUESTION-7f3c", "ANSWER-7f3c"  # found again in a rendered template


def export(source: Source, recipe: Recipe, output: Path, kind: str) -> Written:
    """Write a folder that ``ollama create NAME -f Modelfile`` makes a model of.

    Args:
        source: The model; an adapter is merged first.
        recipe: How it is prompted, with the longest answer, and the problems to check it on.
        output: The folder; it is replaced if it exists.
        kind: Type of the weights.

    Raises:
        ModelError: As for ``gguf.export``, or the prompt style has no form in a Modelfile.
        DiskError: There is no room.
    """
    from mathtune.models.loading import load_tokenizer

    text = modelfile(recipe, load_tokenizer(str(source.folder)), from_="MODEL")
    with staged(output) as staging:
        written = gguf.write(source, recipe, staging, gguf.file_name(source, kind), kind)
        with saving(staging):
            text = text.replace("FROM ./MODEL\n", f"FROM ./{written.name}\n", 1)
            (staging / MODELFILE).write_text(text, encoding="utf-8")
            sync_folder(staging)
            publish(staging, output)
    return written


def modelfile(recipe: Recipe, tokenizer: Any, from_: str) -> str:
    """Return a Modelfile with the template, stop strings and limits of a recipe.

    Args:
        recipe: How the model is prompted.
        tokenizer: Its tokenizer, whose chat template the chat style uses.
        from_: Name of the GGUF file next to it.

    Raises:
        ModelError: A text in it has no form in a Modelfile.
    """
    style, system = recipe.prompt.style, recipe.prompt.system
    if style == CHAT:
        template = _chat_template(tokenizer, system)
    else:
        shape = style_of(style)
        # Ollama takes the part before the answer as prompt; the rest follows a past answer.
        template = (
            f"{_literal(shape.before)}{{{{ .Prompt }}}}{_literal(shape.after)}"
            f"{{{{ .Response }}}}\n\n"
        )
    stops: Sequence[str] = stop_strings(style) if recipe.eval.stop is None else recipe.eval.stop
    lines = [
        f"# Prompt style {style}, as in training; ollama create NAME -f {MODELFILE}",
        f"FROM ./{from_}",
        f"TEMPLATE {_quoted(template)}",
        *([f"SYSTEM {_quoted(system)}"] if system and style == CHAT else []),
        "PARAMETER temperature 0",
        "PARAMETER repeat_penalty 1",
        f"PARAMETER num_predict {recipe.eval.max_new_tokens}",
        f"PARAMETER num_ctx {CONTEXT}",
        *(f"PARAMETER stop {_quoted(stop)}" for stop in stops),
    ]
    return "\n".join(lines) + "\n"


def _chat_template(tokenizer: Any, system: str | None) -> str:
    """Return a chat template with one question as Ollama writes it."""
    template = ChatTemplate(tokenizer, system=system)
    prompt = template.prompt(_QUESTION)
    tail = template.completion(_QUESTION, prompt, _ANSWER).rpartition(_ANSWER)[2]
    before, _, after = prompt.partition(_QUESTION)
    if tokenizer("")["input_ids"] and tokenizer.bos_token:  # Ollama adds it too
        before = before.removeprefix(tokenizer.bos_token)
    head, found, rest = before.partition(system.strip()) if system else ("", "", "")
    written = f"{_literal(head)}{{{{ .System }}}}{_literal(rest)}" if found else _literal(before)
    return f"{written}{{{{ .Prompt }}}}{_literal(after)}{{{{ .Response }}}}{_literal(tail)}\n"


def _literal(text: str) -> str:
    """Return a text so that Go's template engine writes it as it is."""
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    if '"""' in text:
        raise ModelError(
            f"{text[:60]!r} holds three quotes, which end a text in Ollama's Modelfile; export "
            "--to gguf and prompt the model by its API"
        )
    return f'"""{text}"""'
