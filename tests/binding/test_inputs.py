"""Fingerprints: the same for the same content anywhere, others for any change, each by its name."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mathtune import config
from mathtune.binding import file_hashes
from mathtune.binding.file_hashes import FileHashes
from mathtune.binding.fingerprints import model_inputs
from mathtune.binding.inputs import Inputs, differences
from mathtune.binding.stage_inputs import CurrentInputs
from mathtune.config.schema import Recipe
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.runs import Run

PROBLEMS = tuple(
    Problem(f"id{n}", f"{n} and {n}?", f"It is {2 * n}.", str(2 * n)) for n in range(6)
)
RECIPE = {"name": "x", "model": "m", "data": {"train": "a.jsonl", "test": "b.jsonl"}}


def hashes(folder: Path) -> FileHashes:
    return FileHashes(folder / "hashes.json")


def write_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    for name, content in (
        ("config.json", {"hidden_size": 8, "transformers_version": "1"}),
        ("tokenizer.json", {"model": {"vocab": {"a": 0}}}),
        ("tokenizer_config.json", {"eos_token": "</s>", "chat_template": "{{ messages }}"}),
    ):
        (folder / name).write_text(json.dumps(content))
    return folder


class State:
    """Everything that a stage depends on, to be changed piece by piece."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = write_model(folder / "model")
        self.test, self.train, self.validation = PROBLEMS[:3], PROBLEMS[3:5], PROBLEMS[5:]
        self.shots: tuple[Problem, ...] = PROBLEMS[3:4]
        self.raw: dict = {
            **RECIPE,
            "model": {"name_or_path": str(self.model)},
            "eval": {},
            "train": {},
            "prompt": {"shots": 1},
        }

    def recipe(self) -> Recipe:
        return config.parse(self.raw)

    def of(self, stage: str) -> Inputs:
        splits = Splits(
            ProblemSet("train", self.train),
            ProblemSet("validation", self.validation),
            (ProblemSet("set", self.test),),
        )
        current = CurrentInputs(
            Run(self.folder / "run"), self.recipe(), splits, self.shots, hashes(self.folder)
        )
        return Inputs.from_json(json.loads(json.dumps(current.of(stage).to_json())))

    def edit(self, name: str, **values: object) -> None:
        content = json.loads((self.model / name).read_text())
        (self.model / name).write_text(json.dumps({**content, **values}))


def _weights(s: State) -> None:
    (s.model / "model.safetensors").write_bytes(b"weightz")


def change(of: str, index: int, field: str) -> Callable[[State], None]:
    """Return what changes one field of a problem."""

    def edit(state: State) -> None:
        problems = list(getattr(state, of))
        problems[index] = replace(problems[index], **{field: "another"})
        setattr(state, of, tuple(problems))

    return edit


def turn(of: str) -> Callable[[State], None]:
    """Return what turns the order of a set round."""
    return lambda state: setattr(state, of, getattr(state, of)[::-1])


def knob(section: str, name: str, value: object) -> Callable[[State], None]:
    """Return what sets a knob."""
    return lambda state: state.raw[section].update({name: value})


EDITS: dict[str, tuple[Callable[[State], object], str, str]] = {
    # what is done, what is named of a measurement, and of a training
    "question": (change("test", 0, "question"), "problems", ""),
    "gold": (change("test", 2, "gold"), "problems", ""),
    "type": (change("test", 2, "type"), "problems", ""),
    "new": (lambda s: setattr(s, "test", (*s.test, PROBLEMS[5])), "problems", ""),
    "test order": (turn("test"), "", ""),
    "source": (change("train", 1, "source"), "", ""),
    "solution": (change("train", 0, "answer"), "", "problems"),
    "train order": (turn("train"), "", "problems"),
    "validation": (change("validation", 0, "question"), "", "problems"),
    "shots": (lambda s: setattr(s, "shots", PROBLEMS[4:5]), "shots", ""),
    "weights": (_weights, "weights", "weights"),
    "config": (lambda s: s.edit("config.json", hidden=9), "configuration", "configuration"),
    "version": (lambda s: s.edit("config.json", transformers_version="2"), "", ""),
    "tokenizer": (lambda s: s.edit("tokenizer.json", model={}), "tokenizer", "tokenizer"),
    "template": (
        lambda s: s.edit("tokenizer_config.json", chat_template="{{ other }}"),
        "template",
        "template",
    ),
    "new tokens": (knob("eval", "max_new_tokens", 9), "eval.max_new_tokens", ""),
    "style": (knob("prompt", "style", "cot"), "prompt.style", "prompt.style"),
    "rate": (knob("train", "learning_rate", 0.5), "", "train.learning_rate"),
    "adapter": (lambda s: s.raw.update(adapter={"r": 2}), "", "adapter"),
    "harmless": (knob("train", "micro_batch_tokens", 9), "", ""),
    "rows": (knob("eval", "batch_size", 3), "", ""),
}


@settings(max_examples=40, deadline=None)
@given(st.sets(st.sampled_from(sorted(EDITS))))
def test_any_changes_are_found_and_no_others(edits: set[str]) -> None:
    """Whatever is changed together, just that is named, for each stage."""
    with tempfile.TemporaryDirectory() as name:
        state = State(Path(name))
        before = {stage: state.of(stage) for stage in ("base", "train")}
        assert not any(differences(then, state.of(stage)) for stage, then in before.items())
        for edit in sorted(edits):
            EDITS[edit][0](state)
        for index, (stage, then) in enumerate(before.items(), 1):
            found = {each.key for each in differences(then, state.of(stage))}
            assert found == {EDITS[edit][index] for edit in edits} - {""}


def test_a_model_that_moved_is_the_same(tmp_path: Path) -> None:
    one = write_model(tmp_path / "one")
    two = shutil.copytree(one, tmp_path / "two")
    first, second = (model_inputs(str(each), None, hashes(tmp_path)) for each in (one, two))
    assert replace(first, model="") == replace(second, model="")
    gone = model_inputs(str(tmp_path / "three"), None, hashes(tmp_path))
    assert differences(first, gone) == []  # what is not here is not compared


def test_an_adapter_stands_on_its_base(tmp_path: Path) -> None:
    base, adapter = write_model(tmp_path / "base"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"adapter")
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(base), "r": 2})
    )
    then = model_inputs(str(adapter), None, hashes(tmp_path))
    assert then.tokenizer and then.template  # the base's
    (base / "model.safetensors").write_bytes(b"others!")
    (found,) = differences(then, model_inputs(str(adapter), None, hashes(tmp_path)))
    assert (found.key, found.detail) == ("weights", "base/model.safetensors")
    shutil.rmtree(base)
    assert differences(then, model_inputs(str(adapter), None, hashes(tmp_path))) == []


def test_a_missing_shard_is_unknown_and_a_sharded_model_is_its_shards(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    (model / "1.safetensors").write_bytes(b"1")
    assert model_inputs(str(model), None, hashes(tmp_path)).weights == {}
    (model / "2.safetensors").write_bytes(b"2")
    found = model_inputs(str(model), None, hashes(tmp_path)).weights
    assert sorted(found) == ["1.safetensors", "2.safetensors"]


def test_a_large_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, cache = tmp_path / "weights", tmp_path / "inputs" / "hashes.json"
    file.write_bytes(b"one")
    FileHashes(cache)(file)
    assert not cache.exists()  # a second change in the same tick of the clock would not show
    monkeypatch.setattr(file_hashes, "_SETTLED_SECONDS", -1.0)
    real = FileHashes(cache)(file)
    known = json.loads(cache.read_text())
    known[str(file)]["sha256"] = "remembered"
    cache.write_text(json.dumps(known))
    assert FileHashes(cache)(file) == "remembered"
    before = file.stat()
    file.write_bytes(b"two")  # as long as the other, and as old
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed = FileHashes(cache)(file)
    assert changed not in ("remembered", real)
    cache.write_text("[]")
    assert FileHashes(cache)(file) == changed


def test_a_file_in_the_hubs_cache_has_its_hash_for_a_name(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"not read")
    (tmp_path / "model.safetensors").symlink_to(blob)
    assert hashes(tmp_path)(tmp_path / "model.safetensors") == "ab" * 32
