"""Results are bound to what made them: data, gold, weights, tokenizer, template and knobs."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from command_for_tests import jsonl, solved
from mathtune.cli.main import cli
from mathtune.errors import MathtuneError
from models_for_tests import saved_model
from tokenizers_for_tests import CHAT_TEMPLATE

CASES = Path(__file__).parent


class World:
    """A tiny model and two problem files, with a recipe over them, that a test may change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model, _ = saved_model(folder / "model", "llama")
        (self.model / "chat_template.jinja").write_text(CHAT_TEMPLATE)
        self.train = jsonl(folder / "train.jsonl", (solved(n) for n in range(1, 9)))
        self.test = jsonl(folder / "test.jsonl", (solved(n, "cups") for n in range(1, 4)))
        self.recipe = folder / "recipe.yaml"
        self.recipe.write_text(
            f"name: stale\nmodel: {{name_or_path: {self.model}, dtype: float32}}\n"
            f"data: {{train: {self.train}, test: {self.test}, contamination: report, "
            "validation_fraction: 0.3}\n"
            "train: {max_steps: 2, eval_strategy: steps, eval_steps: 2, max_length: 256, "
            "learning_rate: 1e-2}\n"
            "eval: {max_new_tokens: 2, perplexity: false}\n"
        )

    def call(self, command: str, run_dir: Path, *more: str) -> Result:
        given = {
            "eval": [str(self.model), "--data", str(self.test), "eval.perplexity=false"],
            "train": [str(self.recipe)],
            "run": [str(self.recipe)],
        }
        if command not in given:
            return call(command, str(run_dir), *more)
        arguments = [command, *given[command], *more, "--run-dir", str(run_dir), "--json"]
        if command == "eval" and "--max-new-tokens" not in more:
            arguments += ["--max-new-tokens", "2"]
        return call(*arguments)


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def refusal(result: Result) -> str:
    """Return the one sentence of a command that ends with exit code 2."""
    error = result.exception
    assert isinstance(error, MathtuneError), (result.output, error)
    assert error.exit_code == 2 and len(error.faults) == 1 and "\n" not in error.faults[0]
    return error.faults[0]


def accepted(result: Result) -> str:
    """Return what a command that succeeds has said."""
    if result.exception:
        raise result.exception
    return result.stderr


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def world(origin: World) -> Iterator[World]:
    """The world as it was made, whatever the test before has changed in it."""
    saved = origin.folder.with_name("saved")
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(origin.folder, saved)
    yield origin
    shutil.rmtree(origin.folder)
    saved.rename(origin.folder)


@pytest.fixture(scope="module")
def made(origin: World, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a finished folder of each command that makes one."""
    folders = {}
    for command in ("eval", "train", "run"):
        folders[command] = tmp_path_factory.mktemp(command) / "run"
        accepted(origin.call(command, folders[command]))
    return folders


@pytest.fixture
def copies(made: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    return {name: shutil.copytree(folder, tmp_path / name) for name, folder in made.items()}


# --- What is changed: a function of the world and of the command, which returns further arguments


def whole_file(world: World, command: str) -> list[str]:
    file = world.train if command == "train" else world.test
    jsonl(file, (solved(n, "hats") for n in range(20, 20 + len(file.open().readlines()))))
    return []


def one_row_more(world: World, command: str) -> list[str]:
    file = world.train if command == "train" else world.test
    file.write_text(file.read_text() + json.dumps(solved(30, "pots")) + "\n")
    return []


def one_gold(world: World, command: str) -> list[str]:
    file = world.train if command == "train" else world.test
    first, *rest = map(json.loads, file.read_text().splitlines())
    first["answer"] = first["answer"].replace("2.\n#### 2", "2.0.\n#### 2.0")
    assert "2.0" in first["answer"]
    jsonl(file, [first, *rest])
    return []


def weights(world: World, command: str) -> list[str]:
    """Put other weights at the same path, of the same size and time."""
    file = world.model / "model.safetensors"
    before = file.stat()
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["lm_head.weight"].flip(0).contiguous()
    save_file(tensors, file, metadata={"format": "pt"})
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    return []


def tokenizer(world: World, command: str) -> list[str]:
    file = world.model / "tokenizer.json"
    content = json.loads(file.read_text())
    content["normalizer"] = {"type": "NFC"}
    file.write_text(json.dumps(content))
    return []


def template(world: World, command: str) -> list[str]:
    file = world.model / "chat_template.jinja"
    file.write_text(file.read_text().replace("<|im_end|>", "<|im_end|> "))
    return []


def knob(world: World, command: str) -> list[str]:
    if command == "train":
        return ["train.learning_rate=1e-3"]
    return ["eval.max_new_tokens=3"] if command == "run" else ["--max-new-tokens", "3"]


Change = Callable[[World, str], list[str]]
CHANGES: dict[Change, str] = {
    whole_file: r"the {set} problems.* changed.* \(\d .*, first: '.*hats",
    one_row_more: r"the {set} problems.* changed since .* \(\d then, \d now, first: '.*30 pots",
    one_gold: r"the {set} problems.* changed since .* \(1 of \d differ, first: 'Ann has 1 ",
    weights: r"the weights of .*/model changed since .* \(model\.safetensors\)",
    tokenizer: r"the tokenizer of .*/model changed since",
    template: r"the chat template of .*/model changed since",
    knob: r"(eval\.max_new_tokens changed from 2 to 3|train\.learning_rate changed from 0\.01 to "
    r"0\.001) since",
}
SETS = {"eval": "test", "train": "(training|validation)", "run": "test"}
changes = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


def outputs(folder: Path) -> dict[str, bytes]:
    """Return what a run has come to, as the folder holds it."""
    found = [*folder.glob("predictions/*.jsonl"), *folder.glob("model/*.safetensors")]
    files = [*found, folder / "manifest.json", folder / "recipe.yaml", folder / "report.html"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@changes
@pytest.mark.parametrize("command", ["eval", "train"])
def test_changed_inputs_are_refused_by_name_and_redone_with_fresh(
    world: World, copies: dict[str, Path], command: str, change: Change
) -> None:
    folder = copies[command]
    before = outputs(folder)
    accepted(world.call(command, folder))
    assert outputs(folder) == before  # unchanged: taken over
    more = change(world, command)
    said = refusal(world.call(command, folder, *more))
    pattern = CHANGES[change].format(set=SETS[command])
    assert re.search(pattern, said), said
    redone = "train" if command == "train" else "base"
    assert said.endswith(f"; give --fresh to redo {redone}, or choose another --run-dir")
    assert outputs(folder) == before  # nothing was touched
    started = time.time_ns()
    told = accepted(world.call(command, folder, *more, "--fresh"))
    assert f"--fresh: {redone} will be redone (" in told and "is replaced" in told
    accepted(world.call(command, folder, *more))
    made_of = json.loads((folder / "inputs" / f"{redone}.json").read_text())
    if command == "train":
        assert (folder / "model/model.safetensors").stat().st_mtime_ns > started
        assert made_of["made"]
    elif change in (whole_file, one_row_more, one_gold, weights, knob):
        rows = (folder / "predictions" / "base.jsonl").read_bytes()
        assert rows != before["predictions/base.jsonl"]
        assert len(rows.splitlines()) == len(world.test.read_text().splitlines())


@changes
def test_a_run_its_report_and_its_comparison_refuse_what_changed(
    world: World, copies: dict[str, Path], change: Change
) -> None:
    folder = copies["run"]
    before = outputs(folder)
    for command in ("report", "compare", "run"):
        accepted(world.call(command, folder))
    assert outputs(folder) == before
    more = change(world, "run")
    pattern = CHANGES[change].format(set=SETS["run"])
    said = refusal(world.call("run", folder, *more))
    assert re.search(pattern, said), said
    if change is knob:  # neither takes knobs: they see what is in the folder
        recipe = folder / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("max_new_tokens: 2", "max_new_tokens: 3"))
    for command in ("report", "compare"):
        said = refusal(world.call(command, folder))
        assert re.search(pattern, said), said
        assert "give the command that made the run with --fresh to redo" in said
    files = [folder / "predictions" / f"{label}.jsonl" for label in ("base", "tuned")]
    refusal(call("compare", *map(str, files)))
    if change is knob:
        recipe.write_bytes(before["recipe.yaml"])
    assert outputs(folder) == before
    if change in (one_gold, weights, knob):  # the others: see the test before
        accepted(world.call("run", folder, *more, "--fresh"))
        for command in ("report", "compare"):
            accepted(world.call(command, folder))
        trained_again = (
            outputs(folder)["model/model.safetensors"] != before["model/model.safetensors"]
        )
        assert trained_again == (change is weights)  # only what is concerned


NAMES: dict[Change, str] = {
    one_row_more: "the test problems of",
    one_gold: "the test problems of",
    weights: "the weights of",
    tokenizer: "the tokenizer of",
    template: "the chat template of",
    knob: "eval.max_new_tokens changed from 2 to 3",
}


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(list(NAMES))))
def test_whatever_changes_together_is_named_in_one_sentence(
    origin: World, made: dict[str, Path], picked: set[Change]
) -> None:
    saved = origin.folder.with_name("before")
    shutil.rmtree(saved, ignore_errors=True)
    shutil.copytree(origin.folder, saved)
    before = outputs(made["eval"])
    try:
        more = [each for change in NAMES if change in picked for each in change(origin, "eval")]
        result = origin.call("eval", made["eval"], *more)
    finally:
        shutil.rmtree(origin.folder)
        saved.rename(origin.folder)
    said = refusal(result) if picked else accepted(result)
    for name in NAMES.values():
        assert (name in said) == any(NAMES[change] == name for change in picked), said
    assert outputs(made["eval"]) == before


# --- Unfinished stages ----------------------------------------------------------------------------


def test_a_partial_measurement_goes_on_only_with_what_it_began_with(
    world: World, copies: dict[str, Path]
) -> None:
    folder = copies["eval"]
    file = folder / "predictions" / "base.jsonl"
    whole = file.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[1][:40])  # as a kill leaves it
    (folder / "results.json").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "stages": {}}))
    weights(world, "eval")
    assert "the weights of" in refusal(world.call("eval", folder))
    assert file.read_bytes() == lines[0] + lines[1][:40]
    shutil.copy(world.folder.with_name("saved") / "model" / "model.safetensors", world.model)
    accepted(world.call("eval", folder))
    assert file.read_bytes() == whole


def test_an_interrupted_training_goes_on_only_with_what_it_began_with(
    world: World, copies: dict[str, Path]
) -> None:
    folder = copies["train"]
    shutil.rmtree(folder / "model")  # what is left is a checkpoint
    saved = sorted((folder / "checkpoints").iterdir())
    one_row_more(world, "train")
    assert re.search(r"the (training|validation) problems", refusal(world.call("train", folder)))
    assert sorted((folder / "checkpoints").iterdir()) == saved
    told = accepted(world.call("train", folder, "--fresh"))
    assert "continuing from" not in told and (folder / "model").is_dir()


def test_the_order_of_training_problems_counts(world: World, copies: dict[str, Path]) -> None:
    world.train.write_text("".join(reversed(world.train.read_text().splitlines(keepends=True))))
    assert "the order of the training problems changed" in refusal(
        world.call("train", copies["train"])
    )


def test_everything_that_changed_is_named_at_once(world: World, copies: dict[str, Path]) -> None:
    more = [part for each in (one_gold, weights, knob) for part in each(world, "run")]
    said = refusal(world.call("run", copies["run"], *more))
    for what in ("test problems", "weights of", "eval.max_new_tokens changed from 2 to 3"):
        assert what in said
    assert "since base was measured and tuned was measured" in said
    assert said.endswith("give --fresh to redo base, train and tuned, or choose another --run-dir")


def test_a_stage_that_the_command_does_not_do_is_not_redone_by_it(
    world: World, copies: dict[str, Path]
) -> None:
    one_gold(world, "run")
    before = outputs(copies["run"])
    said = refusal(world.call("train", copies["run"], "--fresh"))
    assert "redo base and tuned with mathtune run --fresh" in said
    assert outputs(copies["run"]) == before


def test_fresh_over_unchanged_inputs_redoes_nothing(world: World, copies: dict[str, Path]) -> None:
    before = outputs(copies["run"])
    assert "so nothing is redone" in accepted(world.call("run", copies["run"], "--fresh"))
    assert outputs(copies["run"]) == before


def test_other_solved_examples_are_named(world: World, tmp_path: Path) -> None:
    shots = jsonl(world.folder / "shots.jsonl", [solved(40, "keys"), solved(41, "keys")])
    asked = ["--shots", "1", f"data.train={shots}", "data.contamination=report"]
    accepted(world.call("eval", tmp_path / "run", *asked))
    accepted(world.call("report", tmp_path / "run"))
    jsonl(shots, [solved(42, "keys"), solved(43, "keys")])
    for command, more in (("eval", asked), ("report", [])):
        said = refusal(world.call(command, tmp_path / "run", *more))
        assert "the solved examples in the prompts changed since base was measured; give" in said


# --- Outputs that are not of the run --------------------------------------------------------------


def test_a_model_put_in_place_of_the_trained_one_is_found(
    world: World, copies: dict[str, Path]
) -> None:
    shutil.copy(world.model / "model.safetensors", copies["run"] / "model" / "model.safetensors")
    for command in ("run", "report", "compare"):
        said = refusal(world.call(command, copies["run"]))
        assert "its weights are not those that training wrote" in said
        assert f"the weights of {copies['run']}/model changed since tuned was measured" in said


def test_predictions_of_other_problems_or_verdicts_are_found(
    world: World, copies: dict[str, Path]
) -> None:
    file = copies["run"] / "predictions" / "base.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    jsonl(file, [{**rows[0], "gold": "7"}, *rows[1:]])
    for command in ("run", "report", "compare"):
        said = refusal(world.call(command, copies["run"]))
        assert (
            "base.jsonl changed since base was measured (1 of its 3 rows answer different" in said
        )
    jsonl(file, [{**rows[0], "correct": True, "outcome": "correct"}, *rows[1:]])
    for command in ("run", "report", "compare"):
        assert "right in it, 0 in results.json" in refusal(world.call(command, copies["run"]))
    jsonl(file, [{**rows[0], "correct": True}, *rows[1:]])  # contradicts its own outcome
    for command in ("run", "report", "compare"):
        assert "has correct=true, which contradicts" in refusal(world.call(command, copies["run"]))


def test_predictions_of_another_run_are_found(world: World, copies: dict[str, Path]) -> None:
    knob(world, "run")
    other = copies["run"].with_name("other")
    accepted(world.call("eval", other, "--max-new-tokens", "3"))
    for name in ("base.jsonl", "base.jsonl.inputs.json"):
        shutil.copy(other / "predictions" / name, copies["eval"] / "predictions" / name)
    said = refusal(world.call("eval", copies["eval"]))
    assert (
        "predictions/base.jsonl changed since base was measured (it was made with different knobs"
        in said
    )


def test_files_that_were_copied_elsewhere_are_held_against_what_lies_beside_them(
    world: World, copies: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere"
    shutil.copytree(copies["run"] / "predictions", folder)
    files = [str(folder / f"{label}.jsonl") for label in ("base", "tuned")]
    accepted(call("compare", *files))
    for file in files:
        rows = [json.loads(line) for line in Path(file).read_text().splitlines()]
        jsonl(Path(file), [{**rows[0], "gold": "7"}, *rows[1:]])
    said = refusal(call("compare", *files))
    assert "are not those that base.jsonl.inputs.json names" in said


@pytest.mark.parametrize("short", ["manifest", "side"])
@pytest.mark.parametrize("damage", [None, "", "{", "{}"])
def test_a_lost_or_damaged_record_does_not_hide_a_change(
    world: World, copies: dict[str, Path], damage: str | None, short: str
) -> None:
    folder = copies["eval"]
    record = folder / "inputs" / "base.json"
    if short == "side":
        manifest = json.loads((folder / "manifest.json").read_text())
        del manifest["inputs"]
        (folder / "manifest.json").write_text(json.dumps(manifest))
    record.unlink()
    if damage is None:  # the short form still says that nothing changed
        assert "earlier version" not in accepted(world.call("eval", folder))
    else:
        record.write_text(damage)
    one_gold(world, "eval")
    said = refusal(world.call("eval", folder))
    what = "the problems changed" if damage is None else f"{record} is damaged"
    assert what in said and "give --fresh to redo base" in said and "delete" not in said
    assert "base will be redone" in accepted(world.call("eval", folder, "--fresh"))
    assert "earlier version" not in accepted(world.call("eval", folder))


def first_row(content: bytes) -> bytes:
    return content.splitlines(keepends=True)[0]


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (first_row, "1 row in it, "),
        (lambda content: content[:-30], " rows in it, "),
        (lambda content: content * 2, " rows in it, "),
        (lambda content: bytes(len(content)), "0 rows in it, "),
        (lambda content: b"", "0 rows in it, "),
        (lambda content: b"{\n" + content, "base.jsonl:1 is not JSON"),
    ],
)
def test_a_finished_file_with_more_or_fewer_rows_is_found(
    world: World,
    copies: dict[str, Path],
    samples: int,
    damage: Callable[[bytes], bytes],
    found: str,
) -> None:
    folder, more = copies["eval"], []
    if samples > 1:
        folder = folder.with_name("sampled")
        more = [f"eval.samples={samples}", "eval.temperature=0.5"]
        accepted(world.call("eval", folder, *more))
    file = folder / "predictions" / "base.jsonl"
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    for command, options in (("eval", more), ("report", [])):
        said = refusal(world.call(command, folder, *options))
        assert "predictions/base.jsonl changed since base was measured (" in said
        assert found in said and (found.endswith("JSON") or f"{3 * samples} in results" in said)
    accepted(world.call("eval", folder, *more, "--fresh"))
    assert file.read_bytes() == whole


# --- Graders, earlier versions, inputs that are gone ----------------------------------------------


def test_another_grader_grades_the_saved_answers_again(
    world: World, copies: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = copies["eval"] / "predictions" / "base.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    jsonl(
        file, [{**row, "completion": f"#### {row['gold']}", "stop_reason": "eos"} for row in rows]
    )
    monkeypatch.setattr("mathtune.binding.stage_inputs.GRADER_VERSION", "of tomorrow")
    said = refusal(world.call("eval", copies["eval"]))
    assert re.search("the grader changed from version .+ to of tomorrow since base was", said)
    result = world.call("eval", copies["eval"], "--fresh")
    accepted(result)
    assert json.loads(result.stdout.splitlines()[-1])["base.exact_match"] == 1.0  # answers kept


def test_a_folder_of_an_earlier_version_is_taken_over_with_a_warning(
    world: World, copies: dict[str, Path]
) -> None:
    folder = copies["run"]
    shutil.rmtree(folder / "inputs")
    for side in folder.glob("predictions/*.inputs.json"):
        side.unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["inputs"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = outputs(folder)
    one_gold(world, "run")
    told = accepted(world.call("report", folder))
    assert "the measurement of base was begun by an earlier version and cannot be checked" in told
    (folder / "report.html").write_bytes(before["report.html"])
    told = accepted(world.call("run", folder))
    assert "training was begun by an earlier version and cannot be checked against its" in told
    assert outputs(folder)["predictions/base.jsonl"] == before["predictions/base.jsonl"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["unchecked"] == ["base", "train", "tuned"]
    said = refusal(world.call("run", folder, "seed=7"))
    assert "seed changed from 42 to 7 since the run folder was made" in said
    accepted(world.call("run", folder, "--fresh"))
    assert "1 of" not in accepted(world.call("report", folder))
    assert json.loads((folder / "manifest.json").read_text())["unchecked"] == []


def test_a_run_whose_inputs_are_gone_is_still_reported(
    world: World, copies: dict[str, Path]
) -> None:
    shutil.rmtree(world.model)
    world.test.unlink()
    (copies["run"] / "model" / "model.safetensors").unlink()
    told = accepted(world.call("report", copies["run"]))
    assert "not checked against their problems: they are not on this machine" in told
    accepted(world.call("compare", copies["run"]))


def test_the_given_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(CASES / "stale-before.jsonl", "te.jsonl")
    command = ["eval", "tiny-base", "--data", "te.jsonl", "--run-dir", "v", "--max-new-tokens", "1"]
    command += ["eval.perplexity=false", "eval.example=One?", "--json"]
    accepted(call(*command))
    before = outputs(tmp_path / "v")
    lines = Path("te.jsonl").read_text().splitlines(keepends=True)
    Path("te.jsonl").write_text("".join(lines).replace("#### 8", "#### 9").replace("8>>8", "9>>9"))
    said = refusal(call(*command))
    assert "the test problems of te.jsonl changed since base was measured (1 of 12 differ" in said
    shutil.copy(CASES / "stale-after.jsonl", "te.jsonl")
    refusal(call(*command))
    assert outputs(tmp_path / "v") == before
