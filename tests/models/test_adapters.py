"""Each kind of adapter really does what it is named for, in the real model and optimiser."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hub_server import HubServer
from mathtune import config
from mathtune.config.schema import AdapterConfig, ModelConfig, Recipe
from mathtune.errors import ConfigError, ModelError, TrainingStopped
from mathtune.models.adapters import add_adapter
from mathtune.models.base_fingerprint import fingerprint
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.run_paths import RunPaths
from mathtune.storage import is_whole
from mathtune.training.loop import TrainingLoop
from mathtune.training.run import train
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")
TEXTS = [("What is it?", f"It is {n}. #### {n}") for n in range(16)]
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(Problem(content_id(q, a), q, a, "1")) for q, a in TEXTS
]
IDS = torch.arange(40).reshape(2, 20)


def adapted(initial: Path | None = None, **settings: object) -> tuple[torch.nn.Module, list]:
    """Return a model with an adapter, and its LoRA layers."""
    model = add_adapter(
        tiny_model("llama", len(TOKENIZER)), AdapterConfig(**settings), seed=0, initial=initial
    )
    return model, [module for module in model.modules() if hasattr(module, "lora_A")]


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def close(one: torch.Tensor, other: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return float((one - other).abs().max()) <= tolerance * float(other.std())


BEFORE = logits(tiny_model("llama", len(TOKENIZER)))


def test_default_targets_are_all_linear_layers_but_the_output_layer():
    model, layers = adapted()
    linear = [m for m in model.modules() if type(m) is torch.nn.Linear]
    assert len(layers) == 2 * 7
    assert model.get_output_embeddings() in linear


@pytest.mark.parametrize("use_rslora", [False, True])
def test_scale_of_the_update(use_rslora):
    """alpha/r, for rsLoRA alpha/sqrt(r); and B = 0 leaves the model as it was."""
    model, layers = adapted(r=16, lora_alpha=32, use_rslora=use_rslora)
    assert torch.equal(logits(model), BEFORE)
    layer = layers[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    x = torch.randn(3, layer.in_features)
    product = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    scale = 32 / math.sqrt(16) if use_rslora else 32 / 16
    with torch.no_grad():
        assert close(layer(x) - layer.base_layer(x), scale * x @ product.T, 1e-4)


def test_dora_turns_weights_without_lengthening_them():
    """Whatever A and B are, each row of the weight has its magnitude's length."""
    model, layers = adapted(use_dora=True, r=4)
    assert close(logits(model), BEFORE)
    layer = layers[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
        weight = layer(torch.eye(layer.in_features)).T
    assert not close(weight, layer.base_layer.weight, 0.1)
    magnitude = layer.lora_magnitude_vector["default"].weight
    assert magnitude.requires_grad
    assert torch.allclose(weight.norm(dim=1), magnitude, rtol=1e-5)
    assert torch.allclose(magnitude, layer.base_layer.weight.norm(dim=1), rtol=1e-5)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_8"])
def test_pissa_moves_the_largest_singular_directions_into_the_adapter(init):
    fresh = dict(tiny_model("llama", len(TOKENIZER)).named_modules())
    model, _ = adapted(init_lora_weights=init, r=4)
    assert close(logits(model), BEFORE, 1e-4)
    for name, layer in model.base_model.model.named_modules():
        if not hasattr(layer, "lora_A"):
            continue
        before, rest = fresh[name].weight, layer.base_layer.weight
        # No other part of rank 4 leaves less (Eckart and Young).
        least = torch.linalg.svdvals(before)[4:].norm()
        assert 0.999 * least <= rest.norm() <= (1.001 if init == "pissa" else 1.05) * least
        assert rest.norm() < 0.9 * before.norm()
        assert not rest.requires_grad


@pytest.mark.parametrize("more", [{}, {"use_rslora": True, "use_dora": True}])
def test_pissa_base_is_rebuilt_to_the_bit(tmp_path, more):
    settings = {"init_lora_weights": "pissa", "r": 4, **more}
    first, _ = adapted(RunPaths(tmp_path).initial_adapter, **settings)
    again, _ = adapted(RunPaths(tmp_path).initial_adapter, **settings)
    assert is_whole(RunPaths(tmp_path).initial_adapter)
    one, two = first.state_dict(), again.state_dict()
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    weights = RunPaths(tmp_path).initial_adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="is damaged, and without it"):
        adapted(RunPaths(tmp_path).initial_adapter, **settings)


def recipe_for(folder: Path, *overrides: str) -> Recipe:
    return config.load(
        "smollm2-135m-gsm8k",
        [f"model={folder}", "adapter.r=4", "train.learning_rate=5e-3", "train.logging_steps=1",
         "train.per_device_train_batch_size=4", "train.num_train_epochs=2", *overrides],
    )  # fmt: skip


def trained(
    recipe: Recipe, run_dir: Path, at_validation: Callable[[], float] | None = None
) -> torch.nn.Module:
    """Train as a run does; return the model as it is in memory at the end."""
    assert recipe.adapter is not None
    run_dir.mkdir(parents=True, exist_ok=True)
    model = load_model(recipe.model, FLOAT32)
    model = add_adapter(model, recipe.adapter, recipe.seed, RunPaths(run_dir).initial_adapter)
    train(
        recipe,
        model=model,
        tokenizer=TOKENIZER,
        compute=FLOAT32,
        train_examples=EXAMPLES,
        validation_examples=EXAMPLES[:4],
        run_dir=run_dir,
        exact_match=None if at_validation is None else lambda _: at_validation(),
    )
    return model


@pytest.mark.parametrize("more", [[], ["adapter.use_dora=true", "adapter.use_rslora=true"]])
def test_saved_pissa_adapter_is_a_lora_on_the_original_base(tmp_path, more):
    """PEFT alone, which knows nothing of mathtune, loads the trained model from it."""
    from peft import AutoPeftModelForCausalLM

    base, _ = saved_model(tmp_path / "base", "llama")
    model = trained(recipe_for(base, "adapter.init_lora_weights=pissa", *more), tmp_path / "run")
    assert not close(logits(model), BEFORE, 0.1)  # it has learned something
    loaded = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert close(logits(loaded), logits(model), 1e-4)
    saved = json.loads((tmp_path / "run" / "model" / "adapter_config.json").read_text())
    assert (saved["r"], saved["init_lora_weights"]) == (8, True)
    assert saved["base_model_name_or_path"] == str(base)


KINDS = {
    "pissa": ["adapter.init_lora_weights=pissa", "adapter.lora_dropout=0.1"],
    "pissa, dora, lora+": [
        "adapter.init_lora_weights=pissa_niter_4", "adapter.use_dora=true",
        "adapter.loraplus_lr_ratio=4",
    ],
    "qlora, lora+, 8 bit": [
        "model.load_in_4bit=true", "train.optim=paged_adamw_8bit", "adapter.loraplus_lr_ratio=4",
    ],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_interrupted_run_ends_with_the_same_adapter_to_the_bit(tmp_path, kind):
    """The base is loaded anew for the second half, as in a new process."""
    base, _ = saved_model(tmp_path / "base", "llama")
    recipe = recipe_for(
        base, *KINDS[kind], "train.eval_strategy=steps", "train.eval_steps=3",
        "train.save_only_when_better=false",
    )  # fmt: skip
    trained(recipe, tmp_path / "whole", lambda: 0.0)

    validations = iter(range(100))

    def stop_at_the_second() -> float:
        if next(validations) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    with pytest.raises(TrainingStopped, match="signal 15 at step 3"):
        trained(recipe, tmp_path / "parts", stop_at_the_second)
    trained(recipe, tmp_path / "parts", lambda: 0.0)
    one, two = ((tmp_path / run / "model").iterdir() for run in ("whole", "parts"))
    files = {path.name: path.read_bytes() for path in one}
    assert "adapter_model.safetensors" in files
    assert files == {path.name: path.read_bytes() for path in two}


def test_b_learns_faster_by_the_ratio(tmp_path, monkeypatch):
    """LoRA+ in the real optimisers, kept through the schedule."""
    seen: dict[str, torch.optim.Optimizer] = {}
    original = TrainingLoop.run

    def note(self):
        original(self)
        seen["optimizer"] = self.optimizer
        seen["names"] = {id(p): name for name, p in self.model.named_parameters()}

    monkeypatch.setattr(TrainingLoop, "run", note)
    base, _ = saved_model(tmp_path / "base", "llama")
    for optim in ("adamw_torch", "paged_adamw_8bit"):
        four_bit = f"model.load_in_4bit={'true' if optim == 'paged_adamw_8bit' else 'false'}"
        recipe = recipe_for(
            base, "adapter.loraplus_lr_ratio=16", f"train.optim={optim}", four_bit,
            "train.lr_scheduler_type=constant", "train.weight_decay=0.1", "train.max_steps=2",
        )  # fmt: skip
        trained(recipe, tmp_path / optim)
        optimizer = getattr(seen["optimizer"], "optimizer", seen["optimizer"])
        assert type(optimizer).__module__.startswith(
            "bitsandbytes" if optim == "paged_adamw_8bit" else "torch"
        )
        rates = {
            seen["names"][id(parameter)]: (group["lr"], group["weight_decay"])
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        assert len(rates) == 2 * 14
        for name, rate in rates.items():
            assert rate == (5e-3 * (16 if "lora_B" in name else 1), 0.1), name


def test_fingerprint_sees_weights_and_not_how_they_are_cut(tmp_path):
    model = tiny_model("llama", len(TOKENIZER))
    for folder, size in (("whole", "1GB"), ("cut", "20KB")):
        model.save_pretrained(tmp_path / folder, max_shard_size=size)
    assert len(list((tmp_path / "cut").glob("*.safetensors"))) > 1
    known = fingerprint(str(tmp_path / "whole"))
    assert known == fingerprint(str(tmp_path / "cut"))
    with torch.no_grad():
        model.get_output_embeddings().weight[0, 0] += 1e-3
    model.save_pretrained(tmp_path / "other")
    assert fingerprint(str(tmp_path / "other")) != known
    assert fingerprint("nobody/nothing-here") is None


def test_base_that_changed_and_form_that_was_trained_on(tmp_path, monkeypatch):
    """A relative path is found from anywhere, fp4 comes back as fp4, another base is refused."""
    monkeypatch.chdir(tmp_path)
    saved_model(Path("base"), "llama")
    overrides = ("model.load_in_4bit=true", "model.bnb_4bit_quant_type=fp4", "train.max_steps=2")
    trained(recipe_for(Path("base"), *overrides), tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    newest = next((tmp_path / "run" / "checkpoints").glob("checkpoint-*"))
    for folder in (tmp_path / "run" / "model", newest):
        model = load_model(ModelConfig(name_or_path=str(folder)), FLOAT32)
        weight = model.base_model.model.model.layers[0].mlp.up_proj.base_layer.weight
        assert weight.quant_state.quant_type == "fp4"
    saved_model(tmp_path / "base", "llama", initializer_range=0.03)
    with pytest.raises(ModelError, match=r"has changed since adapter .* was trained on it"):
        load_model(ModelConfig(name_or_path=str(tmp_path / "run" / "model")), FLOAT32)


def test_pissa_checkpoint_is_loaded_only_where_its_base_can_be_made_again(tmp_path):
    base, _ = saved_model(tmp_path / "base", "llama")
    for init in ("pissa", "pissa_niter_4"):
        overrides = (f"adapter.init_lora_weights={init}", "train.max_steps=2")
        model = trained(recipe_for(base, *overrides), tmp_path / init)
        checkpoint = ModelConfig(
            name_or_path=str(next((tmp_path / init / "checkpoints").glob("checkpoint-2")))
        )
        if init == "pissa":
            assert close(logits(load_model(checkpoint, FLOAT32)), logits(model), 1e-4)
        else:
            with pytest.raises(ModelError, match=r"what pissa_niter_4 left of its base.* random"):
                load_model(checkpoint, FLOAT32)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["adapter.init_lora_weights=pisa"], "is pisa; give true, gaussian, pissa or pissa_niter"),
        (["adapter.init_lora_weights=false"], "is False; give true, gaussian"),
        (
            ["adapter.init_lora_weights=pissa", "model.load_in_4bit=true"],
            "adapter.init_lora_weights=pissa with model.load_in_4bit=true: ",
        ),
        (["adapter.loraplus_lr_ratio=0.5"], "give a number of at least 1"),
    ],
)
def test_settings_that_cannot_be(overrides, message):
    with pytest.raises(ConfigError, match=message):
        config.load("qwen2.5-0.5b-gsm8k-lora", overrides)


PINNED = """
import json, sys
from pathlib import Path
from mathtune.config.schema import ModelConfig
from mathtune.models.base_fingerprint import base_of, note_base, recorded
from mathtune import hub
for file in ("config.json", "model.safetensors"):  # as loading the model does
    hub.model_file("someone/tiny", file, None, cached_only=False)
adapter = Path(sys.argv[1])
note_base(adapter, ModelConfig(name_or_path="someone/tiny"), "float32")
base = base_of(adapter, ModelConfig(name_or_path=str(adapter)))
print(json.dumps([base.name_or_path, base.revision, recorded(adapter)["fingerprint"]]))
"""


def test_base_from_the_hub_is_named_by_its_commit(tmp_path):
    """What `main` was in training stays the base, whatever it becomes."""
    base, _ = saved_model(tmp_path / "hub" / "models" / "someone" / "tiny", "llama")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with HubServer(tmp_path / "hub") as hub:
        done = subprocess.run(
            [sys.executable, "-c", PINNED, str(tmp_path / "adapter")],
            env={**os.environ, **hub.environment(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        commit = hub.commit("models", "someone/tiny")
    assert json.loads(done.stdout) == ["someone/tiny", commit, fingerprint(str(base))]
