"""An adapter as a PEFT folder of its own, with its card, to give away or to load with vLLM."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from mathtune.errors import ModelError
from mathtune.exporting.card import card_of
from mathtune.exporting.source import Source
from mathtune.models.files import base_of_adapter
from mathtune.storage import publish, saving, staged, sync_folder, write_text

log = logging.getLogger(__name__)


def export(source: Source, output: Path) -> int:
    """Copy an adapter with its tokenizer and card; return its size in bytes.

    Args:
        source: The adapter.
        output: The folder; it is replaced if it exists.

    Raises:
        ModelError: It is a full model.
        DiskError: There is no room.
    """
    base = base_of_adapter(source.folder)
    if base is None:
        raise ModelError(
            f"{source.folder} is a full model, not an adapter; give --to gguf, ollama or hub, or "
            "use it as it is"
        )
    if Path(base[0]).is_absolute():
        log.warning(
            f"the adapter names its base by a path on this machine, {base[0]}; elsewhere put the "
            "base's hub id into base_model_name_or_path of adapter_config.json"
        )
    with staged(output) as staging, saving(staging):
        for path in sorted(source.folder.iterdir()):
            if path.is_file() and path.name != "README.md":
                shutil.copyfile(path, staging / path.name)
        write_text(staging / "README.md", card_of(source))
        if source.run is not None and source.run.report.is_file():  # to which the card refers
            shutil.copyfile(source.run.report, staging / source.run.report.name)
        sync_folder(staging)
        size = sum(path.stat().st_size for path in staging.iterdir())
        publish(staging, output)
    return size
