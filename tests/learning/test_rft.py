"""Rejection-sampling fine-tuning: rounds of sample, select, train, resumed where they stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from log_for_tests import logged
from mathtune import config, pipeline, stages
from mathtune.errors import ConfigError, DataError
from mathtune.learning.rft import RoundFiles
from mathtune.run_paths import RunPaths

SOURCE = "{generated: problems, types: [equal_groups], n: 16, seed: 5}"
SMALL = [
    f"data.train=[{SOURCE}]",
    "data.validation=[{generated: problems, types: [equal_groups], n: 4, seed: 9}]",
    "data.test=[{label: new, sources: [{generated: problems, types: [equal_groups], part: test,"
    " n: 4}]}]",
    "rft.samples=3", "model.dtype=float32", "train.max_steps=2", "train.warmup_steps=0",
    "eval.max_new_tokens=90", "eval.other_calculator=false", "train.exact_match_samples=4",
]  # fmt: skip


def files_of(run: Path) -> dict[str, tuple[int, bytes]]:
    """Return the content of what the rounds wrote, and when; a selection is made at each start."""
    names = ("base.jsonl", "selected.jsonl", "model/model.safetensors")
    found = [path for name in names for path in (run / "rounds").rglob(name)]
    return {
        str(path): (
            0 if path.name == "selected.jsonl" else path.stat().st_mtime_ns,
            path.read_bytes(),
        )
        for path in found
    }


def samples_of(rounds: RoundFiles, number: int) -> list[str]:
    return (rounds.samples(number) / "predictions/base.jsonl").read_text("utf-8").splitlines()


def test_rounds_train_the_base_on_what_was_selected_and_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe = tmp_path / "run", config.load("rft-demo", SMALL)
    sample, asked = pipeline._sample, list[str]()

    def interrupted(recipe: Any, folder: Path, fresh: bool) -> None:
        asked.append(recipe.model.name_or_path)
        if len(asked) == 2:
            raise KeyboardInterrupt
        sample(recipe, folder, fresh)

    monkeypatch.setattr(pipeline, "_sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run(recipe, run)
    monkeypatch.undo()
    rounds = RoundFiles(RunPaths(run))
    assert asked == ["tiny-base", str(RunPaths(rounds.trained(1)).model)]
    before = files_of(run)
    assert len(before) == 3  # samples, selection and weights of round 1

    with logged() as said:
        figures = pipeline.run(recipe, run)
    after = files_of(run)
    assert {name: after[name] for name in before} == before, "round 1 was done again"
    assert len(after) == 5  # and the samples and the selection of round 2
    assert {"base", "tuned", "difference"} <= figures.keys()
    assert "round 2 of 2: sampling" in said.getvalue()

    manifest = json.loads((run / "manifest.json").read_text())
    one, two = manifest["rft"]
    assert (one["samples"], two["samples"]) == (48, 96)  # all rounds so far
    assert two["kept"] >= one["kept"] > 0 and one["gold"] == 0
    assert all(sum(each["solved"].values()) == 16 for each in (one, two))  # each round's own
    assert 48 * one["pass_rate"]["value"] == pytest.approx(
        sum(row["correct"] for row in map(json.loads, samples_of(rounds, 1)))
    )
    selected = [json.loads(line) for line in rounds.selected(2).open()]
    assert len(selected) == two["kept"] + two["gold"] == manifest["data"]["train"]["n"]
    seeds = {
        row["decoding"]["seed"]
        for number in (1, 2)
        for row in map(json.loads, samples_of(rounds, number))
    }
    assert len(seeds) == 2
    inner = config.load(str(RunPaths(rounds.trained(1)).recipe))
    assert inner.model == recipe.model  # the base, not the last round's model
    page = (run / "report.html").read_text()
    assert "Own answers, round 2" in page and "selected.jsonl" in page
    solved = " · ".join(str(two["solved"][name]) for name in ("never", "sometimes", "always"))
    assert "Rounds of own answers" in page and solved in page

    stages.verify(run)  # compares with the selection, not with the published solutions
    with logged() as said:
        assert pipeline.run(recipe, run) == figures
    assert files_of(run) == after


def test_questions_of_a_published_test_set_are_never_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They could not be learned from; where nothing else is left, that is said before sampling."""
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    rows = [
        json.dumps({"question": f"Ann has {n} pens and buys 2. How many has she?",
                    "answer": f"{n}+2=<<{n}+2={n + 2}>>{n + 2}\n#### {n + 2}"})
        for n in range(10, 20)
    ]  # fmt: skip
    (tmp_path / "data" / "gsm8k" / "test.jsonl").write_text("\n".join(rows[:9]))
    monkeypatch.setenv("MATHTUNE_DATA_DIR", str(tmp_path / "data"))

    def none_sampled(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "_sample", none_sampled)
    mine = tmp_path / "mine.jsonl"
    recipe = config.load("rft-demo", [*SMALL[1:], f"data.train={mine}"])
    mine.write_text("\n".join(rows[:9]))
    with pytest.raises(DataError, match="all 9 training problems are questions of the gsm8k test "):
        pipeline.train(recipe, tmp_path / "none")
    mine.write_text("\n".join(rows))
    with logged() as said, pytest.raises(KeyboardInterrupt):
        pipeline.train(recipe, tmp_path / "run10")
    assert "9 training problems are of the gsm8k test set and not sampled" in said.getvalue()
    written = RoundFiles(RunPaths(tmp_path / "run10")).training.read_text()
    assert "Ann has 19 pens" in written and "Ann has 18 pens" not in written


def test_a_band_that_no_pass_rate_can_be_in_is_refused() -> None:
    band = ["select.min_pass_rate=0.4", "select.max_pass_rate=0.6"]
    with pytest.raises(ConfigError, match=r"rft\.samples=3: no number of right answers among 3 "):
        config.load("rft-demo", [*band, "rft.samples=3"])
    config.load("rft-demo", [*band, "rft.samples=5"])  # two of five


def test_random_weights_have_no_right_answers() -> None:
    with pytest.raises(ConfigError, match=r"rft\.rounds=1 with model\.from_config"):
        config.load("tiny-base", ["rft.rounds=1"])
