"""GGUF files without a runtime: read back they are the model; the rest is refused in words."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tiny_exports import MODELS, saved, written
from tokenizers import normalizers, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from log_for_tests import logged
from mathtune.errors import MissingPackage, ModelError
from mathtune.exporting.gguf_format import architecture, gguf_file, vocabulary, weight_types
from mathtune.models.gguf import converted
from tokenizers_for_tests import bpe, byte, sentencepiece, sentencepiece_like


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma2", "gemma3"])
def test_a_file_read_back_has_the_models_logits_and_tokens(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MATHTUNE_CACHE", str(tmp_path / "cache"))
    # Transformers' reader drops biases and knows no other scale of Gemma's queries.
    overrides: dict[str, Any] = {"llama": {"attention_bias": False}, "qwen2": {}}.get(
        name, {"head_dim": 256, "query_pre_attn_scalar": 256}
    )
    folder, tokenizer = saved(tmp_path / "model", name, **overrides)
    back = converted(written(folder, tmp_path / "tiny.gguf", tokenizer))
    ids = torch.arange(5, 60)[None]
    with torch.no_grad():
        one, two = (AutoModelForCausalLM.from_pretrained(f)(ids).logits for f in (folder, back))
    torch.testing.assert_close(two, one, atol=1e-4, rtol=1e-4)
    text = "Tom has 3 apples and  buys 12 more.\n#### 15"
    again = AutoTokenizer.from_pretrained(back)
    assert again.decode(again(text, add_special_tokens=False).input_ids) == text
    assert again.chat_template == tokenizer.chat_template
    assert (again.bos_token, again.eos_token) == ("<s>", "</s>")


def test_types_take_the_place_that_they_should(tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", "llama")
    sizes = {}
    kinds = [kind for kind in weight_types.TYPES if kind not in weight_types.K_QUANTS]
    for kind in kinds:
        file = written(folder, tmp_path / f"{kind}.gguf", tokenizer, kind)
        sizes[kind] = {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
        assert sizes[kind]["output_norm.weight"] == "F32"
    weights = "blk.0.ffn_up.weight"
    assert [sizes[kind][weights] for kind in kinds] == [
        "F16", "BF16", "F32", "Q8_0", "Q4_0"
    ]  # fmt: skip
    assert sizes["q4_0"]["token_embd.weight"] == sizes["q4_0"]["output.weight"] == "Q8_0"


@pytest.mark.parametrize(
    ("kind", "error"), [("f32", 0), ("f16", 3e-4), ("bf16", 3e-3), ("q8_0", 0.01), ("q4_0", 0.12)]
)
def test_weights_are_rounded_no_further_than_the_type_does(
    kind: str, error: float, tmp_path: Path
) -> None:
    folder, tokenizer = saved(tmp_path / "model", "qwen2")
    file = written(folder, tmp_path / "tiny.gguf", tokenizer, kind)
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    for name, source in {"attn_q": "self_attn.q_proj", "ffn_down": "mlp.down_proj"}.items():
        tensor = held[f"blk.1.{name}.weight"]
        found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        wanted = weights[f"model.layers.1.{source}.weight"].numpy()
        rms = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
        assert error / 10 <= rms <= error


def test_k_quants_get_their_bits_where_llama_cpp_puts_them() -> None:
    """The table is that of a file of Gemma 3 270M that llama.cpp made (18 layers, tied)."""
    rows = {"attn_k": 640, "attn_output": 1024, "attn_q": 640, "ffn_gate": 640, "ffn_up": 640}
    more = (0, 1, 4, 7, 10, 13, 15, 16, 17)

    def held(name: str, row: int, kind: str = "q4_k_m", *, tied: bool = True) -> str:
        found = weight_types.type_of(f"{name}.weight", (8, row), kind, layers=18, tied=tied)
        return str(found.name)

    for layer in range(18):
        for name, row in rows.items():
            assert held(f"blk.{layer}.{name}", row) == ("Q4_K" if row == 1024 else "Q5_0")
        assert held(f"blk.{layer}.attn_v", 640) == ("Q8_0" if layer in more else "Q5_0")
        assert held(f"blk.{layer}.ffn_down", 2048) == ("Q6_K" if layer in more else "Q4_K")
    assert held("token_embd", 640) == "Q8_0"
    assert held("token_embd", 1024) == held("output", 1024, tied=False) == "Q6_K"
    assert held("token_embd", 1024, tied=False) == "Q4_K"
    assert held("blk.2.ffn_up", 512, "q5_k_m") == "Q5_K"
    assert held("blk.2.ffn_up", 512, "q6_k") == "Q6_K"
    assert held("blk.2.ffn_up", 72, "q6_k") == "F16"


def test_k_quants_need_a_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libgguf", None)
    with pytest.raises(MissingPackage, match=r"pip install libgguf, or export f16 and run"):
        weight_types.check_packages("q4_k_m")
    weight_types.check_packages("q8_0")


@pytest.mark.parametrize(("kind", "error"), [("q6_k", 0.03), ("q5_k_m", 0.05), ("q4_k_m", 0.1)])
def test_k_quants_are_read_back_by_another_package(kind: str, error: float, tmp_path: Path) -> None:
    pytest.importorskip("libgguf", reason="libgguf is not installed (pip install libgguf)")
    folder, tokenizer = saved(tmp_path / "model", "qwen2", hidden_size=256, intermediate_size=512)
    file = written(folder, tmp_path / "tiny.gguf", tokenizer, kind)
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    tensor = held["blk.1.attn_q.weight"]
    assert tensor.tensor_type.name == weight_types.K_QUANTS[kind]
    found = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    weights = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    wanted = weights["model.layers.1.self_attn.q_proj.weight"].numpy()
    rms = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
    assert error / 10 <= rms <= error


def test_rows_that_blocks_do_not_divide_stay_in_16_bits(tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", "llama", intermediate_size=72)
    with logged() as said:
        file = written(folder, tmp_path / "q8.gguf", tokenizer, "q8_0")
    held = {t.name: t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
    assert held["blk.1.ffn_down.weight"] == "F16" and held["blk.1.ffn_up.weight"] == "Q8_0"
    assert "2 tensors have rows that blocks of 32 do not divide" in said.getvalue()


def test_embeddings_beyond_the_tokenizer_are_unused_tokens(tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", "qwen2", vocab_size=512)
    with logged() as said:
        file = written(folder, tmp_path / "padded.gguf", tokenizer)
    fields = gguf.GGUFReader(file).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    assert len(tokens) == 512 and tokens[-1] == "[PAD511]" and types[-1] == vocabulary.UNUSED
    assert f"filled {512 - len(tokenizer)} embeddings that no token uses" in said.getvalue()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("gemma3", {"query_pre_attn_scalar": 256}, "has query_pre_attn_scalar=256, and llama"),
        ("gemma3", {"layer_types": ["full_attention"] * 7}, "has layer_types="),
        ("gemma2", {"attn_logit_softcapping": None}, "has attn_logit_softcapping=None, and"),
        ("llama", {"hidden_act": "gelu"}, "has hidden_act=gelu, and llama.cpp's llama computes"),
        ("qwen2", {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
         "RoPE scaling of type 'yarn', and only default, linear can be"),
        ("llama", {"model_type": "gpt2"}, "a model of type 'gpt2' cannot be written as GGUF here"),
        ("llama", {"quantization_config": {"quant_method": "bitsandbytes"}}, "are quantised"),
    ],
)  # fmt: skip
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    name: str, change: dict[str, Any], words: str
) -> None:
    kind, settings = MODELS[name]
    from transformers import AutoConfig

    config = AutoConfig.for_model(kind.removesuffix("-tied"), **settings).to_dict()
    config |= {"attn_logit_softcapping": 50.0} if name == "gemma2" else {}
    config |= {"query_pre_attn_scalar": architecture.head_dim(config)} if "gemma" in name else {}
    architecture.architecture_of(config)
    with pytest.raises(ModelError, match=words.replace("(", r"\(")):
        architecture.architecture_of(config | change)


def test_tensors_without_a_place_and_weights_beyond_f16_are_refused(tmp_path: Path) -> None:
    folder, tokenizer = saved(tmp_path / "model", "llama")
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = 70_000
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"up_proj.weight holds 70,000, and F16 ends at 65,504"):
        written(folder, tmp_path / "a.gguf", tokenizer, "f16")
    written(folder, tmp_path / "b.gguf", tokenizer, "bf16")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match="holds NaN or infinite numbers"):
        written(folder, tmp_path / "c.gguf", tokenizer)
    model.model.layers[1].mlp.register_parameter("scale", torch.nn.Parameter(torch.ones(3)))
    model.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"has no place for 1 tensors of .* \(.*mlp\.scale"):
        gguf_file.read(folder, "f16")


def test_tokenizers_that_llama_cpp_reads_otherwise_are_refused() -> None:
    def fault(tokenizer: Any) -> str:
        with pytest.raises(ModelError) as caught:
            vocabulary.vocabulary_of(tokenizer, len(tokenizer))
        (only,) = caught.value.faults
        return only

    assert "its steps are not in llama.cpp: ByteLevel" in fault(byte())
    assert "it cuts texts into words (Split)" in fault(sentencepiece_like())
    prefixed = bpe()
    prefixed.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert "it puts a space before every text" in fault(prefixed)
    lowered = bpe()
    lowered.backend_tokenizer.normalizer = normalizers.Lowercase()
    assert "it normalises texts (Lowercase)" in fault(lowered)
    other = sentencepiece()
    state = json.loads(other.backend_tokenizer.to_str())
    del state["model"]["merges"][0]
    broken = type(other.backend_tokenizer).from_str(json.dumps(state))
    other._tokenizer = broken
    assert "its merges are not SentencePiece's" in fault(other)


def test_words_are_cut_by_the_pattern_of_the_family() -> None:
    tokenizer = bpe()
    names = {}
    for pattern in vocabulary.PATTERNS:
        import tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        names[pattern] = vocabulary.vocabulary_of(tokenizer, 500).pre
    assert names == dict(vocabulary.PATTERNS)
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    assert vocabulary.vocabulary_of(tokenizer, 500).pre == "smollm"
    assert vocabulary.vocabulary_of(bpe(), 500).pre == "gpt-2"


def test_llama_3s_frequencies_are_those_of_transformers() -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    kind, settings = MODELS["llama3"]
    config = LlamaConfig(head_dim=64, **settings)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    factors = architecture.rope_factors(config.to_dict())
    plain = 1 / 10_000.0 ** (np.arange(0, 64, 2) / 64)
    np.testing.assert_allclose(plain / factors, scaled.numpy(), rtol=1e-5)
    assert kind == "llama" and factors.max() > 7.9 and factors.min() == 1
