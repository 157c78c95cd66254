"""Texts that repeat themselves: which are told, where the hf engine ends them, what is left."""

from __future__ import annotations

import pytest
from test_hf_calculator import encode, writer

from mathtune.generation import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.generation.repetition import loop_length, without_last_part
from mathtune.records import Prompt, StopReason
from tokenizers_for_tests import byte

LOOP = "The answer is 12.\n"


def first_look(text: str) -> int | None:
    """Return after how many characters, one token each, a text is found to repeat itself."""
    ids = [ord(character) for character in text]
    return next((n for n in range(len(ids) + 1) if loop_length(ids[:n])), None)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("Reasoning: 1" + "0" * 200, 80),  # a look each 16 tokens, the first with 64 zeros
        ("So 5. " + LOOP * 12, 80),  # 4 times 18, longer than 64
        ("x" * 30 + ("a block of forty characters is long enough" + ".") * 8, 208),
        ("12 - 37 = 12 " * 20, 64),
    ],
)
def test_a_loop_is_found_once_it_is_long_enough(text: str, at: int) -> None:
    assert first_look(text) == at


@pytest.mark.parametrize(
    "text",
    [
        "The total is 1000000000 and 1" + "0" * 40 + " in all, " * 3,
        "| a | b |\n| --- | --- |\n" + "".join(f"| {n} | {n * n} |\n" for n in range(10, 60)),
        "".join(f"{n}. Then we add one more.\n" for n in range(10, 60)),  # a count never repeats
        LOOP * 3 + "That is 3 times, which happens." + LOOP * 3,
        "".join(chr(n) for n in range(200, 270)) * 3,  # a block that is too long, too few times
    ],
)
def test_what_only_looks_like_a_loop_goes_on(text: str) -> None:
    assert first_look(text) is None


@pytest.mark.parametrize(
    ("block", "dropped"),
    [
        ("Answer: 415\n", "Answer: 4"),
        ("The answer is 12. ", "The answer is 1"),
        ("12 + <<3*4=12>>", "12 + <<3*4=1"),
        ("12 - 37 = 12 ", "1"),
        ("0", ""),  # nowhere to cut
    ],
)
def test_a_loop_is_cut_where_a_line_a_sentence_or_a_word_ends(block: str, dropped: str) -> None:
    text = "First line.\n" + block * 5
    assert without_last_part(text + dropped, len(block)) == text


def answers(text: str, *, rows: int | None = None, start: int = 2, **options: object):
    """Decode three prompts with a model that writes a text, whatever was inserted."""
    tokenizer = byte()
    script = {start + n: token for n, token in enumerate(encode(tokenizer, text))}
    engine = HFEngine(writer(tokenizer, script), tokenizer, rows=rows)
    ones = tokenizer.encode("1" * 20, add_special_tokens=False)
    prompts = [Prompt(str(n), "", tuple(ones[:n])) for n in (2, 5, 9)]
    decoding = Decoding(**{"max_new_tokens": 110, "stop_repetition": True, **options})
    return {made.problem_id: made for made in engine.generate(prompts, decoding)}


def test_a_loop_is_stopped_at_the_same_token_in_any_batch() -> None:
    found = answers(LOOP * 7)
    assert {made.stop_reason for made in found.values()} == {StopReason.REPETITION}
    assert {len(made.ids) for made in found.values()} == {80}
    assert found["2"].text == LOOP * 4  # "The answ" is dropped
    alone = answers(LOOP * 7, rows=1)
    whole = answers(LOOP * 7, stop_repetition=False)
    for name, made in found.items():
        assert alone[name].ids == made.ids
        assert whole[name].ids[:80] == made.ids
        assert whole[name].stop_reason is StopReason.LENGTH


@pytest.mark.parametrize(("result", "corrected"), [("12", 0), ("17", 1)])
def test_an_answer_that_the_calculator_did_not_correct_is_the_same_without(
    result: str, corrected: int
) -> None:
    text = f"so <<3*4={result}>> and <<2+2=4>>!"
    on, off = (answers(text, calculator=setting)["2"] for setting in (True, False))
    assert on.text == text.replace("17", "12")
    assert (on.inserted_tokens, on.corrected_tokens) == (len("12>>4>>"), corrected)
    assert off.inserted_tokens == 0
    assert (on.ids == off.ids) == (corrected == 0)


def test_a_loop_of_calculations_ends_alike_with_the_calculator_on_and_off() -> None:
    on, off = (answers("<<3*4=12>> " * 9, calculator=setting)["2"] for setting in (True, False))
    assert on.stop_reason is off.stop_reason is StopReason.REPETITION
    assert (on.ids, on.text, on.corrected_tokens) == (off.ids, off.text, 0)
    assert on.text == ("<<3*4=12>> " * 5).rstrip()  # without "<<3*4=12>", up to the 64th token
