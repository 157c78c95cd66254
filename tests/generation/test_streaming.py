"""A completion while it is written: the same tokens as decoding without a reader."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from generation.test_hf_calculator import KINDS, encode, writer
from generation.test_hf_engine import prompts_of
from mathtune.generation import Decoding
from mathtune.generation.engine import StreamedCompletion
from mathtune.generation.hf import HFEngine
from mathtune.generation.stops import without_possible_stop
from mathtune.records import Prompt, StopReason
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe


def streamed(engine: HFEngine, prompt: Prompt, decoding: Decoding) -> list[StreamedCompletion]:
    items = list(engine.stream(prompt, decoding))
    assert [item.completion is not None for item in items] == [False] * (len(items) - 1) + [True]
    assert items[-1].completion and items[-1].text == items[-1].completion.text
    return items


@pytest.mark.parametrize("shared", [0, 40])
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.1, "top_p": 0.9, "seed": 3}, {"logprobs": True}]
)
def test_a_streamed_completion_has_the_tokens_of_one_that_is_not_streamed(
    options: dict[str, float], shared: int
) -> None:
    tokenizer = bpe()
    engine = HFEngine(tiny_model("llama", len(tokenizer)).eval(), tokenizer)
    decoding = Decoding(max_new_tokens=24, **options)
    for prompt in prompts_of(len(tokenizer), shared=shared, count=3):
        (whole,) = engine.generate([prompt], decoding)
        items = streamed(engine, prompt, decoding)
        found = items[-1].completion
        assert found is not None and found.ids == whole.ids and found.text == whole.text
        assert found.logprobs == whole.logprobs and found.stop_reason is whole.stop_reason
        assert len(items) == len(whole.ids)  # one a token, the last with the last token
        for before, after in pairwise(items):
            assert after.text.startswith(before.text)


@pytest.mark.parametrize("kind", KINDS)
def test_the_calculators_work_is_marked_and_a_stop_string_never_shows(kind) -> None:
    tokenizer = kind()
    parts = [
        (2, " 48/2=<<48/2="),
        (2 + len(encode(tokenizer, " 48/2=<<48/2=24>>")), "24 Ann\nQues"),
    ]
    script = {
        start + offset: token
        for start, text in parts
        for offset, token in enumerate(encode(tokenizer, text))
    }
    engine = HFEngine(writer(tokenizer, script), tokenizer)
    prompt = Prompt("p", "", (2, 3))
    decoding = Decoding(max_new_tokens=60, stop=("\nQues",), calculator=True)
    items = streamed(engine, prompt, decoding)
    (whole,) = engine.generate([prompt], decoding)
    assert items[-1].completion and items[-1].completion.ids == whole.ids
    assert whole.stop_reason is StopReason.STOP_STRING and whole.text == " 48/2=<<48/2=24>>24 Ann"
    ((start, end),) = items[-1].inserted
    assert whole.text[start:end] == "24>>"
    assert any(item.inserted == ((start, start + 1),) for item in items) or kind is bpe
    assert not any("\n" in item.text for item in items)


def test_closing_a_stream_leaves_the_model_as_it_was() -> None:
    tokenizer = bpe()
    model = tiny_model("llama", len(tokenizer)).train()
    engine = HFEngine(model, tokenizer)
    (prompt,) = prompts_of(len(tokenizer), shared=0, count=1)
    decoding = Decoding(max_new_tokens=16)
    (whole,) = engine.generate([prompt], decoding)
    stream = engine.stream(prompt, decoding)
    next(stream)
    assert not model.training and torch.is_grad_enabled()
    stream.close()
    assert model.training
    last = streamed(engine, prompt, decoding)[-1].completion
    assert last is not None and last.ids == whole.ids


def test_two_streams_at_once_do_not_disturb_each_other() -> None:
    tokenizer = bpe()
    engines = [
        HFEngine(tiny_model("llama", len(tokenizer), seed).eval(), tokenizer) for seed in (0, 1)
    ]
    (prompt,) = prompts_of(len(tokenizer), shared=20, count=1)
    decoding = Decoding(max_new_tokens=12)
    alone = [next(engine.generate([prompt], decoding)).ids for engine in engines]
    both = [
        list(pair) for pair in zip(*(e.stream(prompt, decoding) for e in engines), strict=False)
    ]
    assert alone[0] != alone[1]
    for at, ids in enumerate(alone):
        last = both[-1][at].completion
        assert last is not None and last.ids == ids


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("It is 4.\nQ", "It is 4."),
        ("It is 4.\nQu", "It is 4.\nQu"),
        ("a</", "a"),
        ("a</s", "a"),
        ("nothing", "nothing"),
    ],
)
def test_what_may_become_a_stop_string_is_held_back(text: str, certain: str) -> None:
    assert without_possible_stop(text, ("\nQ:", "</s>")) == certain
