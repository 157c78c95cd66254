"""A loaded model that is asked questions and, in the chat style, remembers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mathtune import stages
from mathtune.config.schema import Recipe
from mathtune.evaluation.measure import decoding_of
from mathtune.generation.engine import Decoding, StreamedCompletion, StreamingEngine
from mathtune.prompts.styles import CHAT
from mathtune.records import Completion, Prompt, Turn

if TYPE_CHECKING:
    from mathtune.training.session import Session

PROBLEM = "chat"
"""Problem id of every question; the seed of sampling depends on it."""


class ChatModel:
    """Answers questions, prompted exactly as in training and evaluation.

    Args:
        label: What the model is called next to others.
        recipe: Its model, prompt style, shots and limits; with ``session`` those of a loaded model.
        session: The model, if it is already loaded.

    Attributes:
        label: As given.
        calculator: Whether the calculator fills in results after ``<<…=``.
        temperature: 0, as at the start, is greedy; above, each answer is sampled, with a seed of
            its own.
        top_p: Nucleus sampling mass.
        history: Turns that the next prompt shows; only in the chat style.
        forgotten: How many turns were dropped because the model's context holds no more.

    Raises:
        ModelError: It cannot be loaded, or its tokenizer has no template for the style.
    """

    def __init__(self, label: str, recipe: Recipe, session: Session | None = None) -> None:
        if session is None:
            from mathtune.training.session import Session

            session = Session.load(recipe)
        self.label = label
        self.calculator = recipe.eval.calculator
        self.temperature, self.top_p = 0.0, recipe.eval.top_p
        self.history: list[Turn] = []
        self.forgotten = 0
        self._recipe, self._session = recipe, session
        self._shots = stages.load_shots(recipe)
        self._renderer = session.renderer(shots=self._shots)
        self._engine: StreamingEngine = session.engine()
        self._asked = 0

    @property
    def name(self) -> str:
        """The model's folder or hub id."""
        return self._recipe.model.name_or_path or self.label

    @property
    def style(self) -> str:
        """The prompt style."""
        return self._renderer.style

    @property
    def remembers(self) -> bool:
        """Whether a question is asked after those before it: only the chat style has turns."""
        return self.style == CHAT

    def use_style(self, style: str) -> None:
        """Use another prompt style, and begin again.

        Raises:
            ConfigError: There is no such style.
            ModelError: The tokenizer has no template for it.
        """
        prompt = self._recipe.prompt.model_copy(update={"style": style})
        session = replace(self._session, recipe=self._recipe.model_copy(update={"prompt": prompt}))
        self._renderer = session.renderer(shots=self._shots)
        self._session = session
        self.reset()

    def reset(self) -> None:
        """Forget the conversation."""
        self.history, self.forgotten = [], 0

    def answer(self, question: str) -> Completion:
        """Return the answer to a question.

        Raises:
            ModelError: The question leaves no room in the model's context.
        """
        *_, last = self.stream(question)
        assert last.completion is not None
        return last.completion

    def stream(self, question: str) -> Iterator[StreamedCompletion]:
        """Yield the answer to a question after each of its tokens, the whole one last.

        The question and what was written of the answer become part of the conversation, also if
        the iterator is closed before its end.

        Raises:
            ModelError: The question leaves no room in the model's context.
        """
        decoding = self._decoding()
        prompt = self._prompt(question, decoding.max_new_tokens)
        self._asked += 1
        written = ""
        try:
            for item in self._engine.stream(prompt, decoding):
                written = item.text
                yield item
        finally:
            if self.remembers and written.strip():
                self.history.append((question, written.strip()))

    def _decoding(self) -> Decoding:
        greedy = decoding_of(self._recipe.eval, self._renderer, calculator=self.calculator)
        if self.temperature == 0:
            return greedy
        return replace(
            greedy,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self._recipe.seed + self._asked,
            stop_repetition=False,  # as in a measurement
        )

    def _prompt(self, question: str, new_tokens: int) -> Prompt:
        """Return the prompt; the oldest turns are dropped until an answer fits the context."""
        context = self._session.context()
        while True:
            prompt = self._renderer.prompt(question, PROBLEM, history=self.history)
            if context is None or not self.history or len(prompt.ids) + new_tokens <= context:
                return prompt
            del self.history[0]
            self.forgotten += 1


def side_by_side(
    models: Sequence[ChatModel], question: str
) -> Iterator[list[StreamedCompletion | None]]:
    """Ask several models the same question, a token of each in turn.

    Yields:
        What each has written so far, in the order of the models; None for one that has not begun.

    Raises:
        ModelError: The question leaves no room in the context of one.
    """
    streams = [model.stream(question) for model in models]
    state: list[StreamedCompletion | None] = [None] * len(models)
    running = list(range(len(models)))
    try:
        while running:
            for index in list(running):
                item = next(streams[index], None)
                if item is None:
                    running.remove(index)
                    continue
                state[index] = item
                yield list(state)
    finally:
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]
