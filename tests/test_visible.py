"""Text that a terminal or a reader would be fooled by is written out."""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import partial

import pytest

from mathtune.text.visible import shortened, visible, visible_json, visible_line
from timing_for_tests import least_seconds

ATTACKS = {
    "colour": ("\x1b[31mred", "\\x1b[31mred"),
    "title": ("\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
    "link (OSC 8)": ("\x1b]8;;http://x\x1b\\y", "\\x1b]8;;http://x\\x1b\\y"),
    "clipboard (OSC 52)": ("\x1b]52;c;cm0=\x07", "\\x1b]52;c;cm0=\\x07"),
    "C1 control": ("\x9b2J", "\\x9b2J"),
    "line written over": ("wrong\rright", "wrong\\x0dright"),
    "backspace": ("5\b4", "5\\x084"),
    "delete": ("\x7f", "\\x7f"),
    "NUL": ("\x00", "\\x00"),
    "bidirectional override": ("\u202e24\u202c", "\\u202e24\\u202c"),
    "bidirectional isolate": ("\u2067x\u2069", "\\u2067x\\u2069"),
    "zero width": ("4\u200b2\u2060\ufeff", "4\\u200b2\\u2060\\ufeff"),
    "soft hyphen": ("4\u00ad2", "4\\xad2"),
    "separators": ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
    "lone surrogate": ("\ud83d", "\\ud83d"),
    "tag characters": ("\U000e0041", "\\U000e0041"),
}


@pytest.mark.parametrize(("text", "shown"), ATTACKS.values(), ids=ATTACKS)
def test_what_is_not_shown_as_itself_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert json.loads(visible_json([text])) == [text]
    assert visible_json([text]).isprintable()


def test_ordinary_text_of_any_script_stays() -> None:
    text = "3 × 4 = 12 €\tcafé\nСколько? 多少？ كم عدد؟ כמה 😀 𝛑 ½ naïve"
    assert visible(text) == text
    assert json.loads(visible_json(text)) == text and "多少" in visible_json(text)
    assert visible("a\r\nb") == "a\nb"


def test_every_character_is_judged_by_its_category() -> None:
    kept = {"\n", "\t"}
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        bad = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        assert (visible(character) == character) != (bad and character not in kept), hex(number)


def test_one_line_stays_one_line_and_says_what_is_left_out() -> None:
    assert visible_line("a\nb\tc") == "a\\nb\\tc"
    assert visible_line("x" * 10, 4) == "xxxx… (6 characters more)"
    assert shortened("x" * 10, 4) == "xxxx… (6 characters more)"
    assert shortened("x" * 4, 4) == visible_line("x" * 4, 4) == "xxxx"


def test_a_megabyte_takes_no_time() -> None:
    for text in ("x" * 2**20, "\x1b" * 2**20, "é" * 2**20):
        assert least_seconds(partial(visible, text), enough=0.5) < 2
