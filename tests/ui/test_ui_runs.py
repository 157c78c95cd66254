"""The list of runs, what they are doing, and their curves."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest
from report_run_folder import build
from ui_for_tests import client

from mathtune.locks import lock
from mathtune.report.wording import typeset
from mathtune.run_paths import RunPaths
from mathtune.ui.curves import Metrics
from mathtune.ui.folders import Root
from mathtune.ui.run_list import PER_PAGE, RunList
from mathtune.ui.status import status_of


def bare(folder: Path, name: str = "demo") -> Path:
    folder.mkdir(parents=True)
    recipe = f"name: {name}\nmodel:\n  name_or_path: tiny-base\ntrain:\n  max_steps: 10\n"
    (folder / "recipe.yaml").write_text(recipe)
    (folder / "manifest.json").write_text('{"stages": {}}')
    return folder


def begin(folder: Path, stage: str) -> None:
    (folder / "inputs").mkdir(exist_ok=True)
    (folder / "inputs" / f"{stage}.json").write_text("{}")


def test_a_run_is_summed_up(tmp_path: Path) -> None:
    folder = build(tmp_path / "group" / "one", rows=40)
    results = json.loads((folder / "results.json").read_text())
    line = RunList(Root(tmp_path)).page()["runs"][0]
    assert line["name"] == "group/one" and line["id"] == "group/one"
    rates = {e["model"]: e["exact_match"]["value"] for e in results["evaluations"][:4:3]}
    assert line["rates"]["base"] == f"{100 * rates['base']:.1f}\u00a0%"
    assert line["verdict"] == typeset(results["comparisons"][0]["verdict"])
    difference = results["comparisons"][0]["difference"]
    assert line["difference"] == f"+{100 * difference:.1f}"


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    folder, runs = bare(tmp_path / "one"), RunList(Root(tmp_path))
    assert runs.page()["runs"][0]["recipe"] == "demo"
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("demo", "other"))
    os.utime(recipe, ns=(1, 1))
    assert runs.page()["runs"][0]["recipe"] == "other"


def test_a_thousand_runs_come_in_pages_and_are_found(tmp_path: Path) -> None:
    for number in range(1000):
        bare(tmp_path / f"run-{number:04}", "last" if number == 999 else "demo")
    runs = RunList(Root(tmp_path))
    began = time.process_time()
    first = runs.page()
    assert time.process_time() - began < 0.3  # 0.07 s alone on one core
    assert (first["total"], len(first["runs"]), first["pages"]) == (1000, PER_PAGE, 40)
    assert [each["name"] for each in runs.page(39, sort="name")["runs"]][-1] == "run-0999"
    assert runs.page(10_000)["number"] == 39
    assert [each["name"] for each in runs.page(query="LAST tiny")["runs"]] == ["run-0999"]


def test_what_a_run_is_doing(tmp_path: Path) -> None:
    folder = bare(tmp_path / "one")
    paths = RunPaths(folder)
    assert status_of(paths, {"stages": {}}).kind == "empty"
    begin(folder, "base")
    assert status_of(paths, {"stages": {}}).text == "stopped while measuring base"
    begin(folder, "train")
    stages = {"stages": {"base": "x"}}
    (folder / "metrics.jsonl").write_text(
        '{"step": 4, "epoch": 0.1, "loss": 1.0, "seconds": 40}\n{"step": 5, "lo'
    )
    held = lock(folder)
    try:
        now = status_of(paths, stages)
    finally:
        held.release()
    assert (now.kind, now.share, now.left) == ("running", 0.4, "60 s")
    assert status_of(paths, stages).text == "stopped while training"
    assert status_of(paths, {"stages": {"base": "x", "train": "y"}}).kind == "finished"


def test_answers_are_counted_while_a_model_is_measured(tmp_path: Path) -> None:
    folder = bare(tmp_path / "one")
    begin(folder, "base")
    (folder / "predictions").mkdir()
    (folder / "predictions" / "base.jsonl").write_text('{"set": "a"}\n' * 3)
    held = lock(folder)
    try:
        now = status_of(
            RunPaths(folder), {"stages": {}, "data": {"test": [{"label": "a", "n": 12}]}}
        )
    finally:
        held.release()
    assert (now.text, now.share) == ("measuring base, 3 of 12 answers", 0.25)


def test_a_lock_of_a_process_that_is_gone_means_stopped(tmp_path: Path) -> None:
    folder = bare(tmp_path / "one")
    begin(folder, "train")
    held = {"pid": 4_194_300, "host": os.uname().nodename}
    (folder / ".lock").write_text(json.dumps(held))
    assert status_of(RunPaths(folder), {"stages": {}}).kind == "stopped"


def test_curves_grow_with_the_file_and_a_repeated_step_has_the_later_value(tmp_path: Path) -> None:
    path, metrics = tmp_path / "metrics.jsonl", Metrics()
    assert metrics.points(path, "loss") == ()
    path.write_text('{"step": 1, "loss": 3.0}\n{"step": 2, "loss": 2.0}\n{"step": 3, "lo')
    assert metrics.points(path, "loss") == ((1, 3.0), (2, 2.0))
    with path.open("a") as file:
        file.write('ss": 1.0}\n{"step": 2, "loss": 2.5}\n')
    assert metrics.points(path, "loss") == ((1, 3.0), (2, 2.5), (3, 1.0))
    path.unlink()
    path.write_text('{"step": 1, "loss": 9.0}\n')
    assert metrics.points(path, "loss") == ((1, 9.0),)


def test_curves_of_several_runs_share_a_drawing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build(tmp_path / name, parts=("recipe", "manifest", "metrics"))
    with client(tmp_path) as page:
        found = page.get("/api/curves", params={"run": ["a", "b"]}).json()
    assert [chart["title"] for chart in found["charts"]][:2] == ["Training loss", "Validation loss"]
    assert [run["id"] for run in found["runs"]] == ["a", "b"]
    curves = [
        child[1]["class"]
        for child in found["charts"][0]["svg"][3]
        if child[1].get("class", "").startswith("curve")
    ]
    assert curves == ["curve run-1", "curve run-2"]


@pytest.mark.parametrize("name", ["with space", "100%", "a#b?c", "ümlaut", "<b>"])
def test_any_name_of_a_folder_is_reached(tmp_path: Path, name: str) -> None:
    bare(tmp_path / name)
    with client(tmp_path) as page:
        run = page.get("/api/runs").json()["runs"][0]
        assert page.get(f"/api/run?{urlencode({'run': run['id']})}").json()["name"] == name
        assert page.get(f"/run/{run['id']}").status_code == 200
