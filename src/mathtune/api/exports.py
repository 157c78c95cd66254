"""``export`` from Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mathtune import config
from mathtune.api.arguments import path_text, whole_number
from mathtune.api.recipes import Overrides, StrPath
from mathtune.exporting import targets
from mathtune.exporting.targets import Export, Options
from mathtune.progress.display import show_by_default

__all__ = ["Export", "export"]


def export(
    source: StrPath,
    to: str,
    overrides: Overrides = (),
    *,
    output: StrPath | None = None,
    type: str = "f16",
    dtype: str = "auto",
    repo: str | None = None,
    public: bool = False,
    overwrite: bool = False,
    limit: int | None = None,
    **knobs: Any,
) -> Export:
    """Make a model usable elsewhere; what is made must answer problems as the model does.

    Args:
        source: A run folder, an adapter, or a model folder.
        to: ``merged``, ``gguf``, ``ollama``, ``hub`` or ``adapter``.
        overrides: As in ``load_recipe``, for the recipe that it is checked with.
        output: File (``gguf``) or folder; default: in the run folder, or next to the model.
        type: Type of the weights in a GGUF file: ``f16``, ``bf16``, ``f32``, ``q8_0``, ``q4_0``.
        dtype: Dtype of merged weights.
        repo: Repository on the hub, as ``owner/name``.
        public: Whether a new repository may be seen by everybody.
        overwrite: Whether an output that exists may be replaced.
        limit: How many problems to check with; default: 50 for ``merged``, else 20.
        **knobs: As in ``load_recipe``, for example ``prompt={"style": "chat"}``.

    Raises:
        ConfigError: A wrong target or option.
        ModelError: There is no model, or what was made does not answer as it does.
        RunError: The run is in use.
        DiskError: There is no room, or something is in the way.
    """
    show_by_default()
    options = Options(
        output=None if output is None else Path(path_text("output", output, "a path")),
        type=type,
        dtype=dtype,
        repo=repo,
        public=public,
        overwrite=overwrite,
        limit=None if limit is None else whole_number("limit", limit),
        overrides=config.overrides_from_python(overrides, knobs),
    )
    return targets.export(Path(path_text("source", source, "a folder")), to, options)
