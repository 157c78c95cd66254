"""Files and folders that are complete or absent: written to a temporary path, synced, renamed."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mathtune import ranks
from mathtune.errors import DiskError, RunError
from mathtune.text.redaction import redact

SEAL = "checkpoint_manifest.json"

_REPLACED = "replaced-"
"""Prefix of a checkpoint's name while another of the same step replaces it."""

_OS_ERROR = "(os error"
"""How Rust libraries end the message of a failed system call."""


def read_json(path: Path, keys: Sequence[str] = ()) -> dict[str, Any]:
    """Return the object that ``write_json`` wrote, which must have all of ``keys``.

    Raises:
        RunError: If the file is missing or damaged.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
        if not isinstance(value, dict):
            raise ValueError(f"it holds {type(value).__name__} instead of an object")
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"it has no {' and no '.join(missing)}")
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    return value


def damaged(path: Path, why: str) -> RunError:
    """Return the error for a damaged file in a run folder."""
    return RunError(
        f"{path} is damaged ({why}); delete it and give the same command again: finished work is "
        "found and kept"
    )


def write_json(path: Path, value: Any) -> None:
    """Write JSON to a temporary file and rename it, so that a reader never sees half of it."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write text to a temporary file and rename it, with secrets blanked.

    Raises:
        DiskError: If it could not be written; an earlier file is untouched.
    """
    number = str(ranks.rank() or "")  # several ranks may write the same file
    temporary = path.with_name(f"{path.name}.tmp{number}")
    try:
        # A lone surrogate, which a server can send, has no UTF-8 form; JSON reads the escape back.
        with temporary.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redact(text))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a read-only file system raises this even for a missing file
            temporary.unlink()
        raise cannot_write(path, error) from error


def cannot_write(path: Path, error: OSError) -> DiskError:
    """Return the error for a file that could not be written."""
    if isinstance(error, FileNotFoundError) and not path.parent.exists():
        return DiskError(
            f"{path} could not be written: the folder {path.parent} does not exist; make it, or "
            "give another path"
        )
    return DiskError(
        f"{path} could not be written ({error.strerror or error}); what was saved before is "
        "intact: free some space or fix the permissions, and give the same command again"
    )


def replace_file(path: Path, chunks: Iterable[bytes]) -> None:
    """Put a file in place atomically, so that a reader sees the old one or the new one."""
    temporary = path.with_name(
        f".{path.name}.part"
    )  # a fixed name: a killed writer leaves at most one
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.writelines(chunks)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def seal(folder: Path) -> None:
    """Hash and sync every file of a checkpoint folder in parallel, and write the manifest."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != SEAL]

    def hashed(path: Path) -> str:
        digest = _sha256(path)
        sync_path(path)
        return digest

    with ThreadPoolExecutor() as pool:  # neither hashing nor syncing holds the GIL
        digests = list(pool.map(hashed, files))
    hashes = {str(path.relative_to(folder)): it for path, it in zip(files, digests, strict=True)}
    (folder / SEAL).write_text(json.dumps(hashes, indent=1), encoding="utf-8")
    sync_path(folder / SEAL)
    sync_path(folder)


def publish(staged: Path, final: Path) -> None:
    """Move a sealed checkpoint to its final name."""
    before = final.with_name(_REPLACED + final.name)
    if final.exists():  # the same step was saved before a restart
        shutil.rmtree(before, ignore_errors=True)
        os.rename(final, before)
    os.rename(staged, final)
    sync_path(final.parent)
    shutil.rmtree(before, ignore_errors=True)


def is_whole(folder: Path) -> bool:
    """Return whether a checkpoint has a manifest and every file matches it."""
    manifest = folder / SEAL
    if not manifest.is_file():
        return False
    try:
        hashes = json.loads(manifest.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(hashes, dict) and all(
        (folder / name).is_file() and _sha256(folder / name) == digest
        for name, digest in hashes.items()
    )


def recover(checkpoints: Path) -> None:
    """Repair the folder after a crash while one checkpoint was replacing another."""
    for before in checkpoints.glob(_REPLACED + "*"):
        final = before.with_name(before.name.removeprefix(_REPLACED))
        if not final.exists():
            os.rename(before, final)
        elif is_whole(final):
            shutil.rmtree(before, ignore_errors=True)


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder to ``damaged-NAME``, numbered if taken; return it."""
    name, number = folder.with_name("damaged-" + folder.name), 1
    while name.exists():
        number += 1
        name = folder.with_name(f"damaged-{folder.name}-{number}")
    folder.rename(name)
    return name


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make sure that a folder's files are on the disk."""
    for path in (*folder.rglob("*"), folder):
        sync_path(path)


def sync_path(path: Path) -> None:
    """Make sure that a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def staged(final: Path) -> Iterator[Path]:
    """Make a folder next to ``final`` to write into; it is removed at the end of the block.

    Folders that killed processes left there are removed too.

    Raises:
        DiskError: It cannot be made.
    """
    staging = final.with_name(f"{final.name}.partial-{os.getpid()}")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        for left in final.parent.glob(f"{glob.escape(final.name)}.partial-*"):
            if not Path("/proc", left.name.rpartition("-")[2]).exists():
                shutil.rmtree(left, ignore_errors=True)
        staging.mkdir()
    except OSError as error:
        raise cannot_write(staging, error) from error
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def saving(temporary: Path, needed: int = 0) -> Iterator[None]:
    """Turn a failed write into a DiskError; the temporary folder is removed.

    Args:
        temporary: Folder that is written to and renamed later.
        needed: Approximate bytes to write, for the message.

    Raises:
        DiskError: The disk is full or cannot be written.
    """
    try:
        yield
    except Exception as error:
        if not _is_of_disk(error):
            raise
        shutil.rmtree(temporary, ignore_errors=True)
        raise disk_error(error, temporary.parent, needed) from error


def _is_of_disk(error: Exception) -> bool:
    """Return whether the disk made a save fail; not every library's error class shows it."""
    # PyTorch's writer reports only an unexpected position in the file; tokenizers raises a bare
    # Exception.
    from safetensors import SafetensorError  # imports numpy

    matches = "inline_container" in str(error) or _OS_ERROR in str(error)
    return isinstance(error, OSError | SafetensorError) or matches


def disk_error(error: Exception, folder: Path, needed: int) -> DiskError:
    """Describe a failed save: what was needed, what was free, and that earlier saves are intact."""
    free = shutil.disk_usage(folder).free
    what = getattr(error, "strerror", None)
    if what is None:
        full = "inline_container" in str(error) or f"{_OS_ERROR} {errno.ENOSPC})" in str(error)
        what = os.strerror(errno.ENOSPC) if full else str(error)
    return DiskError(
        f"could not save to {folder}: {what}; {free / 2**20:,.1f} MB are free"
        + (f" and the save needs about {needed / 2**20:,.1f} MB" if needed else "")
        + "; what was saved before is intact: free some space and give the same command again"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()
