"""Texts that look alike made equal: full-width letters, ligatures, homoglyphs, invisible marks.

A question in which a few Latin letters are replaced by Cyrillic or Greek ones reads the same and
compares as different. Where a word mixes scripts, such letters are folded to Latin.
"""

from __future__ import annotations

import re
import unicodedata

_ALIKE = str.maketrans(
    "АВЕЅІЈКМНОРСТУХаеѕіјорсухһԁԛԝ" + "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧονικρυχα",
    "ABESIJKMHOPCTYXaesijopcyxhdqw" + "ABEZHIKMNOPTYXovikpuxa",
)
_OTHER_SCRIPT = re.compile(r"[\u0370-\u052f]")
_WORD = re.compile(r"\w+")
_LATIN = re.compile(r"[A-Za-z]")
_INVISIBLE = re.compile(r"[\u00ad\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]")


def plain(text: str) -> str:
    """Return a text for comparing: NFKC, nothing invisible, Latin letters in Latin words.

    Words wholly in another script stay as they are, except in a text whose other words are Latin.
    """
    if text.isascii():
        return text
    text = _INVISIBLE.sub("", unicodedata.normalize("NFKC", text)).replace("\u2044", "/")
    if not _OTHER_SCRIPT.search(text):
        return text
    words = _WORD.findall(text)
    mostly_latin = 2 * sum(bool(_LATIN.search(word)) for word in words) > len(words)

    def fold(match: re.Match[str]) -> str:
        word = match[0]
        return word.translate(_ALIKE) if mostly_latin or _LATIN.search(word) else word

    return _WORD.sub(fold, text)
