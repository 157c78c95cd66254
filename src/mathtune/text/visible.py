"""Text from models, data and servers, made safe to show.

A terminal obeys escape sequences: they clear the screen, set its title, turn text into links and
write the clipboard. Bidirectional overrides and characters without width make a text look different
from what it is: with U+202E before it, ``24`` is shown as ``42``. All of these are written out
here.
"""

from __future__ import annotations

import json
import re
import unicodedata

_SUSPECT = re.compile(r"[^\t\n -~\u00a1-\u00ac\u00ae-\u02ff]")
"""Anything but plain characters; what matches is decided by its Unicode category."""

_WRITTEN_OUT = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, formats (bidirectional, zero-width, tags), lone surrogates, line and paragraph
separators."""


def visible(text: str) -> str:
    r"""Return text with every character that is not shown as itself written as its escape.

    Tabs and line ends are kept (``\r\n`` counts as one); ``\x1b`` becomes the four characters that
    Python writes for it.
    """
    return _SUSPECT.sub(_written, text.replace("\r\n", "\n"))


def visible_line(text: str, most: int | None = None) -> str:
    """Return text as ``visible`` does, on one line, shortened to ``most`` characters."""
    cut = text if most is None or len(text) <= most else text[:most]
    line = visible(cut).replace("\n", "\\n").replace("\t", "\\t")
    return line if len(cut) == len(text) else f"{line}… ({len(text) - len(cut):,} characters more)"


def visible_json(value: object) -> str:
    """Return JSON on one line in which everything but plain characters is escaped.

    Reading it gives the same value: the escapes are JSON's own.
    """
    text = json.dumps(value, ensure_ascii=False)
    return _SUSPECT.sub(_escaped, text)


def shortened(text: str, most: int) -> str:
    """Return at most ``most`` characters of a text, and how many were left out."""
    if len(text) <= most:
        return text
    return f"{text[:most]}… ({len(text) - most:,} characters more)"


def _written(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _WRITTEN_OUT:
        return character
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    written_out = unicodedata.category(character) in _WRITTEN_OUT
    return json.dumps(character)[1:-1].replace("\x7f", "\\u007f") if written_out else character
