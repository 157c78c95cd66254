"""Text → ids, loss mask and character offsets: the one place where prompts become tokens.

Training, validation, generation and chat all come here, so the ids a model is prompted with are
exactly the prefix it was trained on. The prompt is encoded by itself, then the solution's tokens
are appended; they are taken from the encoding of the whole text where it has a token border at the
end of the prompt, so that they look as they would in running text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mathtune.errors import ModelError
from mathtune.prompts.styles import CHAT, Style, stop_strings, style_of
from mathtune.prompts.text import chat_messages, prompt_text
from mathtune.records import Example, Problem, Prompt

Tokens = list[tuple[int, int, int]]
"""Token id, start and end in the text."""


class Renderer:
    """Renders problems in one style for one tokenizer.

    Args:
        tokenizer: A fast Transformers tokenizer with an EOS token.
        style: Name of a style in ``mathtune.prompts.styles``, or ``chat``.
        system: System message of the chat style.
        completion_only: Supervise the solution only; otherwise every token after the first.
        shots: Solved problems shown before the question (never supervised).

    Raises:
        ModelError: If the tokenizer is slow, has no EOS token, or has no template for ``chat``.
    """

    def __init__(
        self,
        tokenizer: Any,
        style: str,
        *,
        system: str | None = None,
        completion_only: bool = True,
        shots: Sequence[Problem] = (),
    ) -> None:
        name = tokenizer.name_or_path or "without a name"
        if not tokenizer.is_fast:
            raise ModelError(
                f"tokenizer {name!r} gives no character offsets; load its fast version "
                "(a folder with tokenizer.json)"
            )
        if tokenizer.eos_token_id is None:
            raise ModelError(
                f"tokenizer {name!r} has no EOS token, so a model could not learn to stop; "
                "set tokenizer.eos_token and save it again"
            )
        if style == CHAT and not tokenizer.chat_template:
            raise ModelError(
                f"prompt.style=chat, but tokenizer {name!r} has no chat template; use an "
                "instruction-tuned model or prompt.style=qa"
            )
        self.tokenizer = tokenizer
        self.style = style
        self.stop = stop_strings(style)
        self._shape: Style | None = None if style == CHAT else style_of(style)
        self._system = system
        self._completion_only = completion_only
        self.shots = tuple(shots)
        self._bos = _leading_special_ids(tokenizer)

    def prompt(self, question: str, problem_id: str = "") -> Prompt:
        """Return what a model is prompted with for a question."""
        text = self._prompt_text(question)
        return Prompt(problem_id, text, tuple(token for token, _, _ in self._encode_prompt(text)))

    def visible(self, prompt: Prompt) -> str:
        """Return a prompt's text with the tokens before it, as BOS, that its text does not show."""
        added = len(prompt.ids) - len(self._encode(prompt.text))
        return "".join(self.tokenizer.convert_ids_to_tokens(prompt.ids[:added])) + prompt.text

    def example(self, problem: Problem) -> Example:
        """Return a problem as a training example: prompt, solution, EOS, and what is supervised.

        A problem without a solution becomes its question's text, all of it supervised and without
        EOS: text for a base model, which must not learn to stop after a question.
        """
        if not problem.answer:
            return self._question_only(problem)
        prompt_text = self._prompt_text(problem.question)
        completion_text = self._completion_text(problem, prompt_text)
        text = prompt_text + completion_text
        prompt = self._encode_prompt(prompt_text)
        completion = self._encode_completion(prompt_text, completion_text)
        if not completion or completion[-1][0] != self.tokenizer.eos_token_id:
            completion.append((self.tokenizer.eos_token_id, len(text), len(text)))
        tokens = prompt + completion
        supervised = [False] * len(prompt) + [True] * len(completion)
        if not self._completion_only:
            supervised = [index > 0 for index in range(len(tokens))]
        return _example(problem.id, text, tokens, supervised, len(prompt))

    def _question_only(self, problem: Problem) -> Example:
        if self._shape is None:
            text = problem.question
        else:
            text = self._shape.before + problem.question + "\n"
        tokens = self._encode_prompt(text)
        return _example(
            problem.id, text, tokens, [index > 0 for index in range(len(tokens))], len(tokens)
        )

    def _prompt_text(self, question: str) -> str:
        if self._shape is None:
            return str(
                self.tokenizer.apply_chat_template(
                    self._messages(question), tokenize=False, add_generation_prompt=True
                )
            )
        return prompt_text(self._shape, question, self.shots)

    def _completion_text(self, problem: Problem, prompt_text: str) -> str:
        if self._shape is not None:
            return self._shape.space + problem.answer
        whole = self.tokenizer.apply_chat_template(
            [*self._messages(problem.question), {"role": "assistant", "content": problem.answer}],
            tokenize=False,
        )
        if not whole.startswith(prompt_text):
            raise ModelError(
                f"the chat template of {self.tokenizer.name_or_path!r} renders a conversation that "
                "does not begin with its own generation prompt, so training and inference would "
                "differ; use prompt.style=qa or repair the template"
            )
        # Templates end a turn with a line break after the end-of-turn token: nothing to learn.
        return str(whole[len(prompt_text) :].rstrip("\n"))

    def _messages(self, question: str) -> list[dict[str, str]]:
        messages = chat_messages(question, system=self._system, shots=self.shots)
        return [{"role": role, "content": said} for role, said in messages]

    def _encode_prompt(self, text: str) -> Tokens:
        """Encode with exactly one BOS where the tokenizer uses one."""
        tokens = self._encode(text)
        leading = [token for token, _, _ in tokens[: len(self._bos)]]
        if leading == self._bos:  # a chat template may have written it already
            return tokens
        return [(token, 0, 0) for token in self._bos] + tokens

    def _encode_completion(self, prompt_text: str, completion_text: str) -> Tokens:
        start = len(prompt_text)
        whole = self._encode(prompt_text + completion_text)
        after = [token for token in whole if token[1] >= start]
        if after and after[0][1] == start:
            return after
        # A token straddles the border: encode the solution alone.
        return [
            (token, low + start, high + start) for token, low, high in self._encode(completion_text)
        ]

    def _encode(self, text: str) -> Tokens:
        encoded = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [
            (token, low, high)
            for token, (low, high) in zip(
                encoded["input_ids"], encoded["offset_mapping"], strict=True
            )
        ]


def _leading_special_ids(tokenizer: Any) -> list[int]:
    """Ids that the tokenizer puts before any text by itself, as its model was pre-trained."""
    with_special = tokenizer("1")["input_ids"]
    plain = tokenizer("1", add_special_tokens=False)["input_ids"]
    for count in range(len(with_special) - len(plain) + 1):
        if with_special[count : count + len(plain)] == plain:
            return list(with_special[:count])
    return []


def _example(
    problem_id: str, text: str, tokens: Tokens, supervised: Sequence[bool], prompt_tokens: int
) -> Example:
    return Example(
        problem_id=problem_id,
        text=text,
        ids=tuple(token for token, _, _ in tokens),
        supervised=tuple(supervised),
        offsets=tuple((low, high) for _, low, high in tokens),
        prompt_tokens=prompt_tokens,
    )
