from __future__ import annotations

import json

import pytest
from report_run_folder import build

from mathtune.errors import RunError
from mathtune.report import read


def test_a_whole_folder_lacks_nothing(tmp_path):
    run = read(build(tmp_path / "demo"))
    assert run.notes == ()
    assert run.recipe["name"] == "demo"
    assert [len(run.answers[model]) for model in ("base", "tuned")] == [640, 640]  # 2*(200+60+60)
    assert run.answers["base"][0]["set"] == "new types"  # the headline's file comes first
    assert len(run.training) == 60 and len(run.validation) == 6  # 300 / 5 and 300 / 50


@pytest.mark.parametrize(
    ("parts", "missing"),
    [
        (("recipe", "manifest", "metrics"), ["There is no results.json", "no predictions"]),
        (("recipe", "manifest", "base"), ["no metrics.jsonl", "The tuned model has not been"]),
        (("base", "tuned"), ["no recipe.yaml", "no manifest.json", "no metrics.jsonl"]),
    ],
)
def test_what_is_missing_is_said(tmp_path, parts, missing):
    notes = read(build(tmp_path, parts=parts)).notes
    assert len(notes) == len(missing)
    for text in missing:
        assert any(text in note for note in notes), notes


@pytest.mark.parametrize("section", ["model", "train", "eval"])
def test_a_section_of_another_type_is_one_sentence(section, tmp_path):
    (build(tmp_path, parts=("manifest",)) / "recipe.yaml").write_text(f"name: x\n{section}: [1]\n")
    with pytest.raises(RunError, match=f"recipe.yaml: {section} must hold a mapping, not list"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("file", "values", "words"),
    [
        ("manifest.json", {"training": "x"}, "training must hold a mapping, not str"),
        ("results.json", {"evaluations": "x"}, "evaluations must hold a list"),
        ("results.json", {"comparisons": [1]}, "comparisons must hold mappings"),
        ("results.json", {"example": {"answers": {"a": 1}}}, "example.answers must hold a list"),
        ("results.json", {"example": [1]}, "example must hold a mapping, not list"),
    ],
)
def test_values_of_another_type_are_one_sentence(file, values, words, tmp_path):
    (build(tmp_path, parts=("recipe",)) / file).write_text(json.dumps(values))
    with pytest.raises(RunError, match=f"{file}: {words}"):
        read(tmp_path)


def test_a_torn_line_is_left_out_and_noted(tmp_path):
    build(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 305, "lo')
    (tmp_path / "predictions" / "base.jsonl").write_text('{"sample": 0}\n[1, 2]\n')
    run = read(tmp_path)
    assert len(run.training) == 60
    assert any("metrics.jsonl has 1 line that is not valid JSON" in note for note in run.notes)
    assert any("base.jsonl has 1 line" in note for note in run.notes)
    assert any("have 1 row without a problem_id" in note for note in run.notes)


def test_of_a_step_logged_twice_the_later_line_counts(tmp_path):
    lines = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}, {"step": 10, "loss": 2.5}]
    (tmp_path / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert [(line["step"], line["loss"]) for line in read(tmp_path).training] == [
        (10, 2.5),
        (20, 2.0),
    ]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"holds no recipe\.yaml"):
        read(tmp_path)
    with pytest.raises(RunError, match="is not a folder"):
        read(tmp_path / "absent")


def test_a_broken_file_is_named(tmp_path):
    build(tmp_path)
    (tmp_path / "results.json").write_text("{")
    with pytest.raises(RunError, match=r"results\.json is not valid JSON"):
        read(tmp_path)
    (tmp_path / "results.json").write_text("[]")
    with pytest.raises(RunError, match="must hold a mapping, not list"):
        read(tmp_path)


def test_keys_typed_into_a_command_are_blanked(tmp_path):
    build(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    token = "hf_" + "AbCd1234" * 4
    manifest["command"] = (
        f"HF_TOKEN={token} mathtune eval --api-key topsecretvalue --max-new-tokens 160 "
        "eval.max_new_tokens=160 model=https://me:pass@host/x"
    )
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    recipe = {"name": "demo", "tracking": {"api_key": "topsecretvalue"}, "seed": 42}
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    run = read(tmp_path)
    assert run.manifest["command"] == (
        "HF_TOKEN=*** mathtune eval --api-key *** --max-new-tokens 160 "
        "eval.max_new_tokens=160 model=https://***@host/x"
    )
    assert run.recipe == {**recipe, "tracking": {"api_key": "***"}}
