"""A model that is not whole is refused when it is loaded; one that is, in any form, is not."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from mathtune.config.schema import AdapterConfig, ModelConfig
from mathtune.errors import ModelError
from mathtune.models.adapters import add_adapter
from mathtune.models.base_fingerprint import note_base
from mathtune.models.checks.weights import check_vocabulary
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model, load_tokenizer
from models_for_tests import ARCHITECTURES, saved_model

CASES = Path(__file__).parent / "cases"
IDS = torch.arange(40).reshape(2, 20)
Weights = dict[str, torch.Tensor]


def load(folder: Path, dtype: torch.dtype = torch.float32, **settings: object) -> torch.nn.Module:
    compute = Compute("cpu", "CPU", dtype, False, "a test")
    return load_model(ModelConfig(name_or_path=str(folder), **settings), compute)


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def refusal(folder: Path, **settings: object) -> str:
    with pytest.raises(ModelError) as caught:
        load(folder, **settings)
    message = str(caught.value)
    assert "\n" not in message or len(caught.value.faults) > 1
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_model(tmp_path_factory.mktemp("whole") / "llama", "llama")[0]


@pytest.fixture
def changed(whole: Path, tmp_path: Path) -> Callable[[Callable[[Weights], Weights]], Path]:
    """Return a function that saves the model with other weights."""

    def change(new: Callable[[Weights], Weights], of: Path = whole) -> Path:
        out = tmp_path / "changed"
        shutil.copytree(of, out)
        weights = new(load_file(of / "model.safetensors"))
        contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
        save_file(contiguous, out / "model.safetensors", metadata={"format": "pt"})
        return out

    return change


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "gpt_neox", "opt"])
def test_a_whole_model_of_any_family_is_loaded(architecture: str, tmp_path: Path) -> None:
    folder, tokenizer = saved_model(tmp_path / "model", architecture)
    model = load(folder)
    check_vocabulary("model", tokenizer, model)
    if model.get_output_embeddings().weight is model.get_input_embeddings().weight:
        assert "lm_head.weight" not in load_file(folder / "model.safetensors")


def test_the_given_model_without_a_layer(whole: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["make", str(whole), str(tmp_path / "out")])
    runpy.run_path(str(CASES / "make-model-without-a-layer.py"))
    assert refusal(tmp_path / "out") == (
        f"model '{tmp_path / 'out'}' lacks 9 tensors (model.layers.1.input_layernorm.weight, "
        "model.layers.1.mlp.down_proj.weight, model.layers.1.mlp.gate_proj.weight, …) of "
        "LlamaForCausalLM, which would be random numbers; save or download the model again"
    )
    quantised = refusal(tmp_path / "out", load_in_4bit=True)
    assert "lacks 9 tensors (model.layers.1.input_layernorm.weight" in quantised


def test_tensors_without_a_place(changed) -> None:
    message = refusal(changed(lambda w: {**w, "model.layers.2.x": torch.ones(2)}))
    assert "holds 1 tensor (model.layers.2.x) that LlamaForCausalLM by its config.json" in message


def test_a_config_with_fewer_layers_than_the_weights(whole: Path, changed) -> None:
    folder = changed(lambda w: w)
    settings = json.loads((folder / "config.json").read_text()) | {"num_hidden_layers": 1}
    (folder / "config.json").write_text(json.dumps(settings))
    assert "holds 9 tensors (model.layers.1.input_layernorm.weight, " in refusal(folder)


def test_the_names_of_a_wrapped_model(changed) -> None:
    message = refusal(changed(lambda w: {"base_model.model." + k: v for k, v in w.items()}))
    assert re.search(
        r"the names of 21 tensors \(base_model\.model\.lm_head\.weight, .*, …\) of model .* begin "
        r"with 'base_model\.model\.', so none is found.*merge_and_unload",
        message,
    )


@pytest.mark.parametrize("rename", [lambda k: "model." + k, lambda k: k.removeprefix("model.")])
def test_names_that_transformers_maps_give_the_same_model(whole: Path, changed, rename) -> None:
    renamed = changed(lambda w: {rename(name): tensor for name, tensor in w.items()})
    assert torch.equal(logits(load(renamed)), logits(load(whole)))


def test_other_shapes(changed) -> None:
    message = refusal(changed(lambda w: {k: v[:-1] if "q_proj" in k else v for k, v in w.items()}))
    assert "has weights of other shapes than in its config.json: 2 tensors (" in message
    assert "model.layers.0.self_attn.q_proj.weight: [31, 32] saved, [32, 32] by config" in message


def test_an_output_layer_that_is_not_tied_is_not_made_up(changed) -> None:
    message = refusal(changed(lambda w: {k: v for k, v in w.items() if k != "lm_head.weight"}))
    assert "lacks 1 tensor (lm_head.weight) of LlamaForCausalLM" in message


def test_a_classifier(tmp_path: Path) -> None:
    folder, _ = saved_model(tmp_path / "model", "llama")
    config = AutoConfig.from_pretrained(folder)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    assert refusal(folder).splitlines() == [
        f"model '{folder}' lacks 1 tensor (lm_head.weight) of LlamaForCausalLM, which would be "
        "random numbers; it was saved as LlamaForSequenceClassification, which generates no text: "
        "give a causal language model",
        f"model '{folder}' holds 1 tensor (score.weight) that LlamaForCausalLM by its config.json "
        "has no place for; give the config.json that belongs to these weights, or save the model "
        "without them",
    ]


def test_rotary_buffers_may_be_there(whole: Path, changed) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    assert torch.equal(
        logits(load(changed(lambda w: {**w, name: torch.ones(4)}))), logits(load(whole))
    )


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_bigcode"])
def test_masks_of_older_versions_may_be_there(architecture: str, tmp_path: Path, changed) -> None:
    folder, _ = saved_model(tmp_path / "model", architecture)
    masks = {f"transformer.h.{n}.attn.bias": torch.ones(1, 1, 9, 9).tril() for n in range(2)}
    scalars = {f"transformer.h.{n}.attn.masked_bias": torch.tensor(-1e4) for n in range(2)}
    older = changed(lambda w: {**w, **masks, **scalars}, folder)
    assert torch.equal(logits(load(older)), logits(load(folder)))


def test_a_bias_is_no_mask(tmp_path: Path, changed) -> None:
    folder, _ = saved_model(tmp_path / "model", "gpt_bigcode")
    name = "transformer.h.0.attn.bias"
    assert f"holds 1 tensor ({name}) that" in refusal(
        changed(lambda w: {**w, name: torch.ones(9)}, folder)
    )


def test_an_expert_that_is_missing(tmp_path: Path, changed) -> None:
    folder, _ = saved_model(tmp_path / "mixtral", "mixtral")
    message = refusal(
        changed(
            lambda w: {k: v for k, v in w.items() if "layers.1" not in k or "experts.2" not in k},
            folder,
        )
    )
    assert "model.layers.1.mlp.experts.down_proj: [3, 32, 64] saved, [4, 32, 64] by" in message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("load_in_4bit", [False, True])
def test_numbers_that_are_none(changed, value: float, load_in_4bit: bool) -> None:
    def spoil(weights: Weights) -> Weights:
        weights["model.layers.1.mlp.up_proj.weight"][3, 5] = value
        return weights

    message = refusal(changed(spoil), load_in_4bit=load_in_4bit)
    assert "holds NaN or infinite numbers, as float32, in 1 tensor (model.layers.1.mlp." in message


def test_numbers_beyond_float16(changed) -> None:
    folder = changed(lambda w: {**w, "model.norm.weight": w["model.norm.weight"] * 1e6})
    load(folder)
    with pytest.raises(ModelError, match=r"as float16, in 1 tensor.*or set model.dtype=float32"):
        load(folder, torch.float16)


def test_a_tokenizer_with_more_tokens_than_embeddings(whole: Path, changed) -> None:
    tokenizer = load_tokenizer(str(whole))
    model = load(whole)
    rows = model.get_input_embeddings().num_embeddings
    tokenizer.add_tokens(["<image>"])
    check_vocabulary("model", tokenizer, model)  # none of its texts needs it
    tokenizer.pad_token = "<image>"
    with pytest.raises(ModelError, match=rf"ids up to {rows:,}, and the model has embeddings for"):
        check_vocabulary("model", tokenizer, model)


@pytest.fixture
def adapter(whole: Path, tmp_path: Path) -> Path:
    settings = AdapterConfig(r=4, use_dora=True)
    model = add_adapter(load(whole), settings, seed=0)
    model.save_pretrained(tmp_path / "adapter")
    config = ModelConfig(name_or_path=str(whole))
    note_base(tmp_path / "adapter", config, "float32")
    return tmp_path / "adapter"


def respoil(adapter: Path, new: Callable[[Weights], Weights]) -> Path:
    weights = new(load_file(adapter / "adapter_model.safetensors"))
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    return adapter


def test_an_adapter_is_whole_too(adapter: Path) -> None:
    load(adapter)
    message = refusal(
        respoil(adapter, lambda w: {k: v for k, v in w.items() if "layers.1.mlp.up" not in k})
    )
    assert re.search(
        r"lacks 3 tensors \(base_model\.model\.model\.layers\.1\.mlp\.up_proj\.lora_", message
    )


def test_an_adapter_with_tensors_of_another_model(adapter: Path) -> None:
    message = refusal(
        respoil(adapter, lambda w: {k.replace("layers.1", "layers.7"): v for k, v in w.items()})
    )
    assert re.search(
        r"lacks 21 tensors .*\n.*holds 21 tensors .*neither its adapter_config", message
    )


def test_an_adapter_of_other_shapes(adapter: Path) -> None:
    message = refusal(
        respoil(adapter, lambda w: {k: v[:-1] if "q_proj.lora_B" in k else v for k, v in w.items()})
    )
    assert "has other shapes than its base: 2 tensors (base_model.model.model.layers.0." in message
    assert "[31, 4] saved, [32, 4] on this base" in message


def test_an_adapter_with_nan(adapter: Path) -> None:
    message = refusal(
        respoil(
            adapter,
            lambda w: {k: v * torch.nan if "q_proj.lora_A" in k else v for k, v in w.items()},
        )
    )
    assert "holds NaN or infinite numbers in 2 tensors (" in message
