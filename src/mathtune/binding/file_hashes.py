"""Hashes of large files, remembered as long as a file is untouched.

A 14 GB model is read once for its hash, and again only when a file's size, times or inode change. A
file changed a moment ago is not remembered: a second change within the same tick of the clock would
not show.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from pathlib import Path
from typing import Any

from mathtune.errors import MathtuneError, ModelError
from mathtune.storage import write_json

log = logging.getLogger(__name__)

_SETTLED_SECONDS = 2.0
_SAID_FROM = 2 * 2**30
"""Bytes from which reading a file takes long enough to be logged."""


class FileHashes:
    """SHA-256 of files, kept in a JSON file.

    Args:
        path: The JSON file; one that cannot be read counts as empty.
        save: Whether new hashes are saved; a folder that is only read stays unchanged.
    """

    def __init__(self, path: Path, *, save: bool = True) -> None:
        self._path, self._save = path, save
        self._known = _read(path)

    def __call__(self, file: Path) -> str:
        """Return the hash of a file.

        Raises:
            ModelError: If it cannot be read.
        """
        if named := _blob_hash(file):
            return named
        try:
            return self._hash(file)
        except OSError as error:
            raise ModelError(
                f"{file} cannot be read ({error.strerror or error}); check its permissions"
            ) from error

    def _hash(self, file: Path) -> str:
        key, state, start = str(file.absolute()), file_state(file), time.time()
        known = self._known.get(key)
        if isinstance(known, dict) and known.get("state") == state and known.get("sha256"):
            return str(known["sha256"])
        if state[0] >= _SAID_FROM:
            log.info(f"reading {file} ({state[0] / 2**30:,.1f} GiB) to compute its fingerprint")
        digest = hashlib.sha256()
        with file.open("rb") as content:
            while block := content.read(1 << 22):
                digest.update(block)
        changed = max(state[1], state[2]) / 1e9
        if file_state(file) == state and start - changed > _SETTLED_SECONDS:
            self._known[key] = {"state": state, "sha256": digest.hexdigest()}
            if self._save:
                self._write()
        return digest.hexdigest()

    def _write(self) -> None:
        try:
            self._path.parent.mkdir(exist_ok=True)
            write_json(self._path, self._known)
        except (OSError, MathtuneError):  # nothing is lost but time
            self._save = False


def file_state(file: Path) -> list[int]:
    """Return size, times and inode: ``cp -p`` keeps the first two, and no copy keeps all."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _blob_hash(path: Path) -> str | None:
    """Return the SHA-256 by which the hub's cache names a large file, or None."""
    blob = path.resolve()
    is_blob = blob.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", blob.name)
    return blob.name if is_blob else None


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}
