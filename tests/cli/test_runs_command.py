"""``mathtune runs``: what is listed, in which order, and what is deleted."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from command_for_tests import faults_of, mathtune
from mathtune import config, run_list, runs
from mathtune.cli.commands.runs import SORTS
from mathtune.errors import ConfigError, RunError
from mathtune.locks import in_use, lock
from mathtune.run_paths import RunPaths
from report.report_run_folder import build


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Runs of every kind below ``runs``."""
    root = tmp_path / "runs"
    build(root / "done", hostile=False)
    for name, knobs in (("empty", []), ("deep/stopped", ["train.learning_rate=1e-3"])):
        recipe = config.load("demo", ["model=tiny-base", *knobs])
        runs.create(root / name, recipe, command=["mathtune", "run", "demo"]).close()
    stopped = RunPaths(root / "deep" / "stopped")
    stopped.all_inputs.mkdir()
    stopped.inputs("train").write_text("{}")
    (stopped.checkpoints / "blob").write_bytes(bytes(300_000))
    shutil.copytree(root / "empty", root / "broken")
    (root / "broken" / "manifest.json").write_text("{")
    shutil.copytree(root / "empty", stopped.folder / "rounds" / "1" / "trained")  # part of a run
    (root / "notes").mkdir()
    for age, name in enumerate(("deep/stopped", "done", "empty", "broken")):
        for path in (root / name).iterdir():
            os.utime(path, (1e9 - age, 1e9 - age))
    return root


def names(root: Path, **options: object) -> list[str]:
    return [run.name for run in run_list.list_runs(root, **options)]  # type: ignore[arg-type]


def test_every_run_is_listed_with_its_state_and_figures(root: Path) -> None:
    with lock(root / "empty")._file:
        found = {run.name: run for run in run_list.list_runs(root)}
    assert list(found) == ["deep/stopped", "done", "empty", "broken"]  # the last changed first
    states = {name: (run.status, run.stage) for name, run in found.items()}
    assert states == {
        "deep/stopped": ("stopped", "train"),
        "done": ("finished", "train"),
        "empty": ("running", ""),
        "broken": ("damaged", ""),
    }
    results = json.loads((root / "done" / "results.json").read_text())
    done = found["done"]
    assert done.difference == results["comparisons"][0]["difference"]
    assert (done.low, done.high) == tuple(
        results["comparisons"][0][f"difference_{end}"] for end in ("low", "high")
    )
    assert done.tuned is not None and done.base is not None and done.tuned > done.base
    assert found["deep/stopped"].recipe == "demo" and found["empty"].model == "tiny-base"
    assert found["deep/stopped"].size >= 300_000 > found["empty"].size


def test_runs_are_sorted_and_filtered(root: Path) -> None:
    assert set(SORTS) == set(run_list.SORTS)
    assert names(root, sort="name") == ["broken", "deep/stopped", "done", "empty"]
    assert names(root, sort="difference")[0] == "done"
    assert names(root, sort="size")[-2:] == ["broken", "empty"]
    assert names(root, filters=["status=stopped"]) == ["deep/stopped"]
    assert names(root, filters=["train.learning_rate=0.001"]) == ["deep/stopped"]
    assert names(root, filters=["DEEP"]) == ["deep/stopped"]
    assert names(root, filters=["recipe=demo", "status=empty"]) == ["empty"]
    assert names(root, filters=["model.load_in_4bit=off", "deep"]) == ["deep/stopped"]
    assert names(root, filters=["adapter=null", "deep"]) == names(root, filters=["no such", "deep"])
    with pytest.raises(ConfigError) as caught:
        names(root, filters=["nokey=1", "learning_rate=1", "statuss=finished", "status=empty"])
    unknown, elsewhere, mistyped = caught.value.faults
    assert unknown.startswith("--filter 'nokey=1': unknown key nokey; give name, folder, recipe, ")
    assert unknown.endswith("as in train.objective=grpo (mathtune recipes --knobs lists them)")
    assert elsewhere.endswith("; did you mean 'train.learning_rate'?")
    assert mistyped.endswith("; did you mean 'status'?")
    assert names(root / "done") == ["done"]  # the root may be a run
    with pytest.raises(RunError, match="is not a folder"):
        names(root / "nowhere")


def test_the_command_prints_a_table_or_json(root: Path) -> None:
    shown = mathtune("runs", cwd=root.parent)
    assert shown.returncode == 0, shown.stderr
    (line,) = (line for line in shown.stdout.splitlines() if line.startswith(" done "))
    assert " → " in line and " finished " in line and "(+" in line
    found = json.loads(
        mathtune("runs", "runs", "--filter", "done", "--json", cwd=root.parent).stdout
    )
    (run,) = found["runs"]
    assert found["root"] == "runs" and run["folder"] == "runs/done" and run["status"] == "finished"
    none = mathtune("runs", cwd=root)  # no folder called runs here
    assert none.returncode == 0 and none.stdout == "" and "no runs in runs" in none.stderr


def test_only_named_runs_that_nobody_uses_are_deleted_and_only_when_confirmed(root: Path) -> None:
    where = root.parent
    assert faults_of(mathtune("runs", "delete", "done", cwd=where))[0].endswith("give --yes")
    held = lock(root / "empty")
    faults = faults_of(
        mathtune(
            "runs",
            "delete",
            "empty",
            "dona",
            "runs/notes",
            "done",
            "deep/stopped/rounds/1/trained",
            "--yes",
            cwd=where,
        )
    )
    assert (
        f"run folder runs/empty is in use by another mathtune process (pid {os.getpid()}"
        in faults[0]
    )
    assert faults[1] == "dona is no run folder; did you mean 'done'?"
    assert faults[2] == "runs/notes is no run folder; mathtune runs lists them"
    assert faults[3].startswith("deep/stopped/rounds/1/trained is part of the run ")
    assert (root / "done").is_dir()
    held.release()
    (root / ".deleting-empty" / "left").mkdir(parents=True)  # by an interrupted deletion
    done = mathtune("runs", "delete", "empty", "runs/done", "--yes", "--json", cwd=where)
    assert json.loads(done.stdout)["deleted"] == ["runs/empty", "runs/done"], done.stderr
    assert sorted(path.name for path in root.iterdir()) == ["broken", "deep", "notes"]


def test_a_lock_that_a_killed_process_left_is_not_in_use(tmp_path: Path) -> None:
    assert in_use(tmp_path) == ""
    held = lock(tmp_path)
    text = (tmp_path / ".lock").read_text()
    assert in_use(tmp_path) == f" (pid {os.getpid()} on {json.loads(text)['host']})"
    held.release()
    assert in_use(tmp_path) == ""
    (tmp_path / ".lock").write_text(text)
    assert in_use(tmp_path) == ""
