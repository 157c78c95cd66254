"""What ``chat`` returns: a model to ask questions, and its answers."""

from __future__ import annotations

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
            ``repetition`` (stopped because it repeated itself).
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
        question = arguments.text("question", question, "the question as a string")
        self._asked.reset()
        found = self._asked.answer(question)
        return Answer(question, found.text.strip(), found.stop_reason.value, len(found.ids))

    def __repr__(self) -> str:
        return f"Chat({self.model})"
