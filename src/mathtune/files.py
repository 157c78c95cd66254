"""JSON and text files of run folders that are whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mathtune import ranks
from mathtune.errors import DiskError, RunError
from mathtune.redaction import redact


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the object that ``write_json`` has written, which must have all of ``keys``.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds {type(value).__name__} in place of an object")
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"it has no {' and no '.join(missing)}")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    return value


def damaged(path: Path, why: str) -> RunError:
    """Return the error for a file of a run folder that is not as it was written."""
    return RunError(
        f"{path} is damaged ({why}); delete it and give the same command again: finished work is "
        "found and kept"
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON aside and move it into place, so that a reader never sees half of it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text aside and move it into place, secrets blanked.

    Raises:
        DiskError: If it could not be written; a file that stood there before is untouched.
    """
    number = str(ranks.rank() or "")  # ranks may write the same file
    aside = path.with_name(f"{path.name}.tmp{number}")
    try:
        # A lone surrogate, which a server can send, has no UTF-8 form; JSON reads the escape back.
        with aside.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redact(text))
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise DiskError(
            f"{path} could not be written ({error.strerror or error}); what was saved before is "
            "whole: free some space or mend the permissions, and give the same command again"
        ) from error
