"""The records that rooms exchange: frozen, plain, and free of torch.

``Problem`` → (prompts) → ``Example`` → (training or generation) → ``Completion`` → (grading) →
``Grade``.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypedDict

from typing_extensions import NotRequired


def content_id(question: str, answer: str = "") -> str:
    """Name a problem by its content: 16 hex digits of SHA-256, the same in any order or file."""
    return hashlib.sha256(f"{question}\x1f{answer}".encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Problem:
    """One word problem.

    Attributes:
        id: Content hash (``content_id``), stable under reordering and growth of the file.
        question: The question.
        answer: The gold solution as published, final answer included. Empty for a question-only
            text (used when a base model is trained on texts, never graded).
        gold: The final answer as written in the source, for example ``"1,450"`` or ``"0.5"``.
        source: Where it came from, for example ``"gsm8k/main:train"``.
        type: Template name or category, if the source has it.
        steps: Number of solution steps, if the source has it.
    """

    id: str
    question: str
    answer: str
    gold: str
    source: str = ""
    type: str | None = None
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """A problem as a model sees it.

    Attributes:
        problem_id: The problem's id.
        ids: Token ids, BOS and EOS included.
        supervised: One flag per token: True if the token is a training target.
        prompt_tokens: ``ids[:prompt_tokens]`` is exactly what the model is prompted with at
            inference.
    """

    problem_id: str
    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    prompt_tokens: int

    @property
    def lengths(self) -> tuple[int, ...]:
        """Its number of tokens, as the only text of an item of a training step."""
        return (len(self.ids),)

    @property
    def targets(self) -> int:
        """How many tokens are training targets."""
        # The first token has no hidden state before it, so it can never be a target.
        return sum(self.supervised[1:])


@dataclass(frozen=True, slots=True)
class RenderedExample:
    """An example with its text, to be shown.

    Attributes:
        example: The example.
        text: Prompt and completion as one string, without BOS and EOS.
        offsets: ``(start, end)`` into ``text`` per token; ``(0, 0)`` for BOS and ``(n, n)`` for
            EOS.
    """

    example: Example
    text: str
    offsets: tuple[tuple[int, int], ...]


Message = tuple[str, str]
"""Role and content of one message of a chat."""

Turn = tuple[str, str]
"""A question and its answer, earlier in a conversation."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an engine continues: ``ids`` for local engines, ``text`` for remote ones.

    A remote chat model answers ``messages``, with ``text`` as the record of them.
    """

    problem_id: str
    text: str
    ids: tuple[int, ...]
    messages: tuple[Message, ...] = ()


class StopReason(enum.Enum):
    """Why generation of one completion ended."""

    EOS = "eos"
    STOP_STRING = "stop_string"
    LENGTH = "length"
    REPETITION = "repetition"


CUT_OFF = (StopReason.LENGTH.value, StopReason.REPETITION.value)
"""Values of ``StopReason`` where a text was cut off: it was too long, or only repeated itself."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One generated text.

    Attributes:
        problem_id: The problem it answers.
        sample: 0 for the first sample of a problem, and so on.
        text: The new text, cut before the stop string, special tokens left out. Where it was
            stopped because it repeated itself, it ends with a line, a sentence or a word.
        ids: The new token ids as generated (calculator insertions included), EOS included if made.
        stop_reason: Why it ended.
        seconds: Wall-clock seconds the completion's row was in flight.
        logprobs: One log-probability per token of ``ids`` if requested, else None.
        inserted_tokens: How many tokens of ``ids`` the calculator wrote.
        inserted_at: Their positions in ``ids``; given by the engine in this process.
        corrected_tokens: How many of those the model would have written differently; None where
            the engine does not tell.
    """

    problem_id: str
    sample: int
    text: str
    ids: tuple[int, ...]
    stop_reason: StopReason
    seconds: float = 0.0
    logprobs: tuple[float, ...] | None = None
    inserted_tokens: int = 0
    inserted_at: tuple[int, ...] = ()
    corrected_tokens: int | None = None


class Outcome(enum.Enum):
    """What grading found. Not a boolean: a missing answer differs from a wrong one."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    UNGRADABLE = "ungradable"


@dataclass(frozen=True, slots=True)
class Grade:
    """The verdict on one completion.

    Attributes:
        outcome: The verdict.
        extracted: The text taken as the final answer, or None.
        value: The answer as an exact number, or None if it is not one.
        method: How it was found: ``answer_tag``, ``boxed``, ``hash``, ``answer_is``,
            ``last_number``, ``symbolic``.
        reason: One short sentence a person can read.
    """

    outcome: Outcome
    extracted: str | None = None
    value: Fraction | None = None
    method: str | None = None
    reason: str = ""

    @property
    def correct(self) -> bool:
        """True only for ``Outcome.CORRECT``."""
        return self.outcome is Outcome.CORRECT


@dataclass(frozen=True, slots=True)
class ProblemSet:
    """Problems under one label, with what was left out on the way.

    Attributes:
        label: The set's name.
        problems: Its problems.
        dropped: How many rows were left out, by reason.
        read_as: One sentence per source on how its columns were read.
    """

    label: str
    problems: tuple[Problem, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    read_as: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.problems)

    @property
    def fingerprint(self) -> str:
        """Hash of the problems' ids in any order: the same set has the same fingerprint."""
        joined = "\n".join(sorted(problem.id for problem in self.problems))
        return hashlib.sha256(joined.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Splits:
    """What a recipe trains on, validates on and reports on. ``test[0]`` is the headline set."""

    train: ProblemSet
    validation: ProblemSet
    test: tuple[ProblemSet, ...]


class PredictionRow(TypedDict):
    """One line of a predictions file: a problem, what a model answered, and the grade.

    Keys stand in the order in which they are written.
    """

    problem_id: str
    sample: int
    """0 for the first answer to a problem, and so on."""
    set: str
    """Label of the problem set."""
    question: str
    answer: str
    gold: str
    type: str | None
    steps: int | None
    prompt_hash: str
    style: str
    decoding: dict[str, Any]
    completion: str
    tokens: int | None
    """New tokens, those of the calculator included; None where they were not counted."""
    inserted_tokens: int
    corrected_tokens: NotRequired[int]
    """Of the inserted ones, those that the model would have written differently."""
    stop_reason: str
    outcome: str
    correct: bool
    extracted: str | None
    method: str | None
    reason: str
    error: str | None
    """``arithmetic_slip``, ``reasoning``, ``format`` or None."""
    published: dict[str, Any]
    """Verdicts of the published graders by name."""
    ids: NotRequired[list[int]]
    """With ``eval.logprobs``: the new token ids, EOS included if made."""
    logprobs: NotRequired[list[float]]
    """One per id, under the model itself (temperature 1, no top-p), to 6 decimals."""
    line: NotRequired[int]
    """Of a saved output that was graded again: its line in that file."""
