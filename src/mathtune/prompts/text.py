"""Problems → text, with no tokenizer: what every prompt says, and everything that a server is sent.

``Renderer`` makes its ids from the same text, so a model gets the same prompt whether it runs in
this process or behind a server.
"""

from __future__ import annotations

from collections.abc import Sequence

from mathtune.prompts.styles import CHAT, Style, stop_strings, style_of
from mathtune.records import Message, Problem, Prompt


def prompt_text(shape: Style, question: str, shots: Sequence[Problem] = ()) -> str:
    """Return the text of a prompt in a style without roles, solved problems first."""
    shown = [
        f"{shape.before}{shot.question}{shape.after}{shape.space}{shot.answer}\n\n"
        for shot in shots
    ]
    return "".join(shown) + shape.before + question + shape.after


def chat_messages(
    question: str, *, system: str | None = None, shots: Sequence[Problem] = ()
) -> tuple[Message, ...]:
    """Return the messages of the chat style: the bare question, solved problems as turns before."""
    messages = [("system", system)] if system else []
    for shot in shots:
        messages += [("user", shot.question), ("assistant", shot.answer)]
    return (*messages, ("user", question))


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

    def prompt(self, question: str, problem_id: str = "") -> Prompt:
        """Return the prompt for a question."""
        if self._shape is not None:
            return Prompt(problem_id, prompt_text(self._shape, question, self.shots), ())
        messages = chat_messages(question, system=self._system, shots=self.shots)
        text = "\n\n".join(f"[{role}]\n{said}" for role, said in messages)
        return Prompt(problem_id, text, (), messages)

    def visible(self, prompt: Prompt) -> str:
        """Return a prompt's text; a server may put its BOS before it."""
        return prompt.text
