"""The model card that goes with an exported model."""

from __future__ import annotations

from mathtune import report
from mathtune.exporting.source import Source
from mathtune.models.files import base_of_adapter
from mathtune.report.model_card import escape
from mathtune.storage import read_json
from mathtune.text.redaction import redact


def card_of(source: Source) -> str:
    """Return the card of a model: with its run's figures (``model-index``), or what is known.

    Raises:
        RunError: A file of the run is damaged.
    """
    if source.run is not None and source.run.results.is_file():
        return redact(report.build_card(report.read(source.run.folder)))
    own = source.folder / "README.md"
    if own.is_file():
        return redact(own.read_text(encoding="utf-8", errors="replace"))
    base = base_of_adapter(source.folder)
    lines = ["---", f"library_name: {'peft' if base else 'transformers'}"]
    if base and "/" in base[0] and not base[0].startswith(("/", ".")):
        lines.append(f"base_model: {base[0]}")
    lines += ["pipeline_tag: text-generation", "tags: [mathtune, math]", "---", ""]
    kind = f"An adapter on {escape(base[0])}." if base else _kind(source)
    return "\n".join([*lines, f"# {escape(source.name)}", "", kind, ""])


def _kind(source: Source) -> str:
    config = source.folder / "config.json"
    kind = read_json(config).get("model_type", "unknown") if config.is_file() else "unknown"
    return f"A model of type {escape(kind)}. It has not been measured."
