"""A checkpoint is whole or not there: any damage is found, and the one before it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from mathtune import storage
from mathtune.training.checkpointing import storage as checkpoints


def make(folder: Path, step: int) -> Path:
    staged = folder / checkpoints.STAGING / f"checkpoint-{step}"
    (staged / "inner").mkdir(parents=True)
    (staged / "model.safetensors").write_bytes(b"weights" * step)
    (staged / "inner" / "state.json").write_text("{}")
    storage.seal(staged)
    storage.publish(staged, folder / f"checkpoint-{step}")
    return folder / f"checkpoint-{step}"


def test_newest_by_step_not_by_name_or_age(tmp_path):
    for step in (1000, 30, 200):
        make(tmp_path, step)
    assert checkpoints.newest_whole(tmp_path) == (tmp_path / "checkpoint-1000", [])


DAMAGES = ["truncated", "flipped", "missing", "no manifest", "torn manifest"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_passed_over(tmp_path, damage):
    good, bad = make(tmp_path, 1), make(tmp_path, 2)
    weights, manifest = bad / "model.safetensors", bad / storage.SEAL
    if damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif damage == "flipped":
        weights.write_bytes(b"W" + weights.read_bytes()[1:])
    elif damage == "missing":
        (bad / "inner" / "state.json").unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:20])
    assert checkpoints.newest_whole(tmp_path) == (good, [bad])


def test_half_written_checkpoint_never_has_its_final_name(tmp_path):
    make(tmp_path, 1)
    staged = tmp_path / checkpoints.STAGING / "checkpoint-2"
    staged.mkdir()
    (staged / "model.safetensors").write_bytes(b"half")
    assert checkpoints.newest_whole(tmp_path) == (tmp_path / "checkpoint-1", [])


def test_same_step_saved_again_replaces_it(tmp_path):
    make(tmp_path, 5)
    make(tmp_path, 5)
    assert checkpoints.newest_whole(tmp_path) == (tmp_path / "checkpoint-5", [])


def test_nothing_there(tmp_path):
    assert checkpoints.newest_whole(tmp_path) == (None, [])
