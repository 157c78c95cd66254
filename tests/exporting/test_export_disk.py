"""A disk that fills up while a GGUF file is written: one sentence, and nothing else changes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_exports import saved

import mathtune as mt
from mathtune.errors import DiskError
from mathtune.exporting import gguf


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a real file system of 400 kB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_keeps_what_was_there(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = saved(tmp_path / "model", "llama")
    (disk / "x.gguf").write_bytes(b"GGUF, an earlier export")
    (disk / "filler").write_bytes(bytes(300 * 1024))

    def full(words: str) -> None:
        with pytest.raises(DiskError, match=words):
            mt.export(folder, "gguf", output=disk / "x.gguf", type="f32", overwrite=True)
        assert sorted(path.name for path in disk.iterdir()) == ["filler", "x.gguf"]
        assert (disk / "x.gguf").read_bytes() == b"GGUF, an earlier export"

    full(r"the GGUF file needs 0\.2 MB and 0\.1 MB are free at .*/disk; free some space")
    # Another program may take the room after that was checked.
    monkeypatch.setattr(gguf, "_check_room", lambda *_: None)
    full(r"could not save to .*/disk: No space left on device; 0\.1 MB are free and the save needs")
