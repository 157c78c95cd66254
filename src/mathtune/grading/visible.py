r"""Which part of a completion answers the question.

Two things are left out. Thinking aloud is not the answer; recognised are the tags of the common
reasoning models, ``<think>`` (DeepSeek-R1, Qwen3), ``<thinking>``, ``<thought>``, ``<reasoning>``,
``[THINK]`` (Magistral), ``<|begin_of_thought|>`` (Sky-T1), ``<|START_THINKING|>`` (Command A),
``◁think▷`` (Kimi), ``<seed:think>``, and Harmony's channels (gpt-oss), of which only ``final`` is
meant for the reader. Many chat templates open the thought in the prompt, so a closing tag may come
without an opening one.

And what a model writes after its answer to a question that it invented (``Question: …``) answers
that one. A solution may hold the same signs before its answer (``**Question:** How many eggs?``):
they do not begin a new one.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from mathtune.grading.extract import first_answer_end

# --- Thoughts ------------------------------------------------------------------------------------

_NAMES = r"(?:[Tt]hink(?:ing)?|THINK(?:ING)?|[Tt]houghts?|[Rr]easoning|seed:think)"
_CLOSING = re.compile(
    rf"</{_NAMES}>|\[/THINK\]|<\|end_of_thought\|>|<\|END_THINKING\|>|◁/think▷"
    r"|<\|channel\|>final[^<\n]{0,80}<\|message\|>"
)
_OPENING = re.compile(
    rf"<{_NAMES}>|\[THINK\]|<\|begin_of_thought\|>|<\|START_THINKING\|>|◁think▷"
    r"|<\|channel\|>(?:analysis|commentary)\b"
)
# Harmony's special tokens are often lost in decoding: ``analysis…assistantfinal…``.
_BARE_ANALYSIS, _BARE_FINAL = "analysis", "assistantfinal"


class Visible(NamedTuple):
    """Where the text meant for the reader is.

    Attributes:
        start: Where it begins: after the last closing tag.
        end: Where it ends: before a thought that never closes.
        closed: False if a thought never closes.
    """

    start: int
    end: int
    closed: bool


def find_visible(text: str) -> Visible:
    """Find the text that is not a thought, in time linear in its length."""
    start = 0
    if "hink" in text or "hought" in text or "eason" in text or "<|" in text or "HINK" in text:
        for closing in _CLOSING.finditer(text):
            start = closing.end()
        opening = _OPENING.search(text, start)
        if opening:
            return Visible(start, opening.start(), closed=False)
    if not start and text.startswith(_BARE_ANALYSIS):
        final = text.rfind(_BARE_FINAL)
        if final >= 0:
            start = final + len(_BARE_FINAL)
    return Visible(start, len(text), closed=True)


def without_thoughts(text: str) -> str:
    """Return the text that is not a thought."""
    visible = find_visible(text)
    whole = visible.start == 0 and visible.end == len(text)
    return text if whole else text[visible.start : visible.end]


# --- The next question ---------------------------------------------------------------------------


def _sign_of_turn(word: str, *, anywhere: bool = False) -> re.Pattern[str]:
    """Match ``word:`` at the start of a line, or ``word`` in a Markdown heading.

    With ``anywhere`` the word with its colon also counts within a line, unless another word
    precedes it (``Understanding the Question:``). The word comes first in the pattern and its
    context in look-behinds, because a fixed beginning is what makes the search fast.
    """
    heading = rf"(?:(?<=\#\#\ {word})|(?<=\#\#{word}))\b"
    line = rf"(?:(?<=\n{word})|(?<=\n\*\*{word})|(?<=\n\#\ {word}))"
    free = rf"(?<!\w{word})(?<![A-Za-z]\ {word})"
    return re.compile(rf"{word}(?:{heading}|{free if anywhere else line}(?:\ ?[0-9]{{1,4}})?\**:)")


_SPECIAL = re.compile(
    r"<(?:\|(?!begin_of|end_of_(?:thought|solution))[a-z_]{1,20}\||/s|eos|start_of_turn|end_of_turn)>"
)
_SIGNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Question", _sign_of_turn("Question", anywhere=True)),
    ("Q:", re.compile(r"Q:(?<!\wQ:)(?<![A-Za-z] Q:)")),
    *(
        (word, _sign_of_turn(word))
        for word in ("Problem", "Instruction", "Exercise", "User", "Human")
    ),
    ("[INST]", re.compile(r"\[INST\]")),
    ("<|", _SPECIAL),
    ("</s>", re.compile("</s>")),
    ("<eos>", re.compile("<eos>")),
    ("_of_turn>", _SPECIAL),
)
# A turn that ends with its token has ended, whatever its content.
_TURN_END = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "</s>",
    "<eos>",
    "<end_of_turn>",
)
_BLANK = " \n\t#*"
_MAX_UNMARKED = 20
_SENTENCE = 200
_RESTATES = re.compile(
    r"\b(?:let me|let us|let['’]s|understand\w*|read\w*|given|solution|solve|problem"
    r"|question|facts|step)\b",
    re.IGNORECASE,
)
_BARE_QUESTION = re.compile(r"[ *]*[^0-9\n?]{0,200}\?")
_SHORT_REPLY = re.compile(r"[ *]*(?:[A-Za-z]+[.,]?|-?[0-9.,]+)[ *]*(?:\n|$)")
_DIGIT = re.compile(r"[0-9]")


def cut_next_question(text: str) -> tuple[str, bool]:
    """Cut a completion where the model goes on to its own next question, or to another turn.

    Only after an answer was given: a marked one, or a statement with a number that does not restate
    the problem. A sign at the very beginning repeats the question.

    Returns:
        The text up to the first such sign, and whether there was one.
    """
    signs = [pattern for hint, pattern in _SIGNS if hint in text and pattern.search(text)]
    if not signs:
        return text, False
    answered = first_answer_end(text)
    end = len(text)
    for sign in signs:
        match = sign.search(text, answered, end)
        if match:
            end = match.start()
    end = min(end, _unmarked_end(text, signs, min(answered, end)))
    return (text[:end].rstrip("#* \n"), True) if end < len(text) else (text, False)


def _unmarked_end(text: str, signs: list[re.Pattern[str]], before: int) -> int:
    """Find the first sign before ``before`` after an unmarked answer, or a turn's end."""
    end = len(text)
    for sign in signs:
        for count, match in enumerate(sign.finditer(text, 0, min(before, end))):
            if count == _MAX_UNMARKED:
                break
            if text[: match.start()].strip(_BLANK) and (
                match[0] in _TURN_END or _answers_before(text, match)
            ):
                end = match.start()
                break
    return end


def _answers_before(text: str, sign: re.Match[str]) -> bool:
    """Distinguish an unmarked answer (``She makes $18``) from the facts of the problem."""
    before = text[max(0, sign.start() - _SENTENCE) : sign.start()].rstrip(_BLANK)
    sentence = before[max(before.rfind("\n"), before.rfind(". ")) + 1 :]
    if not _DIGIT.search(sentence) or _RESTATES.search(before):
        return False
    return not (_BARE_QUESTION.match(text, sign.end()) or _SHORT_REPLY.match(text, sign.end()))
