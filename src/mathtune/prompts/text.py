"""Problems → text, with no tokenizer: what every prompt says, and everything that a server is sent.

``Renderer`` makes its ids from the same text, so a model gets the same prompt whether it runs in
this process or behind a server.
"""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.errors import ConfigError
from mathtune.prompts.styles import CHAT, Style, stop_strings, style_of
from mathtune.records import Message, Problem, Prompt, Turn
from mathtune.text.counts import counted


def prompt_text(shape: Style, question: str, shots: Sequence[Problem] = ()) -> str:
    """Return the text of a prompt in a style without roles, solved problems first."""
    shown = [
        f"{shape.before}{shot.question}{shape.after}{shape.space}{shot.answer}\n\n"
        for shot in shots
    ]
    return "".join(shown) + shape.before + question + shape.after


def chat_messages(
    question: str,
    *,
    system: str | None = None,
    shots: Sequence[Problem] = (),
    history: Sequence[Turn] = (),
) -> tuple[Message, ...]:
    """Return the messages of the chat style: the bare question, solved problems as turns before.

    Args:
        question: The question.
        system: System message.
        shots: Solved problems.
        history: What was asked and answered before in the same conversation.
    """
    messages = [("system", system)] if system else []
    for asked, answered in (*((shot.question, shot.answer) for shot in shots), *history):
        messages += [("user", asked), ("assistant", answered)]
    return (*messages, ("user", question))


def check_history(style: str, history: Sequence[Turn]) -> None:
    """Raise ConfigError for earlier turns in a style whose prompts have no turns."""
    if history and style != CHAT:
        raise ConfigError(
            f"prompt.style={style} has no turns, so it cannot show {counted(len(history), 'turn')} "
            "of a conversation; use prompt.style=chat"
        )


class TextRenderer:
    """Renders problems for a server, which has the tokenizer: prompts without ids.

    In the chat style a prompt has messages, and its text is only for the record: each role in
    brackets, above its message. The server's template turns the messages into what the model reads.

    Args:
        style: Name of a style in ``mathtune.prompts.styles``, or ``chat``.
        system: System message of the chat style.
        shots: Solved problems shown before the question.
    """

    def __init__(
        self, style: str, *, system: str | None = None, shots: Sequence[Problem] = ()
    ) -> None:
        self.style = style
        self.stop = stop_strings(style)
        self.shots = tuple(shots)
        self._shape: Style | None = None if style == CHAT else style_of(style)
        self._system = system

    def prompt(
        self, question: str, problem_id: str = "", *, history: Sequence[Turn] = ()
    ) -> Prompt:
        """Return the prompt for a question; see ``Renderer.prompt``."""
        check_history(self.style, history)
        if self._shape is not None:
            return Prompt(problem_id, prompt_text(self._shape, question, self.shots), ())
        messages = chat_messages(question, system=self._system, shots=self.shots, history=history)
        text = "\n\n".join(f"[{role}]\n{said}" for role, said in messages)
        return Prompt(problem_id, text, (), messages)

    def visible(self, prompt: Prompt) -> str:
        """Return a prompt's text; a server may put its BOS before it."""
        return prompt.text
