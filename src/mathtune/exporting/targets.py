"""``mathtune export``: one function for every target, with what is checked for all of them."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mathtune.errors import ConfigError, DiskError, did_you_mean
from mathtune.exporting import (
    adapter,
    gguf,
    hub_repository,
    merged,
    ollama,
    same_answers,
)
from mathtune.exporting.gguf import Written
from mathtune.exporting.gguf_format import weight_types
from mathtune.exporting.source import ANSWER_TOKENS, Source, find, find_adapter, recipe_for

log = logging.getLogger(__name__)

TARGETS = ("merged", "gguf", "ollama", "hub", "adapter")

MERGE_PROBLEMS = 50
"""Problems that a merged model is checked on by default."""


@dataclass(frozen=True, slots=True)
class Export:
    """What was exported.

    Attributes:
        to: The target, of ``TARGETS``.
        path: The file or folder; for ``hub`` the address of the commit.
        summary: What was made and how it was checked, for people.
        figures: The same as numbers.
    """

    to: str
    path: str
    summary: str
    figures: dict[str, Any] = field(repr=False)

    def __str__(self) -> str:
        return self.summary


@dataclass(frozen=True, slots=True)
class Options:
    """How to export.

    Attributes:
        output: File (``gguf``) or folder; default: in the run folder, or next to the model.
        type: Type of the weights in a GGUF file, of ``weight_types.TYPES``.
        dtype: Dtype of merged weights.
        repo: Repository on the hub, as ``owner/name``.
        public: Whether a new repository may be seen by everybody.
        overwrite: Whether what is there may be replaced.
        data: Problems to check with; default: the run's test set, else generated ones.
        limit: How many; default: 50 for ``merged``, else 20.
        style: Prompt style; default: the run's, else ``qa``.
        load_in_4bit: For a QLoRA adapter without a record of how its base was held.
        overrides: ``key=value`` texts.
    """

    output: Path | None = None
    type: str = "f16"
    dtype: str = "auto"
    repo: str | None = None
    public: bool = False
    overwrite: bool = False
    data: Sequence[str] = ()
    limit: int | None = None
    style: str | None = None
    load_in_4bit: bool = False
    overrides: Sequence[str] = ()


def export(given: Path, to: str, options: Options) -> Export:
    """Export a model.

    Args:
        given: A run folder, an adapter, or a model folder.
        to: One of ``TARGETS``.
        options: The rest.

    Raises:
        ConfigError: A wrong target or option.
        ModelError: There is no model, or what was made does not answer as it does.
        RunError: The run is in use.
        DiskError: There is no room, or something else is in the way.
    """
    if to not in TARGETS:
        raise ConfigError(
            f"--to {to} does not exist{did_you_mean(to, TARGETS) or '.'} "
            f"Known: {', '.join(TARGETS)}"
        )
    if (to == "hub") != (options.repo is not None):
        raise ConfigError(
            "--to hub needs --repo OWNER/NAME"
            if to == "hub"
            else f"--repo is for --to hub, not for --to {to}; leave it out or give --to hub"
        )
    if to in ("gguf", "ollama"):
        weight_types.check_type(options.type)
        weight_types.check_packages(options.type)
    source = find_adapter(given) if to == "merged" else find(given)
    with source.held(), _ended_by_sigterm():
        if to == "merged":
            return _merged(source, options)
        if to == "adapter":
            output = _free(options.output or source.output("adapter"), source, options)
            size = adapter.export(source, output)
            text = f"{output}: an adapter of {size / 2**20:,.1f} MB, with its card"
            return Export(to, str(output), text, {"path": str(output), "bytes": size})
        if to == "hub":
            pushed = hub_repository.push(source, options.repo or "", public=options.public)
            return Export(to, pushed.address, str(pushed), pushed.to_json())
        return _gguf(source, to, options)


def _merged(source: Source, options: Options) -> Export:
    recipe = recipe_for(
        source,
        options.overrides,
        limit=options.limit or MERGE_PROBLEMS,
        data=options.data,
        style=options.style,
        load_in_4bit=options.load_in_4bit,
    )
    output = options.output or source.output("merged")
    figures = merged.merge(source, recipe, output, options.dtype)
    return Export("merged", str(output), merged.in_words(figures), figures)


def _gguf(source: Source, to: str, options: Options) -> Export:
    recipe = recipe_for(
        source,
        options.overrides,
        limit=options.limit or same_answers.PROBLEMS,
        data=options.data,
        style=options.style,
        load_in_4bit=options.load_in_4bit,
        max_new_tokens=None if to == "ollama" else ANSWER_TOKENS,
    )
    if recipe.eval.calculator:
        log.info("llama.cpp and Ollama have no calculator: expect the report's figures with it off")
    if to == "ollama":
        output = _free(options.output or source.output("ollama"), source, options)
        written = ollama.export(source, recipe, output, options.type)
        path = output
    else:
        name = gguf.file_name(source, options.type)
        output = options.output or source.output("gguf")
        if options.output is None or output.is_dir():
            output = output / name
        output = _free(output, source, options)
        written = gguf.export(source, recipe, output, options.type)
        path = output.with_name(written.name)
    return Export(to, str(path), _in_words(path, written), _figures(path, written))


def _in_words(path: Path, written: Written) -> str:
    made = (
        f"{path}: {written.parameters:,} parameters in {written.kind.upper()}, "
        f"{written.bytes / 2**20:,.1f} MB"
    )
    return made if written.check is None else f"{made}\n{written.check}"


def _figures(path: Path, written: Written) -> dict[str, Any]:
    return {
        "path": str(path),
        "type": written.kind,
        "parameters": written.parameters,
        "bytes": written.bytes,
        "check": written.check and written.check.to_json(),
    }


def _free(output: Path, source: Source, options: Options) -> Path:
    """Return an output path that may be written.

    Raises:
        DiskError: Something is there that is not an earlier export, or may not be replaced.
    """
    if not (output.exists() or output.is_symlink()):
        return output
    if output.is_dir() and not any(output.iterdir()):
        return output
    if not options.overwrite:
        raise DiskError(f"{output} exists; choose another --output, or give --overwrite")
    marks = (ollama.MODELFILE, "adapter_config.json")
    ours = any((output / mark).is_file() for mark in marks) or gguf.is_gguf(output)
    if not ours or output.resolve() == source.folder.resolve():
        raise DiskError(f"{output} is not an earlier export; choose another --output")
    return output


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
