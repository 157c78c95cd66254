"""What the calculator inserts, and how it is spelled in tokens."""

from __future__ import annotations

import pytest

from mathtune.generation.calculator import Calculator, pending_result
from mathtune.generation.stops import Detokenizer
from tokenizers_for_tests import bpe, byte, sentencepiece_like


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("He has <<48/2=", "24>>"),  # 48 / 2
        ("<<1=1>> then <<0.1+0.2=", "0.3>>"),  # exact: floats would give 0.30000000000000004
        ("<<2/3=", "0.666667>>"),  # no finite decimal form: six decimals
        ("<<(5,000-1)*3=", "14997>>"),  # 4999 * 3
        ("<<3-10=", "-7>>"),
        ("<<99999999999*99999999999=", "9999999999800000000001>>"),  # (10^11 - 1)^2
    ],
)
def test_result_of_an_open_annotation(text, result):
    assert pending_result(text) == result


@pytest.mark.parametrize(
    "text",
    [
        "3+4=",  # no annotation
        "<<3+4=7>> and x=",  # closed before
        "<<3+4",  # not asked yet
        "<<3+4=7",  # the model has begun the result itself
        "<<3+4=>>",
        "<<3+x=",  # not arithmetic
        "<<5/0=",
        "<<3+4=7=",  # a second equals sign
        "<<=",
        "<<__import__('os')=",
    ],
)
def test_everything_else_is_left_to_the_model(text):
    assert pending_result(text) is None


@pytest.mark.parametrize("kind", [bpe, byte, sentencepiece_like])
@pytest.mark.parametrize("expression", ["48/2", "7*8", "1/4", "3-10", "1000*1000"])
def test_inserted_tokens_read_exactly_as_the_result(kind, expression):
    tokenizer = kind()
    detokenizer = Detokenizer(tokenizer)
    text = f"that is <<{expression}="
    ids = Calculator(tokenizer, detokenizer).insertion(text)
    before = tokenizer.encode(text, add_special_tokens=False)
    joined = detokenizer.text([*before, *ids])
    assert joined.removeprefix(detokenizer.text(before)) == pending_result(text)
    assert "= " not in joined  # SentencePiece's dummy space is not among the tokens


def test_insertion_is_spelled_as_the_tokenizer_spells_it_in_training_text():
    tokenizer = bpe()
    text, result = "<<3+12=", "15>>"
    whole = tokenizer.encode(text + result, add_special_tokens=False)
    ids = Calculator(tokenizer, Detokenizer(tokenizer)).insertion(text)
    assert whole[-len(ids) :] == ids
