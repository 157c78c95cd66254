"""``mathtune export``: each target from a run, and everything that can be in its way."""

from __future__ import annotations

import importlib
import json
import shlex
import shutil
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tiny_exports import saved

import mathtune as mt
from command_for_tests import faults_of, mathtune, start, wait_for
from log_for_tests import logged
from mathtune.cli.commands.export import TARGETS, TYPES, command
from mathtune.errors import DiskError, ModelError, RunError
from mathtune.exporting import ollama, runtime, source, targets
from mathtune.exporting.gguf_format import weight_types
from mathtune.locks import lock
from mathtune.models.loading import load_tokenizer
from mathtune.prompts import Renderer

needs_runtime = pytest.mark.skipif(
    not runtime.is_installed(), reason="xllamacpp is not installed: pip install 'mathtune[export]'"
)


def export(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments, catch_exceptions=False)


@needs_runtime
def test_a_run_with_an_adapter_becomes_a_gguf_file(run: Path, tmp_path: Path) -> None:
    file = tmp_path / "out" / "tiny.gguf"
    done = export(str(run), "--to", "gguf", "--output", str(file), "--json")
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["path"] == str(file) and figures["bytes"] == file.stat().st_size
    assert figures["check"]["problems"] == 20  # more than the run measured
    assert figures["check"]["largest_gap"] <= 0.05
    assert [path.name for path in file.parent.iterdir()] == ["tiny.gguf"]
    with pytest.raises(DiskError, match=r"tiny.gguf exists; choose another --output, or give --ov"):
        mt.export(run, "gguf", output=file)
    found = mt.export(run, "gguf", output=file, overwrite=True, type="q8_0", limit=2)
    assert found.figures["check"]["problems"] == 2 and found.figures["type"] == "q8_0"
    assert "2 greedy answers of 20 tokens in llama.cpp are the model's" in str(found)


def test_without_the_runtime_the_name_says_that_nothing_was_checked(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "PACKAGE", "a_package_that_is_not_there")
    with logged() as said:
        export(str(run), "--to", "gguf", "--output", str(tmp_path / "tiny.gguf"), "--limit", "2")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.unverified.gguf"]
    assert "nothing has checked that this file answers as the model does" in said.getvalue()
    assert "pip install 'mathtune[export]'" in said.getvalue()


@needs_runtime
def test_a_folder_for_ollama_prompts_as_in_training(run: Path, tmp_path: Path) -> None:
    export(str(run), "--to", "ollama", "--output", str(tmp_path / "o"), "--type", "f32")
    name = f"{source.find(run).name}-f32.gguf"
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["Modelfile", name]
    text = (tmp_path / "o" / "Modelfile").read_text()
    assert f"FROM ./{name}\n" in text
    assert 'TEMPLATE """Question: {{ .Prompt }}\nAnswer:{{ .Response }}\n\n"""' in text
    assert 'PARAMETER stop """Question:"""' in text
    for line in ("temperature 0", "repeat_penalty 1", "num_predict 8"):
        assert f"PARAMETER {line}\n" in text


@pytest.mark.parametrize(
    ("style", "system"), [("cot", None), ("instruct", None), ("orca", None), ("chat", None),
                          ("chat", "Show {{ your }} work.")]
)  # fmt: skip
def test_every_style_has_a_template(style: str, system: str | None, run: Path) -> None:
    found = source.find(run)
    tokenizer = load_tokenizer(str(found.folder))
    recipe = source.recipe_for(found, [f"prompt.system={system}"] if system else [], limit=1,
                               style=style)  # fmt: skip
    text = ollama.modelfile(recipe, tokenizer, "x.gguf")
    template = text.partition('TEMPLATE """')[2].partition('"""')[0]
    question = "Ann has 3 pens. How many?"
    prompt, _, rest = template.partition("{{ .Response }}")
    shown = prompt.replace("{{ .System }}", system or "").replace('{{ "{{" }}', "{{")
    ours = Renderer(tokenizer, style, system=system).prompt(question)
    assert "<s>" + shown.replace("{{ .Prompt }}", question) == tokenizer.decode(ours.ids)
    assert rest.startswith("<|im_end|>" if style == "chat" else "\n\n")
    assert ('SYSTEM """Show {{ your }} work."""\n' in text) == (system is not None)


def test_an_adapter_goes_with_its_card(run: Path, tmp_path: Path) -> None:
    with logged() as said:
        done = export(str(run), "--to", "adapter", "--output", str(tmp_path / "a"))
    assert "an adapter of" in done.stdout
    there = {path.name for path in (tmp_path / "a").iterdir()}
    assert there >= {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json",
                      "report.html"}  # fmt: skip
    card = (tmp_path / "a" / "README.md").read_text()
    assert card.startswith("---\n") and "model-index:" in card and "exact_match" in card
    assert "names its base by a path on this machine" in said.getvalue()
    mt.chat(str(tmp_path / "a")).ask("What is 1 + 1?")


def test_fifty_of_fifty_answers_of_a_merged_model_are_the_adapters(
    run: Path, tmp_path: Path
) -> None:
    found = mt.export(
        run, "merged", ["data.test=[{generated: problems, n: 50}]"], output=tmp_path / "m"
    )
    assert found.figures["check"]["problems"] == found.figures["check"]["same_answers"] == 50
    assert (tmp_path / "m" / "model.safetensors").is_file()
    with pytest.raises(ModelError, match="is already a full model; use it as it is"):
        mt.export(tmp_path / "m", "merged")
    with pytest.raises(ModelError, match="is a full model, not an adapter"):
        mt.export(tmp_path / "m", "adapter")


def test_the_page_shows_commands_that_there_are() -> None:
    page = Path(__file__).parents[2] / "docs" / "export.md"
    lines = page.read_text("utf-8").replace("\\\n", " ").splitlines()
    shown = [shlex.split(line, comments=True) for line in lines if line.startswith("mathtune ")]
    assert {words[words.index("--to") + 1] for words in shown if "--to" in words} == set(TARGETS)
    for _, name, *arguments in shown:
        module = importlib.import_module(f"mathtune.cli.commands.{name}")
        module.command.make_context(name, arguments)  # parses, runs nothing


def test_wrong_use_is_told_in_a_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    shutil.copy(run / "recipe.yaml", tmp_path / "run")
    for arguments, words in {
        ("run", "--to", "ggfu"): "--to ggfu does not exist; did you mean 'gguf'? Known: merged",
        ("run", "--to", "gguf", "--type", "q3_k_m"): "type q3_k_m is written by llama.cpp alone",
        ("run", "--to", "gguf", "--type", "int3"): "type 'int3' does not exist; give one of f16",
        ("run", "--to", "hub"): "--to hub needs --repo OWNER/NAME",
        ("run", "--to", "gguf", "--repo", "a/b"): "--repo is for --to hub, not for --to gguf",
        ("rum", "--to", "gguf"): "rum does not exist; did you mean 'run'?",
        ("run", "--to", "gguf"): "run folder run has no model/ yet; finish its training first",
        ("empty", "--to", "gguf"): "model folder 'empty' holds no config.json and no *.safetensors",
    }.items():
        (fault,) = faults_of(mathtune("export", *arguments, cwd=tmp_path))
        assert fault.startswith(words), fault
    assert (TARGETS, TYPES) == (targets.TARGETS, weight_types.TYPES)


def test_a_run_that_is_in_use_or_not_finished_is_not_exported(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    held = lock(tmp_path / "run")
    try:
        with pytest.raises(RunError, match="is in use by another mathtune process"):
            mt.export(tmp_path / "run", "adapter")
    finally:
        held.release()
    manifest = tmp_path / "run" / "manifest.json"
    stages = json.loads(manifest.read_text())
    del stages["stages"]["train"]
    manifest.write_text(json.dumps(stages))
    with pytest.raises(ModelError, match=r"training in run folder .* is not finished"):
        mt.export(tmp_path / "run", "adapter")
    mt.export(tmp_path / "run" / "model", "adapter", output=tmp_path / "out")


def test_only_earlier_exports_are_replaced(run: Path, tmp_path: Path) -> None:
    mt.export(run, "adapter", output=tmp_path / "a")
    (tmp_path / "a" / "more.txt").write_text("old")
    mt.export(run, "adapter", output=tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a" / "more.txt").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("mine")
    (tmp_path / "notes.gguf").write_text("mine")
    for to, output in {"adapter": tmp_path / "thesis", "gguf": tmp_path / "notes.gguf",
                       "ollama": run}.items():  # fmt: skip
        with pytest.raises(DiskError, match="is not an earlier export; choose another --output"):
            mt.export(run, to, output=output, overwrite=True)
    with pytest.raises(DiskError, match="is not an earlier export"):
        mt.export(run, "adapter", output=run / "model", overwrite=True)
    assert (tmp_path / "thesis" / "thesis.tex").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "notes.gguf", "thesis"]


def test_a_damaged_model_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    folder, _ = saved(tmp_path / "model", "llama")
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        mt.export(folder, "gguf", output=tmp_path / "x.gguf")
    weights.write_bytes(whole)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not valid JSON"):
        mt.export(folder, "gguf", output=tmp_path / "x.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_sigterm_leaves_no_half_file(run: Path, tmp_path: Path) -> None:
    process = start("export", str(run), "--to", "gguf", "--output", "x.gguf", cwd=tmp_path)
    wait_for(lambda: bool(list(tmp_path.glob("x.gguf.partial-*/merged*"))), process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 130 and "Traceback" not in said, said
    assert list(tmp_path.iterdir()) == []
