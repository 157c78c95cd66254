"""Calculator decoding in the real engine, with a model that writes a given text.

``writer`` is a GPT-2 whose blocks add nothing and whose position embeddings are all different, so
the next token depends only on the position: it writes ``script[p]`` at position p, whatever was
inserted.
"""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from mathtune.generation import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Prompt, StopReason
from tokenizers_for_tests import bpe, byte, sentencepiece_like

KINDS = [bpe, byte, sentencepiece_like]
POSITIONS = 128


def writer(tokenizer, script: dict[int, int]) -> GPT2LMHeadModel:
    """Return a model that writes ``script[p]`` at position p, and the end of text elsewhere."""
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=POSITIONS,
            n_embd=POSITIONS,
            n_layer=1,
            n_head=2,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.transformer.wpe.weight.copy_(torch.eye(POSITIONS))
        model.transformer.ln_f.weight.fill_(1.0)
        for position in range(POSITIONS):
            token = script.get(position + 1, tokenizer.eos_token_id)
            model.lm_head.weight[token, position] = 1.0
    return model


def encode(tokenizer, text: str) -> list[int]:
    """Return the ids of a text behind another one."""
    before = tokenizer.encode("=", add_special_tokens=False)
    return tokenizer.encode("=" + text, add_special_tokens=False)[len(before) :]


def run(tokenizer, parts: list[tuple[int, str]], prompt: int = 2, **options):
    """Decode with a model that writes each text from its position on."""
    script = {}
    for position, text in parts:
        for offset, token in enumerate(encode(tokenizer, text)):
            script[position + offset] = token
    engine = HFEngine(writer(tokenizer, script), tokenizer)
    ids = tokenizer.encode("1" * 20, add_special_tokens=False)[:prompt]
    decoding = Decoding(**{"max_new_tokens": 100, "calculator": True, **options})
    (found,) = engine.generate([Prompt("p", "", tuple(ids))], decoding)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_is_inserted_and_the_model_goes_on(kind):
    tokenizer = kind()
    asks, result, goes_on = " each is <<48/2=", "24>>", "24 clips"
    after = 2 + len(encode(tokenizer, asks)) + len(encode(tokenizer, result))
    found = run(tokenizer, [(2, asks), (after, goes_on)])
    assert found.text == asks + result + goes_on
    assert found.inserted_tokens == len(encode(tokenizer, result))
    start = len(encode(tokenizer, asks))
    assert found.inserted_at == tuple(range(start, start + found.inserted_tokens))
    assert found.stop_reason is StopReason.EOS
    without = run(tokenizer, [(2, asks), (after, goes_on)], calculator=False)
    assert without.text == asks
    assert without.inserted_tokens == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_expression_is_left_to_the_model(kind):
    tokenizer = kind()
    text = " so <<5/0=7>> and <<a+b=3>> and 3+4=7"
    found = run(tokenizer, [(2, text)])
    assert found.text == text
    assert found.inserted_tokens == 0


def test_two_insertions_in_one_answer():
    tokenizer = byte()  # one token a character, so positions can be counted by hand
    first, second = "<<3*4=", "<<12+0.5="
    start = 2 + len(first) + len("12>>")
    found = run(tokenizer, [(2, first), (start, second), (start + len(second) + 6, "!")])
    assert found.text == "<<3*4=12>><<12+0.5=12.5>>!"
    assert found.inserted_tokens == len("12>>") + len("12.5>>")


def test_insertions_count_towards_the_limit_and_can_hold_a_stop_string():
    tokenizer = byte()
    cut = run(tokenizer, [(2, "<<3*4=")], max_new_tokens=8)
    assert (cut.text, cut.stop_reason) == ("<<3*4=12", StopReason.LENGTH)
    assert cut.inserted_tokens == 2
    stopped = run(tokenizer, [(2, "<<3*4=")], stop=(">>",))
    assert (stopped.text, stopped.stop_reason) == ("<<3*4=12", StopReason.STOP_STRING)


def test_rows_insert_each_their_own_result():
    tokenizer = byte()
    # All write from position 2 on; a longer prompt makes a row begin later in the same text.
    text = "<<100+23="
    script = {2 + i: token for i, token in enumerate(encode(tokenizer, "<<" + text))}
    engine = HFEngine(writer(tokenizer, script), tokenizer, rows=2)
    ones = tokenizer.encode("1" * 20, add_special_tokens=False)
    prompts = [Prompt(f"{n}", "", tuple(ones[:n])) for n in (2, 3, 4)]
    decoding = Decoding(max_new_tokens=100, calculator=True)
    found = {c.problem_id: c for c in engine.generate(prompts, decoding)}
    assert found["2"].text == "<<<<100+23=123>>"
    assert found["4"].text == "<<100+23=123>>"
    assert all(c.inserted_tokens == len("123>>") for c in found.values())


def test_a_character_over_several_tokens_comes_out_whole():
    tokenizer = byte()
    found = run(tokenizer, [(2, "5 € for 日本")])
    assert found.text == "5 € for 日本"
    assert len(found.ids) == len("5 € for 日本".encode()) + 1  # and the end of text
