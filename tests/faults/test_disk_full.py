"""A disk that fills up while a checkpoint or the model is saved: nothing saved before is lost."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from mathtune import config
from mathtune.errors import DiskError
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.storage import is_whole
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.checkpointing import storage as checkpoints
from mathtune.training.run import save_model, train
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

DISK = 300 * 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a real file system of 300 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    if done.returncode != 0:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def leave_free(disk: Path, size: int) -> None:
    """Fill the disk with a file up to ``size`` bytes."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, free - size)


def test_disk_full_in_training_and_the_same_command_goes_on(tmp_path: Path, disk: Path) -> None:
    """Once in a checkpoint, once in the model's own save; then to the very end of a whole run."""
    problems = [(f"What is {n}?", f"It is {n}. #### {n}") for n in range(10, 40)]
    tokenizer = bpe()
    renderer = Renderer(tokenizer, "qa")
    examples = [renderer.example(Problem(content_id(q, a), q, a, "1")) for q, a in problems]
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [
            "train.max_steps=12", "train.save_steps=2", "train.logging_steps=1",
            "train.per_device_train_batch_size=2", "train.learning_rate=1e-3",
        ],
    )  # fmt: skip

    def run(folder: Path, filled_at_save: int | None = None) -> None:
        model = tiny_model("llama", len(tokenizer), hidden_size=64, attention_dropout=0.1)
        saves = 0

        save = model.save_pretrained

        def fill(*arguments: object, **options: object) -> None:
            nonlocal saves
            saves += 1
            if saves == filled_at_save:
                leave_free(disk, 300_000)  # less than the weights alone
            save(*arguments, **options)

        model.save_pretrained = fill
        folder.mkdir(exist_ok=True)
        train(
            recipe,
            model=model,
            tokenizer=tokenizer,
            compute=Compute("cpu", "CPU", torch.float32, False, "a test"),
            train_examples=examples[:24],
            validation_examples=examples[24:],
            run_dir=folder,
        )

    def outcome(folder: Path) -> tuple[bytes, list[dict]]:
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
        stable = [{k: v for k, v in m.items() if k not in VOLATILE_KEYS} for m in metrics]
        return (folder / "model" / "model.safetensors").read_bytes(), stable

    run(tmp_path / "whole")
    folder = disk / "run"
    saved = (
        r"could not save to \S+: No space left on device; (\S+) MB are free and the save needs "
        r"about (\S+) MB; what was saved before is intact: free some space and give the same "
        r"command again$"
    )
    for save, kept in ((3, 4), (5, 12)):  # of steps 2, 4, 6; then of 6, 8, 10, 12 and the model
        with pytest.raises(DiskError, match=saved) as full:
            run(folder, filled_at_save=save)
        assert full.value.exit_code == 2
        free, needed = map(float, re.search(saved, str(full.value)).groups())
        assert free < needed < 10
        newest, damaged = checkpoints.newest_whole(folder / "checkpoints")
        assert newest is not None and (checkpoints.step_of(newest), damaged) == (kept, [])
        names = {path.name for path in folder.iterdir()}
        assert names == {"checkpoints", "metrics.jsonl"}  # nothing half-written
        assert all(is_whole(path) for path in (folder / "checkpoints").iterdir())
        (disk / "filler").unlink()
    run(folder)
    assert outcome(folder) == outcome(tmp_path / "whole")


def test_whichever_writer_meets_the_full_disk(tmp_path: Path, disk: Path) -> None:
    """The model's save fails in each of its files in turn: one message, and nothing is left."""
    tokenizer = bpe()
    model = tiny_model("llama", len(tokenizer))
    recipe = config.load("smollm2-135m-gsm8k", [])
    folder = disk / "run" / "model"
    folder.parent.mkdir()

    def write(aside: Path) -> None:
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)

    save_model(write, recipe, folder, needed=10_000)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    size = sum(path.stat().st_size for path in folder.iterdir())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    failed = 0
    for free in range(0, size, 20_000):
        leave_free(disk, free)
        with pytest.raises(
            DiskError, match=r"No space left on device; .* MB are free and the save"
        ):
            save_model(write, recipe, folder, needed=10_000)
        failed += 1
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert failed > 5
    (disk / "filler").unlink()
    save_model(write, recipe, folder, needed=10_000)
    assert (folder / "model.safetensors").read_bytes() != before["model.safetensors"]
