"""A chat: reads questions and ``/commands``, until there are no more."""

from __future__ import annotations

import contextlib
import importlib
import math
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from types import FrameType

from mathtune.cli.chat_display import Answered, Display, States, remarks
from mathtune.cli.common import echo
from mathtune.conversation import ChatModel, check, side_by_side
from mathtune.errors import DataError, MathtuneError, did_you_mean

COMMANDS: Mapping[str, str] = {
    "/help": "list these commands",
    "/reset": "forget the conversation (only style chat has one)",
    "/calculator on|off": "let the calculator fill in results after <<…=",
    "/temperature X": "0 is greedy; above, answers are sampled",
    "/style NAME": "another prompt style; the conversation begins again",
    "/gold ANSWER": "grade the last question's answers, now and whenever it is asked again",
    "/quit": "end, as Ctrl-D does",
}

PROMPT = "? "


class Quit(Exception):
    """The chat is to end."""


class Chat:
    """Asks models, and shows what they answer.

    Args:
        models: One model, or several that get the same questions.
        display: Where answers are shown.
        interactive: Whether a person types the questions. A fault then ends the question, not the
            chat, and so does Ctrl-C.
    """

    def __init__(self, models: Sequence[ChatModel], display: Display, *, interactive: bool) -> None:
        self._models, self._display, self._interactive = models, display, interactive
        self._golds: dict[str, str] = {}
        self._question = ""
        self._answers: list[Answered] = []
        self._forgotten = 0
        if interactive:
            with contextlib.suppress(ImportError):  # for input(): keys that edit, and history
                importlib.import_module("readline")

    def run(self) -> None:
        """Answer until the input ends or ``/quit``."""
        with contextlib.suppress(Quit):
            while True:
                try:
                    if line := self._read():
                        self._command(line) if line.startswith("/") else self._ask(line)
                except MathtuneError as error:
                    if not self._interactive:
                        raise
                    self._display.say("\n".join(error.faults))

    def _read(self) -> str:
        """Return the next line; raise Quit after the last."""
        if not self._interactive and sys.stdin.isatty():
            echo(PROMPT, nl=False, err=True)
        try:
            line = input(PROMPT) + "\n" if self._interactive else sys.stdin.readline()
            line.encode()  # in the C locale, non-ASCII bytes arrive as lone surrogates
        except EOFError:
            line = ""
        except KeyboardInterrupt:
            if not self._interactive:
                raise
            self._display.say("\n/quit or Ctrl-D ends the chat")
            return ""
        except UnicodeError as error:
            raise DataError(f"the question is not UTF-8 ({error}); write it as UTF-8") from error
        if not line:
            raise Quit
        return line.strip()

    def _ask(self, question: str) -> None:
        if not self._question and "" in self._golds:  # given before the first question
            self._golds[question] = self._golds.pop("")
        self._question = question
        states: States = [None] * len(self._models)
        stopped = False
        answers = side_by_side(self._models, question)
        labels = [model.label for model in self._models]
        with (
            _stop_on_interrupt(self._interactive) as interrupted,
            self._display.answering(labels) as show,
            closing(answers),  # type: ignore[type-var]
        ):
            try:
                for states in answers:
                    show(states)
                    if interrupted():
                        stopped = True
                        break
            except KeyboardInterrupt:
                if not self._interactive:
                    raise
                stopped = True
        if stopped and not any(states):
            self._display.say("stopped")
        self._note_forgotten()
        gold = self._golds.get(question)
        self._answers = [
            (label, item, None if item.completion is None else check(item.completion, gold))
            for label, item in zip(labels, states, strict=True)
            if item is not None
        ]
        self._display.answered(question, self._answers)

    def _note_forgotten(self) -> None:
        forgotten = sum(model.forgotten for model in self._models)
        if forgotten > self._forgotten:
            self._display.say(
                f"{forgotten - self._forgotten} of the oldest turns forgotten: the context holds "
                "no more"
            )
        self._forgotten = forgotten

    def _command(self, line: str) -> None:
        name, _, value = line.partition(" ")
        value = value.strip()
        commands: dict[str, Callable[[str], None]] = {
            "/help": self._help,
            "/reset": self._reset,
            "/calculator": self._calculator,
            "/temperature": self._temperature,
            "/style": self._style,
            "/gold": self._gold,
            "/quit": self._quit,
            "/exit": self._quit,
        }
        if name not in commands:
            hint = did_you_mean(name, commands)
            self._display.say(f"no command is called {name}{hint or '; /help lists them'}")
            return
        commands[name](value)

    def _help(self, _: str) -> None:
        width = max(map(len, COMMANDS))
        self._display.say("\n".join(f"{name:{width}}  {text}" for name, text in COMMANDS.items()))

    def _reset(self, _: str) -> None:
        for model in self._models:
            model.reset()
        self._forgotten = 0
        self._display.say("the conversation begins again")

    def _calculator(self, value: str) -> None:
        if value not in ("on", "off"):
            state = "on" if self._models[0].calculator else "off"
            self._display.say(f"the calculator is {state}; give /calculator on or /calculator off")
            return
        for model in self._models:
            model.calculator = value == "on"
        self._display.say(f"calculator {value}")

    def _temperature(self, value: str) -> None:
        try:
            temperature = float(value)
        except ValueError:
            temperature = -1.0
        if not 0 <= temperature < math.inf:
            now = self._models[0].temperature
            self._display.say(f"the temperature is {now:g}; give 0 (greedy) or more, as 0.7")
            return
        for model in self._models:
            model.temperature = temperature
        self._display.say(f"temperature {temperature:g}{'' if temperature else ', greedy'}")

    def _style(self, value: str) -> None:
        if not value:
            self._display.say(f"the style is {self._models[0].style}; give another, as /style qa")
            return
        before = [model.style for model in self._models]
        try:
            for model in self._models:
                model.use_style(value)
        except MathtuneError as error:
            for model, style in zip(self._models, before, strict=True):
                if model.style != style:
                    model.use_style(style)
            self._display.say("\n".join(error.faults))
            return
        self._forgotten = 0
        self._display.say(described_style(self._models[0]))

    def _gold(self, value: str) -> None:
        if not value:
            self._display.say("give the right answer, as /gold 42")
            return
        self._golds[self._question] = value
        if not self._question:
            self._display.say(f"the next question's answers are graded against {value}")
            return
        self._answers = [
            (label, item, None if item.completion is None else check(item.completion, value))
            for label, item, _ in self._answers
        ]
        for label, item, checked in self._answers:
            name = f"{label}: " if len(self._answers) > 1 else ""
            self._display.say(name + remarks(item, checked)[0])

    def _quit(self, _: str) -> None:
        raise Quit


def described_style(model: ChatModel) -> str:
    """Return what the prompt style means for a chat."""
    remembers = "remembers the conversation" if model.remembers else "each question stands alone"
    return f"prompt style {model.style}: {remembers}"


@contextmanager
def _stop_on_interrupt(interactive: bool) -> Iterator[Callable[[], bool]]:
    """Note Ctrl-C while the block runs; the second one is raised, in case the first takes long."""
    came = 0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal came
        came += 1
        if came > 1:
            raise KeyboardInterrupt

    if not interactive:
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: came > 0
    finally:
        signal.signal(signal.SIGINT, before)
