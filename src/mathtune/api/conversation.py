"""What ``chat`` returns: a model to ask questions, and its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mathtune.api import arguments
from mathtune.api.display import html_table

if TYPE_CHECKING:
    from mathtune.conversation import ChatModel


@dataclass(frozen=True, repr=False)
class Answer:
    """A model's answer to one question.

    Attributes:
        question: The question.
        text: The answer.
        stop_reason: ``eos``, ``stop_string``, ``length`` (cut off by the token limit) or
            ``repetition`` (stopped because it repeated itself); empty while it is written.
        tokens: How many tokens it has.
    """

    question: str
    text: str
    stop_reason: str
    tokens: int

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Answer({self.text!r}, {self.tokens} tokens, ended by {self.stop_reason})"

    def _repr_html_(self) -> str:
        return html_table(self.question, ("", ""), [("answer", self.text)])


@dataclass(frozen=True, repr=False)
class Chat:
    """A loaded model to ask questions; each question is independent.

    Attributes:
        model: Its name or folder.
    """

    model: str
    _asked: ChatModel = field(repr=False)

    def ask(self, question: str) -> Answer:
        """Return the model's greedy answer.

        Raises:
            ConfigError: The question is not text.
        """
        *_, last = self.stream(question)
        return last

    def stream(self, question: str) -> Iterator[Answer]:
        """Yield the model's greedy answer after each of its tokens, the whole one last.

        Raises:
            ConfigError: The question is not text.
        """
        question = arguments.text("question", question, "the question as a string")
        self._asked.reset()
        for tokens, item in enumerate(self._asked.stream(question), 1):
            reason = "" if item.completion is None else item.completion.stop_reason.value
            yield Answer(question, item.text.strip(), reason, tokens)

    def __repr__(self) -> str:
        return f"Chat({self.model})"
