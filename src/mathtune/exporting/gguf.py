"""A model as one GGUF file for llama.cpp, LM Studio, Ollama and others.

The file is written beside its final name and gets that name only after llama.cpp has answered
problems with it as the model does. Without the runtime it is called ``….unverified.gguf``.
"""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from mathtune.config.schema import Recipe
from mathtune.errors import DiskError
from mathtune.exporting import merged, runtime, same_answers
from mathtune.exporting.gguf_format import gguf_file, weight_types
from mathtune.exporting.same_answers import SameAnswers
from mathtune.exporting.source import Source, check_prompts
from mathtune.storage import saving, staged, sync_folder

log = logging.getLogger(__name__)

UNVERIFIED = ".unverified.gguf"
ENDING = ".gguf"


@dataclass(frozen=True, slots=True)
class Written:
    """A GGUF file that was written.

    Attributes:
        name: File name.
        kind: Type of the weights.
        parameters: Number of weights.
        bytes: Size.
        check: How it answers; None without the runtime.
    """

    name: str
    kind: str
    parameters: int
    bytes: int
    check: SameAnswers | None


def is_gguf(path: Path) -> bool:
    """Return whether a path is a GGUF file."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def file_name(source: Source, kind: str) -> str:
    """Return the usual name of a GGUF file: the model's with the type of its weights."""
    return f"{source.name}-{kind}{ENDING}"


def export(source: Source, recipe: Recipe, output: Path, kind: str) -> Written:
    """Write a model as a GGUF file, named only after it has answered as the model does.

    Args:
        source: The model; an adapter is merged first.
        recipe: How it is prompted, and the problems that it is checked on.
        output: The file.
        kind: Type of the weights, of ``weight_types.TYPES``.

    Raises:
        ModelError: The model cannot be written as GGUF, or the file answers differently.
        DiskError: There is no room.
    """
    with staged(output) as staging:
        written = write(source, recipe, staging, output.name, kind)
        with saving(staging):
            sync_folder(staging)
            final = output.with_name(written.name)
            (staging / written.name).replace(final)
    return written


def write(source: Source, recipe: Recipe, folder: Path, name: str, kind: str) -> Written:
    """Write a checked GGUF file into an existing folder; return its name with it."""
    from mathtune.models.loading import load_tokenizer

    weight_types.check_type(kind)
    weight_types.check_packages(kind)
    model = source.folder
    if source.is_adapter:
        model = folder / "merged"
        merged.merge(source, recipe, model, "auto")
    contents = gguf_file.read(model, kind)
    _check_room(folder, contents.nbytes)
    tokenizer = load_tokenizer(str(model))
    path = folder / "model.gguf"
    with saving(folder, needed=contents.nbytes):
        gguf_file.write(contents, tokenizer, path, kind=kind, name=source.name)
    check = None
    if runtime.is_installed():
        _, asked = check_prompts(recipe, tokenizer)
        answers = same_answers.model_answers(model, tokenizer, asked)
        check = same_answers.check(path, kind, tokenizer, answers)
    else:
        name = name.removesuffix(ENDING) + UNVERIFIED
        log.warning(
            f"nothing has checked that this file answers as the model does, so it is called {name}:"
            " the package xllamacpp is not installed; pip install 'mathtune[export]' and export "
            "again"
        )
    if source.is_adapter:
        shutil.rmtree(model)
    path.rename(folder / name)
    return Written(name, kind, contents.parameters, (folder / name).stat().st_size, check)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskError(
            f"the GGUF file needs {needed / 2**20:,.1f} MB and {free / 2**20:,.1f} MB are free at "
            f"{folder.parent}; free some space, choose another --output, or give --type q8_0"
        )
