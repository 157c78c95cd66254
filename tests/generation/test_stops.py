"""Incremental text and stop strings, on the tokenizer kinds that models use."""

from __future__ import annotations

import random

import pytest

from mathtune.generation.stops import Detokenizer, RowText, find_stop
from tokenizers_for_tests import bpe, byte, sentencepiece_like

KINDS = {"bpe": bpe, "sentencepiece": sentencepiece_like, "byte": byte}


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return KINDS[request.param]()


def pushed(tokenizer, ids):
    row = RowText(Detokenizer(tokenizer))
    news = [row.push(token) for token in ids]
    return row.text, news


@pytest.mark.parametrize(
    "text",
    [" Tom has 3+12=<<3+12=15>>15 apples.\n#### 15", " it costs 5 € — for 日本 🍎.", " a  b\n\n c"],
)
def test_text_grows_to_the_text_that_was_encoded(tokenizer, text):
    # Behind other text: a SentencePiece tokenizer encodes " Tom" as the word "▁Tom".
    before = tokenizer.encode("now", add_special_tokens=False)
    ids = tokenizer.encode("now" + text, add_special_tokens=False)
    assert ids[: len(before)] == before
    grown, _ = pushed(tokenizer, ids[len(before) :])
    assert grown == text


def test_a_character_of_several_byte_tokens_comes_whole():
    tokenizer = byte()
    ids = tokenizer.encode("5€", add_special_tokens=False)
    assert len(ids) == 4  # one for 5, three for the bytes of the euro sign
    text, news = pushed(tokenizer, ids)
    assert text == "5€"
    assert news == [1, 0, 0, 1]


def test_incremental_text_equals_decoding_at_once(tokenizer):
    generator = random.Random(0)
    detokenizer = Detokenizer(tokenizer)
    letters = [
        token
        for token in range(len(tokenizer))
        if detokenizer.piece(token) and token not in tokenizer.all_special_ids
    ]
    for _ in range(20):
        ids = generator.choices(letters, k=40)
        assert pushed(tokenizer, ids)[0] == detokenizer.text(ids)


def test_bytes_that_never_become_a_character_do_not_hold_text_back():
    tokenizer = byte()
    lone = tokenizer.encode("€", add_special_tokens=False)[0]  # first byte of three
    text, _ = pushed(tokenizer, [lone] * 40 + tokenizer.encode("ok", add_special_tokens=False))
    assert text.endswith("ok")
    assert len(text) > 40


def test_special_tokens_have_no_text(tokenizer):
    ids = tokenizer.encode("12", add_special_tokens=False)
    marker = tokenizer.convert_tokens_to_ids("<s>")
    assert pushed(tokenizer, [*ids, marker])[0] == pushed(tokenizer, ids)[0]


def test_find_stop_gives_the_first_of_several():
    assert find_stop("a Question: b ###", ("###", "Question:")) == 2
    assert find_stop("nothing here", ("###",)) is None


def test_find_stop_sees_a_string_that_began_in_searched_text():
    text = "apples. Ques" + "tion:"
    assert find_stop(text, ("Question:",), new=5) == 8
    # What was searched before is not searched again: the stop string lies wholly in old text.
    assert find_stop("Question: and on", ("Question:",), new=3) is None
