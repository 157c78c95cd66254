"""Broken and hostile models given to the real commands: refused, and nothing of theirs is run."""

from __future__ import annotations

import io
import json
import os
import pickle
import runpy
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from command_for_tests import faults_of, jsonl, mathtune, solved
from hub_server import HubServer
from mathtune.cli.main import main
from mathtune.config.schema import AdapterConfig, ModelConfig
from mathtune.errors import ConfigError, ModelError
from mathtune.models.adapters import add_adapter
from mathtune.models.base_fingerprint import note_base
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model, load_tokenizer
from mathtune.preflight import Purpose
from mathtune.preflight import load as load_recipe
from models_for_tests import saved_model

CASES = Path(__file__).parents[1] / "models" / "cases"
TEMPLATES = Path(__file__).parents[1] / "prompts" / "cases"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with problems, a model, and the same without its second layer."""
    folder = tmp_path_factory.mktemp("work")
    jsonl(folder / "train.jsonl", (solved(n) for n in range(12)))
    jsonl(folder / "test.jsonl", (solved(n, "cups") for n in range(3)))
    saved_model(folder / "model", "llama")
    given, sys.argv = sys.argv, ["make", str(folder / "model"), str(folder / "broken")]
    try:
        runpy.run_path(str(CASES / "make-model-without-a-layer.py"))
    finally:
        sys.argv = given
    (folder / "recipe.yaml").write_text(
        "name: r\nmodel: {name_or_path: broken}\ndata: {train: train.jsonl, test: test.jsonl}\n"
        "train: {max_steps: 1, max_length: 256}\neval: {max_new_tokens: 8}\n"
    )
    return folder


def copy(work: Path, to: Path, *, of: str = "model", **settings: object) -> Path:
    """Copy a model with other settings in its ``config.json``."""
    shutil.copytree(work / of, to)
    path = to / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return to


def load(folder: Path, **settings: object) -> object:
    compute = Compute("cpu", "CPU", torch.float32, False, "a test")
    return load_model(ModelConfig(name_or_path=str(folder), **settings), compute)


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder, **settings)
    (message,) = caught.value.faults
    return message


def command(monkeypatch, capsys, *arguments: str, said: str = "") -> str:
    """Run a command in this process to its refusal; return what it said on standard error."""
    monkeypatch.setattr(sys, "argv", ["mathtune", *arguments])
    monkeypatch.setattr(sys, "stdin", io.StringIO(said))
    with pytest.raises(SystemExit) as left:
        main()
    out, err = capsys.readouterr()
    assert left.value.code == 2, err
    assert out == ""
    return err


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "broken", "--data", "test.jsonl", "--run-dir", "runs/e"),
        ("chat", "broken"),
        ("train", "recipe.yaml", "--run-dir", "runs/t"),
        ("run", "recipe.yaml", "--run-dir", "runs/r"),
        ("merge", "adapter"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_model_without_a_layer(work: Path, arguments, monkeypatch, capsys) -> None:
    monkeypatch.chdir(work)
    if arguments[0] == "merge" and not (work / "adapter").exists():
        adapter(work / "adapter", work / "model")
        path = work / "adapter" / "adapter_config.json"
        stated = json.loads(path.read_text()) | {"base_model_name_or_path": str(work / "broken")}
        path.write_text(json.dumps(stated))
        (work / "adapter" / "base.json").unlink()
    *before, last = (
        command(monkeypatch, capsys, *arguments, said="What is 1 + 1?\n").strip().splitlines()
    )
    assert "lacks 9 tensors (model.layers.1.input_layernorm.weight, model.layers.1.mlp.down" in last
    assert last.endswith("which would be random numbers; save or download the model again")
    assert not list(work.rglob("predictions*.jsonl"))
    if arguments[0] == "chat":
        assert before[0].startswith("loading broken (34,848 parameters)")


def adapter(folder: Path, base: Path) -> Path:
    """Save an adapter as a run does."""
    add_adapter(load(base), AdapterConfig(r=4), seed=0).save_pretrained(folder)
    load_tokenizer(str(base)).save_pretrained(folder)
    note_base(folder, ModelConfig(name_or_path=str(base)), "float32")
    return folder


def redirect(folder: Path, **changes: object) -> Path:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return folder


def test_an_adapter_that_is_sent_to_another_base(work: Path, tmp_path: Path) -> None:
    other, _ = saved_model(tmp_path / "other", "llama", seed=1)
    sent = redirect(adapter(tmp_path / "a", work / "model"), base_model_name_or_path=str(other))
    assert "has changed since adapter" in refusal(sent)
    (sent / "base.json").unlink()  # one that was made elsewhere says nothing of its base
    load(sent)
    larger, _ = saved_model(tmp_path / "larger", "llama", hidden_size=64)
    assert "has other shapes than its base" in refusal(
        redirect(sent, base_model_name_or_path=str(larger))
    )


def test_an_adapter_that_is_its_own_base(work: Path, tmp_path: Path) -> None:
    sent = redirect(
        adapter(tmp_path / "a", work / "model"), base_model_name_or_path=str(tmp_path / "a")
    )
    assert "as its base, which is itself an adapter; merge that one" in refusal(sent)


def test_an_adapter_that_names_a_missing_base(work: Path, tmp_path: Path) -> None:
    sent = redirect(adapter(tmp_path / "a", work / "model"), base_model_name_or_path="/no/where")
    assert "cannot be used: model folder '/no/where' does not exist" in refusal(sent)
    assert "has no base_model_name_or_path" in refusal(
        redirect(sent, base_model_name_or_path=["x"])
    )


def test_an_adapter_imports_nothing(work: Path, tmp_path: Path, monkeypatch) -> None:
    marking(tmp_path / "evil.py", tmp_path / "mark")
    monkeypatch.syspath_prepend(tmp_path)
    sent = adapter(tmp_path / "a", work / "model")
    load(redirect(sent, auto_mapping={"base_model_class": "Evil", "parent_library": "evil"}))
    message = refusal(redirect(sent, megatron_config={"x": 1}, megatron_core="evil"))
    assert message.startswith(f"adapter '{sent}' could not be loaded: config.megatron_core='evil'")
    assert "is of an adapter of type IA3, and only LoRA" in refusal(redirect(sent, peft_type="IA3"))
    assert not (tmp_path / "mark").exists()
    __import__("evil")
    assert (tmp_path / "mark").exists()  # it would have shown


def marking(module: Path, mark: Path) -> None:
    module.write_text(
        textwrap.dedent(f"""
        open({str(mark)!r}, "w").close()
        class Evil: pass
        """)
    )


class Marker:
    """A pickle that makes a folder where it is opened."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.mark,)


def test_pickled_weights_are_never_opened(work: Path, tmp_path: Path) -> None:
    pickled = pickle.dumps(Marker(tmp_path / "mark"))
    model = copy(work, tmp_path / "m")
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(pickled)
    sent = adapter(tmp_path / "a", work / "model")
    (sent / "adapter_model.safetensors").unlink()
    (sent / "adapter_model.bin").write_bytes(pickled)
    remedy = "a pickle, which can run code when opened; convert it to safetensors if"
    assert f"holds no *.safetensors (only pytorch_model.bin, {remedy}" in refusal(model)
    assert f"holds no adapter_model.safetensors, only adapter_model.bin, {remedy}" in refusal(sent)
    assert not (tmp_path / "mark").exists()
    pickle.loads(pickled)
    assert (tmp_path / "mark").exists()  # it would have shown


def test_adapters_and_pickled_weights_on_the_hub(work: Path, tmp_path: Path) -> None:
    models = tmp_path / "hub" / "models" / "someone"
    adapter(models / "sound", work / "model")
    sent = adapter(models / "adapter", work / "model")
    whole = copy(work, models / "whole")
    for folder, name in ((sent, "adapter_model"), (whole, "model")):
        (folder / f"{name}.safetensors").unlink()
    for path in (sent / "adapter_model.bin", whole / "pytorch_model.bin"):
        path.write_bytes(pickle.dumps(Marker(tmp_path / "mark")))
    with HubServer(tmp_path / "hub") as hub:
        online = hub.environment(tmp_path / "cache")
        names = ("someone/sound", "someone/adapter", "someone/whole")
        (code, said), *refusals = chats(names, tmp_path, online)
    assert code == 0, said
    assert f"adapter on {work / 'model'}, whose weights are the ones it was" in said
    assert [code for code, _ in refusals] == [2, 2]
    adapter_fault, model_fault = (said for _, said in refusals)
    assert "Traceback" not in adapter_fault + model_fault
    for fault, what, name in (
        (adapter_fault, "adapter", "adapter_model.safetensors"),
        (model_fault, "whole", "model.safetensors"),
    ):
        assert (
            f"model 'someone/{what}' on the hub holds no {name}; weights in another form " in fault
        )
        assert "a pickle, which can run code when opened" in fault
    assert not (tmp_path / "mark").exists()


CHATS = """
import contextlib, io, json, sys
from mathtune.cli.main import main
found = []
for name in sys.argv[1:]:
    sys.argv, sys.stdin = ["mathtune", "chat", name], io.StringIO("What is 1 + 1?\\n")
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as left:
            found.append((left.code, said.getvalue()))
print(json.dumps(found))
"""


def chats(models: tuple[str, ...], cwd: Path, environment: dict[str, str]) -> list[tuple[int, str]]:
    """Chat with each model of a hub in turn, in one new interpreter, which reads the hub's address
    when it imports the client; return exit codes and what was said on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-c", CHATS, *models],
        cwd=cwd,
        env={**os.environ, "MATHTUNE_DATA_DIR": "", **environment},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    return [(code, said) for code, said in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("kind", ["evil", None])
def test_code_of_a_model_is_not_imported(work: Path, tmp_path: Path, kind) -> None:
    folder = copy(
        work, tmp_path / "m", model_type=kind,
        auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"},
    )  # fmt: skip
    marking(folder / "evil.py", tmp_path / "mark")
    said = f"has the type {kind!r}, which Transformers does not know, and its own code (auto_map "
    assert said in refusal(folder)
    assert any(said in fault for fault in preflight(work, folder))
    assert not (tmp_path / "mark").exists()


def test_code_of_a_tokenizer_is_not_imported(work: Path, tmp_path: Path) -> None:
    folder = copy(work, tmp_path / "m")
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps({"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
    )
    marking(folder / "evil.py", tmp_path / "mark")
    with pytest.raises(ModelError, match=r"the tokenizer of .* needs its own code \(auto_map\)"):
        load_tokenizer(str(folder))
    assert not (tmp_path / "mark").exists()


def test_code_that_is_not_needed_is_not_used(work: Path, tmp_path: Path) -> None:
    folder = copy(work, tmp_path / "m", auto_map={"AutoModelForCausalLM": "evil.Evil"})
    marking(folder / "evil.py", tmp_path / "mark")
    assert type(load(folder)).__module__.startswith("transformers.models.llama")
    assert preflight(work, folder) == []
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"attn_implementation": "evil/kernel"},
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": {"text_config": "evil/kernel"}},
        {"text_config": {"experts_implementation": "evil/kernel"}},
    ],
)
def test_kernels_that_a_config_names_are_not_fetched(work: Path, tmp_path: Path, settings) -> None:
    folder = copy(work, tmp_path / "m", **settings)
    assert "=evil/kernel, and a kernel on the hub is somebody's machine code" in refusal(folder)
    assert any("evil/kernel" in fault for fault in preflight(work, folder))


def preflight(
    work: Path, model: Path, *more: str, purpose: Purpose = Purpose.VALIDATE
) -> list[str]:
    overrides = [f"model={model}", f"data.train={work}/train.jsonl", f"data.test={work}/test.jsonl"]
    try:
        load_recipe(str(work / "recipe.yaml"), [*overrides, *more], None, purpose)
    except ConfigError as error:
        return error.faults
    return []


def test_a_hostile_header_is_one_sentence(work: Path, tmp_path: Path) -> None:
    folder = copy(work, tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes((2**62).to_bytes(8, "little") + weights.read_bytes()[8:])
    assert "is not a safetensors file: its header would be 4,611,686,018,427,387,904 " in refusal(
        folder
    )
    assert len(preflight(work, folder)) == 1


def test_what_files_show_is_told_all_at_once_and_without_torch(work: Path, tmp_path: Path) -> None:
    folder = copy(work, tmp_path / "m", vocab_size=5, _attn_implementation="evil/kernel")
    shutil.copy(TEMPLATES / "template-strips-thinking.jinja", folder / "chat_template.jinja")
    done = mathtune(
        "validate", "recipe.yaml", f"model={folder}", "prompt.style=chat", "train.max_length=9999",
        cwd=work,
    )  # fmt: skip
    code, tokenizer, template, context = faults_of(done)
    assert "_attn_implementation=evil/kernel" in code
    assert tokenizer.startswith(f"the tokenizer of '{folder}' has ids up to 398, and the model has")
    assert template.startswith(f"the chat template of '{folder}' drops or rewrites part of the sol")
    assert context.startswith("train.max_length=9999 is beyond the model's context of 1024 tokens")


@pytest.mark.parametrize("name", ["broken", "drops-assistant", "strips-thinking"])
def test_the_given_templates(work: Path, tmp_path: Path, name: str, monkeypatch, capsys) -> None:
    folder = copy(work, tmp_path / "m")
    shutil.copy(TEMPLATES / f"template-{name}.jinja", folder / "chat_template.jinja")
    monkeypatch.chdir(work)
    told = command(
        monkeypatch, capsys, "run", "recipe.yaml", f"model={folder}", "prompt.style=chat",
        "--run-dir", str(tmp_path / "run"),
    )  # fmt: skip
    assert told.startswith(f"mathtune: the chat template of '{folder}' ")
    assert told.endswith("use prompt.style=qa or repair the template\n")
    assert not (tmp_path / "run").exists()
    assert preflight(work, folder) == []  # other styles do not use it
