"""Run folders damaged, in use, of something else or on a full disk; nothing saved is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from command_for_tests import jsonl, solved
from log_for_tests import logged
from mathtune import config, pipeline, runs
from mathtune.cli.main import cli
from mathtune.config.schema import Recipe
from mathtune.errors import DiskError, RunError
from models_for_tests import saved_model

RECIPE = {
    "name": "whole",
    "data": {"contamination": "report", "validation_fraction": 0.3},
    "train": {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "max_length": 256},
    "eval": {"max_new_tokens": 4, "perplexity": False},
}


SHAPELESS = b'{"headline": {}, "evaluations": 3, "comparisons": [], "example": {"answers": []}}'


def run(recipe: Recipe, folder: Path) -> tuple[dict, str]:
    with logged() as said:
        return pipeline.run(recipe, folder), said.getvalue()


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    folder = tmp_path_factory.mktemp("inputs")
    model, _ = saved_model(folder / "model", "llama")
    train = jsonl(folder / "train.jsonl", (solved(n) for n in range(1, 21)))
    test = jsonl(folder / "test.jsonl", (solved(n, "cups") for n in range(1, 5)))
    data = {**RECIPE["data"], "train": str(train), "test": str(test)}
    return config.parse({**RECIPE, "model": str(model), "data": data})


@pytest.fixture(scope="module")
def finished(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run(recipe, folder)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return shutil.copytree(finished, tmp_path / "run")


def results_of(folder: Path) -> list[bytes]:
    names = ("model/model.safetensors", "predictions/base.jsonl", "predictions/tuned.jsonl")
    return [(folder / name).read_bytes() for name in names]


def test_damaged_files_are_named_and_can_be_deleted(
    recipe: Recipe, finished: Path, copy: Path
) -> None:
    for name, content, remedy in (
        ("manifest.json", b"{bad", "delete it and give the same command again"),
        ("manifest.json", b'{"stages": 3}', "delete it and give the same command again"),
        ("manifest.json", b'{"stages": {}, "changes": 3}', "delete it and give the same command"),
        ("results.json", b"[]", "delete it and give the same command again"),
        ("results.json", b"{}", "delete it and give the same command again"),
        ("results.json", b"\xff\xfe", "delete it and give the same command again"),
        ("results.json", SHAPELESS, "delete it and give the same command again"),
        ("results.json", SHAPELESS.replace(b"3", b"[1]"), "delete it and give the same command"),
        ("inputs/base.json", b"{", "give --fresh to redo base"),
        ("inputs/base.json", b'{"problems": {"a": 1}}', "give --fresh to redo base"),
        ("recipe.yaml", b"\xff\xfe", "put into it what `mathtune validate` prints"),
    ):
        file = copy / name
        whole = file.read_bytes()
        file.write_bytes(content)
        with pytest.raises(RunError, match=remedy) as caught:
            run(recipe, copy)
        assert f"{file} is damaged" in str(caught.value)
        file.write_bytes(whole)
    # Both gone: what was measured and trained is found again, and only the sums are made anew.
    (copy / "manifest.json").unlink()
    (copy / "results.json").unlink()
    figures, said = run(recipe, copy)
    assert figures["n"] == 4 and "tuned.exact_match" in figures
    assert "continuing from checkpoint-4" in said and "step" not in said
    assert results_of(copy) == results_of(finished)


def test_reports_and_comparisons_of_damaged_folders_are_refused(copy: Path) -> None:
    for name, content in (
        ("manifest.json", b"{bad"),
        ("manifest.json", b"[" * 100_000),
        ("results.json", b"[]"),
        ("results.json", b"[" * 100_000),
        ("results.json", SHAPELESS),
        ("recipe.yaml", b"\xff\xfe"),
        ("recipe.yaml", b"a: {"),
        ("inputs/tuned.json", b"{}"),
    ):
        file = copy / name
        whole = file.read_bytes()
        file.write_bytes(content)
        result = CliRunner().invoke(cli, ["report", str(copy)])
        assert isinstance(result.exception, RunError), (name, content[:20], result.exception)
        assert str(file) in str(result.exception) and len(result.exception.faults) == 1
        file.write_bytes(whole)
    for name in ("manifest.json", "results.json", "recipe.yaml", "inputs"):
        saved = (copy / name).rename(copy / "saved")
        result = CliRunner().invoke(cli, ["report", str(copy)])
        assert result.exit_code == 0, (name, result.exception)
        saved.rename(copy / name)


def test_a_lost_recipe_is_named(recipe: Recipe, copy: Path) -> None:
    (copy / "recipe.yaml").unlink()
    with pytest.raises(RunError, match=r"recipe\.yaml is missing; put into it what"):
        run(recipe, copy)


def test_a_link_to_a_run_folder_is_that_folder(recipe: Recipe, copy: Path) -> None:
    link = copy.with_name("link")
    link.symlink_to(copy)
    before = results_of(copy)
    run(recipe, link)
    assert results_of(copy) == before
    dangling = copy.with_name("dangling")
    dangling.symlink_to(copy.with_name("nowhere"))
    with pytest.raises(RunError, match=r"is a link to .*nowhere, which does not exist; make"):
        run(recipe, dangling)


def test_a_read_only_run_folder_is_refused_before_work(
    recipe: Recipe, finished: Path, disk: Path
) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)
    folder = shutil.copytree(finished, disk / "run")
    (folder / "predictions" / "base.jsonl").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(DiskError, match=r"is read-only \(.* cannot be written\); give yourself"):
        run(recipe, folder)
    result = CliRunner().invoke(cli, ["report", str(folder)])
    assert isinstance(result.exception, DiskError) and "Read-only" in str(result.exception)


def test_checkpoints_that_are_damaged_twice_are_both_kept(recipe: Recipe, copy: Path) -> None:
    shutil.rmtree(copy / "model")
    checkpoint = copy / "checkpoints" / "checkpoint-4"
    for _ in range(3):
        (checkpoint / "trainer_state.json").write_text("damaged")
        _, said = run(recipe, copy)
        assert "checkpoint-4 is damaged" in said
        shutil.rmtree(copy / "model")
    left = sorted(path.name for path in checkpoint.parent.glob("damaged-*"))
    assert left == [
        "damaged-checkpoint-4", "damaged-checkpoint-4-2", "damaged-checkpoint-4-3",
    ]  # fmt: skip


def test_the_type_of_the_weights_is_kept_whatever_the_timing_says_later(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratios = iter([1.6, 0.1, 0.1])
    monkeypatch.setattr("mathtune.models.compute._bf16_time_ratio", lambda: next(ratios))
    _, said = run(recipe, tmp_path / "run")
    assert said.count("CPU: float32, because bf16 is slow on this processor") == 3
    shutil.rmtree(tmp_path / "run" / "model")
    _, said = run(recipe, tmp_path / "run")  # from the checkpoint
    assert "CPU: float32, because bf16 is slow on this processor" in said
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["dtype_reason"] == "because bf16 is slow on this processor"
    assert next(ratios) == 0.1  # it was measured once


def test_a_lost_model_is_taken_from_its_checkpoint(
    recipe: Recipe, finished: Path, copy: Path
) -> None:
    # As after a kill between the last checkpoint and the model; the folder was moved as well, and
    # the log of metrics was torn.
    shutil.rmtree(copy / "model")
    with (copy / "metrics.jsonl").open("ab") as metrics:
        metrics.write(b'[]\n{}\n{"step": \xff')
    moved = copy.rename(copy.with_name("moved"))
    run(recipe, moved)
    assert results_of(moved) == results_of(finished)
    assert (
        json.loads((moved / "manifest.json").read_text())["training"]["steps"] == 4
    )  # not one more


def test_lost_predictions_are_made_again(recipe: Recipe, finished: Path, copy: Path) -> None:
    (copy / "predictions" / "tuned.jsonl").unlink()
    run(recipe, copy)
    assert results_of(copy) == results_of(finished)


def test_damaged_predictions_are_refused(recipe: Recipe, copy: Path) -> None:
    file = copy / "predictions" / "base.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], "{broken\n", *lines[2:]]))
    with pytest.raises(RunError, match=r"base\.jsonl:2 is not JSON .* give --fresh to redo base"):
        run(recipe, copy)


def test_a_folder_of_something_else_is_left_alone(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"holds README\.md and no run; choose another --run-dir"):
        run(recipe, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def changed(recipe: Recipe, **values: object) -> Recipe:
    """Return the recipe with other values, keys as in ``train__save_steps``."""
    raw = recipe.model_dump(mode="json")
    for key, value in values.items():
        *sections, knob = key.split("__")
        (raw[sections[0]] if sections else raw)[knob] = value
    return config.parse(raw)


def test_a_folder_in_use_is_refused(recipe: Recipe, copy: Path) -> None:
    with (
        runs.create(copy, recipe, command=[]),
        pytest.raises(
            RunError, match=r"in use by another mathtune process \(pid \d+ on .+\); wait for it or"
        ),
    ):
        run(recipe, copy)


def test_a_folder_of_another_recipe_is_refused_with_what_differs(
    recipe: Recipe, copy: Path
) -> None:
    other = changed(recipe, seed=1, train__learning_rate=3e-4, train__micro_batch_tokens=64)
    with pytest.raises(RunError) as caught:
        run(other, copy)
    assert str(caught.value) == (
        f"run folder {copy}: seed changed from 42 to 1 and train.learning_rate changed from 2e-05 "
        "to 0.0003 since training began; give --fresh to redo train and tuned, or choose another "
        "--run-dir"
    )
    assert (copy / "recipe.yaml").read_text() == config.dump(recipe)
    with pytest.raises(RunError, match=r"adapter changed from unset to LoRA, train\.learning_rate"):
        run(changed(other, train__weight_decay=0.1, adapter={"r": 2}), copy)


def test_a_run_goes_on_with_other_knobs_that_change_no_result(
    recipe: Recipe, finished: Path, copy: Path
) -> None:
    shutil.rmtree(copy / "model")
    other = changed(recipe, train__micro_batch_tokens=64, eval__batch_size=2)
    _, said = run(other, copy)
    assert "continuing with train.micro_batch_tokens=64 (before: unset)" in said
    assert "continuing with eval.batch_size=2 (before: unset)" in said
    assert results_of(copy) == results_of(finished)
    assert (copy / "recipe.yaml").read_text() == config.dump(other)
    changes = json.loads((copy / "manifest.json").read_text())["changes"]
    assert [(change["key"], change["before"], change["after"]) for change in changes] == [
        ("train.micro_batch_tokens", None, 64),
        ("eval.batch_size", None, 2),
    ]
    assert "continuing with" not in run(other, copy)[1]


def test_the_name_of_a_folder_depends_on_what_changes_the_result(recipe: Recipe) -> None:
    name = runs.default_folder(recipe)
    assert name.parent == Path("runs") and name.name.startswith("whole-")
    for same in (
        {"train__gradient_checkpointing": True},
        {"description": "Other words."},
        {"tracking__report_to": ["wandb"]},
    ):
        assert runs.default_folder(changed(recipe, **same)) == name
    for other in (
        {"seed": 1},
        {"train__learning_rate": 3e-4},
        {"adapter": {}},  # all at its defaults, and yet another way to train
        {"model__dtype": "float32"},
    ):
        assert runs.default_folder(changed(recipe, **other)) != name


def test_a_recipe_of_another_version_is_told_from_damage(recipe: Recipe, copy: Path) -> None:
    stored = copy / "recipe.yaml"
    stored.write_text(stored.read_text().replace("  optim:", "  optimiser_of_old:"))
    with pytest.raises(RunError, match=r"of another version .* train\.optimiser_of_old"):
        run(recipe, copy)
    result = CliRunner().invoke(cli, ["report", str(copy)])
    assert result.exit_code == 0 and "not checked against their inputs" in result.stderr


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)  # a failed writer may hold a file


# Pages of 4 KiB: no room for the manifest, a row of predictions, the weights of a checkpoint, its
# optimiser state, the model beside the last checkpoint.
@pytest.mark.parametrize("kilobytes", [4, 16, 100, 400, 1300])
def test_a_disk_that_fills_up_loses_nothing(
    recipe: Recipe, finished: Path, disk: Path, kilobytes: int
) -> None:
    def resize(size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

    resize(f"{kilobytes}k")
    with pytest.raises(DiskError, match="No space left on device") as caught:
        run(recipe, disk / "run")
    assert "again" in str(caught.value) and "\n" not in str(caught.value)
    resize("8m")
    run(recipe, disk / "run")
    assert results_of(disk / "run") == results_of(finished)
