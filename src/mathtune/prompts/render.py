"""Text → ids, loss mask and character offsets: the one place where prompts become tokens.

Training, validation, generation and chat all come here, so the ids a model is prompted with are
exactly the prefix it was trained on. The prompt is encoded by itself, then the solution's tokens
are appended; they are taken from the encoding of the whole text where it has a token border at the
end of the prompt, so that they look as they would in running text.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from mathtune.errors import ModelError
from mathtune.prompts.chat_template import PLAIN, QUESTION, ChatTemplate
from mathtune.prompts.styles import CHAT, Style, stop_strings, style_of
from mathtune.prompts.text import check_history, prompt_text
from mathtune.records import Example, Problem, Prompt, RenderedExample, Turn

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
        embeddings: How many tokens the model has embeddings for, where it is known.

    Raises:
        ModelError: If the tokenizer is slow, has no EOS token, does not keep a solution's text, or
            has no template for ``chat`` that does.
    """

    def __init__(
        self,
        tokenizer: Any,
        style: str,
        *,
        system: str | None = None,
        completion_only: bool = True,
        shots: Sequence[Problem] = (),
        embeddings: int | None = None,
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
        self.tokenizer = tokenizer
        self.style = style
        self.stop = stop_strings(style)
        self._shape: Style | None = None if style == CHAT else style_of(style)
        self._template = None
        if style == CHAT:
            self._template = ChatTemplate(tokenizer, system=system, shots=shots)
        self._completion_only = completion_only
        self._embeddings = embeddings
        self.shots = tuple(shots)
        self._bos = _leading_special_ids(tokenizer)
        unk = tokenizer.unk_token_id
        # GPT-2's UNK is its EOS, so it shows nothing.
        self._unk = None if unk in (tokenizer.eos_token_id, tokenizer.bos_token_id) else unk
        self._ids: dict[int, int] = {}
        self._check_tokens()

    def prompt(
        self, question: str, problem_id: str = "", *, history: Sequence[Turn] = ()
    ) -> Prompt:
        """Return the prompt for a question.

        Args:
            question: The question.
            problem_id: What the completion is to be named by.
            history: Earlier turns of the conversation; only the chat style can show them.

        Raises:
            ConfigError: There are earlier turns in another style.
        """
        check_history(self.style, history)
        text = self._prompt_text(question, history)
        ids = tuple(token for token, _, _ in self._encode_prompt(text))
        self._check_ids(ids, question)
        return Prompt(problem_id, text, ids)

    def visible(self, prompt: Prompt) -> str:
        """Return a prompt's text preceded by the tokens, such as BOS, that it does not show."""
        added = len(prompt.ids) - len(self._encode(prompt.text))
        return "".join(self.tokenizer.convert_ids_to_tokens(prompt.ids[:added])) + prompt.text

    def example(self, problem: Problem) -> Example:
        """Return a problem as a training example: prompt, solution, EOS, and what is supervised.

        A problem without a solution becomes its question's text, all of it supervised and without
        EOS: text for a base model, which must not learn to stop after a question.
        """
        return self.rendered(problem).example

    def rendered(self, problem: Problem) -> RenderedExample:
        """Return a problem's ``example`` with its text and where each token is in it."""
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
        self._check_ids([token for token, _, _ in tokens], problem.question)
        supervised = [False] * len(prompt) + [True] * len(completion)
        if not self._completion_only:
            supervised = [index > 0 for index in range(len(tokens))]
        return self._rendered(problem, text, tokens, supervised, len(prompt))

    def _question_only(self, problem: Problem) -> RenderedExample:
        if self._shape is None:
            text = problem.question
        else:
            text = self._shape.before + problem.question + "\n"
        tokens = self._encode_prompt(text)
        supervised = [index > 0 for index in range(len(tokens))]
        return self._rendered(problem, text, tokens, supervised, len(tokens))

    def _rendered(
        self,
        problem: Problem,
        text: str,
        tokens: Tokens,
        supervised: Sequence[bool],
        prompt_tokens: int,
    ) -> RenderedExample:
        # One object per id of the vocabulary, not per token: 8 bytes a token instead of 36.
        ids = tuple(self._ids.setdefault(token, token) for token, _, _ in tokens)
        example = Example(problem.id, ids, tuple(supervised), prompt_tokens)
        return RenderedExample(example, text, tuple((low, high) for _, low, high in tokens))

    def _prompt_text(self, question: str, history: Sequence[Turn] = ()) -> str:
        if self._shape is None:
            return self._chat().prompt(question, history)
        return prompt_text(self._shape, question, self.shots)

    def _completion_text(self, problem: Problem, prompt_text: str) -> str:
        if self._shape is not None:
            return self._shape.space + problem.answer
        return self._chat().completion(problem.question, prompt_text, problem.answer)

    def _chat(self) -> ChatTemplate:
        assert self._template is not None  # the style is chat
        return self._template

    def _check_tokens(self) -> None:
        """Raise ModelError if the tokenizer loses text: case, digits, symbols, spaces, line breaks.

        Text that is equal under Unicode's NFKC counts as kept, and so does white space at either
        end, which some tokenizers add and others trim. A text with characters that the tokenizer
        does not know (``<unk>``) shows nothing here; ``unknown`` counts those.
        """
        problem = Problem("", QUESTION, PLAIN, "7")
        start = self._prompt_text(problem.question)
        ids = [token for token, _, _ in self._encode_completion(
            start, self._completion_text(problem, start))]  # fmt: skip
        kept = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        same = unicodedata.normalize("NFKC", PLAIN) in unicodedata.normalize("NFKC", kept)
        if not same and self._unk not in ids:
            raise ModelError(
                f"tokenizer {self.tokenizer.name_or_path!r} does not keep a solution's text: "
                f"{PLAIN!r} becomes {kept.strip()!r}, and a model would learn that; use a "
                "model whose tokenizer keeps case, digits, symbols, spaces and line breaks"
            )

    def unknown(self, examples: Iterable[Example]) -> int:
        """Count examples with characters that the tokenizer does not know."""
        return sum(self._unk in example.ids for example in examples)

    def _check_ids(self, ids: Sequence[int], text: str) -> None:
        """Raise ModelError for a token without an embedding; on a GPU it would end the process."""
        if self._embeddings is not None and max(ids, default=0) >= self._embeddings:
            beyond = next(token for token in ids if token >= self._embeddings)
            raise ModelError(
                f"the text {text[:60]!r}… contains the token "
                f"{self.tokenizer.convert_ids_to_tokens(beyond)!r} ({beyond:,}), and the model has "
                f"embeddings for {self._embeddings:,} tokens; remove it from the text, or use the "
                "tokenizer that the model was trained with"
            )

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
    """Ids that the tokenizer itself puts before any text, as in its model's pre-training."""
    with_special = tokenizer("1")["input_ids"]
    plain = tokenizer("1", add_special_tokens=False)["input_ids"]
    for count in range(len(with_special) - len(plain) + 1):
        if with_special[count : count + len(plain)] == plain:
            return list(with_special[:count])
    return []
