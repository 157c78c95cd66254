"""GGUF files as models: the same logits as the model they were written from, or one sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path

import gguf as format_
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from log_for_tests import logged
from mathtune.errors import DiskError, ModelError
from mathtune.models import files, gguf
from mathtune.models.loading import load_tokenizer
from tokenizers_for_tests import bpe

HEADS, KV_HEADS, SIZE = 4, 2, 32
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
TEMPLATE = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"


def permuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return q or k weights in the order that llama.cpp keeps them in."""
    rows = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return rows.swapaxes(1, 2).reshape(weight.shape)


def written(path: Path, quantised: bool = False, without: str = "") -> LlamaForCausalLM:
    """Write a tiny random Llama with its tokenizer as a GGUF file; return the model."""
    tokenizer = bpe()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=SIZE, intermediate_size=64,
            num_hidden_layers=2, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
            max_position_embeddings=128,
        )
    ).eval()  # fmt: skip
    writer = format_.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(128)
    writer.add_embedding_length(SIZE)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokenizer))
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    merges = state["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([tokenizer.convert_ids_to_tokens(i) for i in range(len(tokenizer))])
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_token_types([1] * len(tokenizer))
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(TEMPLATE)
    for name, tensor in model.state_dict().items():
        data = tensor.numpy()
        if ".layers." in name:
            layer, _, rest = name.partition(".layers.")[2].partition(".")
            rest = rest.removesuffix(".weight")
            if rest.endswith(("q_proj", "k_proj")):
                data = permuted(data, HEADS if rest.endswith("q_proj") else KV_HEADS)
            stored = f"blk.{layer}.{NAMES[rest]}.weight"
        else:
            stored = {
                "model.embed_tokens.weight": "token_embd.weight",
                "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight",
            }[name]
        if stored == without:
            continue
        if quantised and data.ndim == 2:
            kind = format_.GGMLQuantizationType.Q8_0
            writer.add_tensor(stored, format_.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(stored, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MATHTUNE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("quantised", [False, True])
def test_a_file_is_converted_once_and_gives_the_models_logits(
    tmp_path: Path, quantised: bool
) -> None:
    file = tmp_path / "tiny.gguf"
    model = written(file, quantised)
    with logged() as said:
        folder = Path(files.resolve(str(file)))
        assert files.resolve(str(file)) == str(folder)
    (line,) = said.getvalue().splitlines()  # once
    assert f"mostly {'Q8_0' if quantised else 'F32'}" in line
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        wanted, got = model(ids).logits, loaded(ids).logits
    torch.testing.assert_close(got, wanted, atol=0.02 if quantised else 1e-5, rtol=0.0)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = "Tom has 3 apples, and 45 more."
    assert tokenizer(text).input_ids == bpe()(text, add_special_tokens=False).input_ids
    assert load_tokenizer(str(file)).chat_template == TEMPLATE
    # Another file under the same name is another model.
    written(file, not quantised)
    assert files.resolve(str(file)) != str(folder)


def test_a_conversion_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    written(file)
    folder = gguf.converted(file)
    (folder / gguf.ORIGIN).unlink()
    (folder / "model.safetensors").write_bytes(b"")
    assert gguf.converted(file) == folder
    AutoModelForCausalLM.from_pretrained(folder)
    assert not list(folder.parent.glob("*.partial*"))


def test_wrong_files_are_one_sentence(tmp_path: Path) -> None:
    whole = tmp_path / "whole.gguf"
    written(whole)
    cut, pointer, other, missing = (
        tmp_path / f"{name}.gguf" for name in ("cut", "pointer", "other", "missing")
    )
    content = whole.read_bytes()
    for share in (3, 10, len(content) // 3, len(content) - 400):
        cut.write_bytes(content[:share])
        with pytest.raises(ModelError, match=r"cut off or damaged|not a GGUF file|version 0"):
            gguf.converted(cut)
    pointer.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    with pytest.raises(ModelError, match="Git LFS pointer"):
        gguf.converted(pointer)
    other.write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ModelError, match="does not begin with GGUF"):
        gguf.converted(other)
    with pytest.raises(ModelError, match="does not exist"):
        gguf.converted(missing)
    written(missing, without="blk.1.ffn_up.weight")
    with pytest.raises(ModelError, match=r"lacks 1 tensors .*mlp\.up_proj"):
        gguf.converted(missing)


def test_a_file_that_says_it_has_fewer_layers_than_it_holds_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    written(file)
    content = bytearray(file.read_bytes())
    at = content.find(b"llama.block_count") + len(b"llama.block_count") + 4
    assert content[at] == 2
    content[at] = 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="tensors of 2 layers and says that it has 1"):
        gguf.converted(file)


def test_a_file_that_changes_within_its_time_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    file.write_bytes(b"one")
    os.utime(file, (1, 1))
    before = gguf.digest_of(file)
    file.write_bytes(b"two")
    os.utime(file, (1, 1))
    assert gguf.digest_of(file) != before


def test_a_cache_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "tiny.gguf")
    monkeypatch.setenv("MATHTUNE_CACHE", str(tmp_path / "tiny.gguf" / "cache"))
    with pytest.raises(DiskError, match="set MATHTUNE_CACHE to a folder"):
        gguf.converted(tmp_path / "tiny.gguf")


def test_what_a_killed_conversion_left_is_removed(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "tiny.gguf"
    written(file)
    left = cache / "gguf" / f"tiny-{gguf.digest_of(file)[:16]}.partial-999999999"
    left.mkdir(parents=True)
    gguf.converted(file)
    assert not left.exists()
