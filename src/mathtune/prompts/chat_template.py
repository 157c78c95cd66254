"""A tokenizer's chat template, checked: it must show every text literally, once, and no other.

Templates are programs written by the model's maker. Some drop, trim or rewrite what the assistant
says, or open a thought for it; a model would then be trained on, or prompted with, texts other than
its problems, and nobody would notice. So a template is tried on texts of every kind before it is
used, and each solution is searched for in its output.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mathtune.errors import ModelError
from mathtune.prompts.text import chat_messages
from mathtune.records import Problem, Turn

QUESTION = "Kim has 3 owls.\nShe buys  4 — how many (of $5 each)?"
PLAIN = "Kim has 3+4=<<3+4=7>>7 owls.\n\nSo  7.\n#### 7"
THOUGHT = "<think>\nIs it 99? No, 3+4.\n</think>\n\nKim has 7 owls.\n#### 7"
"""What a template is tried on; some drop a thought, which shows only where there is one."""

_OPENS = re.compile(
    r"<\|?(?:\w+:)?(?:begin_of_|start_)?(?:think|thinking|thought|reasoning)\|?>|\[THINK\]|◁think▷"
    r"|<\|channel\|>analysis",
    re.IGNORECASE,
)
_CLOSES = re.compile(
    r"<(?:/|\|?(?:\w+:)?(?:end_of_|end_))(?:\w+:)?(?:think|thinking|thought|reasoning)\|?>"
    r"|\[/THINK\]|◁/think▷|<\|end\|>",
    re.IGNORECASE,
)


class ChatTemplate:
    """Renders prompts and solutions with a tokenizer's chat template.

    Args:
        tokenizer: Anything with Transformers' ``apply_chat_template``.
        system: System message.
        shots: Solved problems shown as turns before the question.

    Raises:
        ModelError: If the template is missing, broken, refuses these messages, or does not show
            each of them literally and once.
    """

    def __init__(
        self, tokenizer: Any, *, system: str | None = None, shots: Sequence[Problem] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._system = system
        self._shots = tuple(shots)
        self._name = f"the chat template of {tokenizer.name_or_path or 'this tokenizer'!r}"
        if not tokenizer.chat_template:
            raise ModelError(
                f"prompt.style=chat, but tokenizer {tokenizer.name_or_path!r} has no chat "
                "template; use an instruction-tuned model or prompt.style=qa"
            )
        self._frames: set[tuple[str, str]] = set()
        opened = self.prompt(QUESTION)
        self._check_prompt(opened)
        for solution in (PLAIN, THOUGHT):
            self._frames.add(self._frame(opened, solution))

    def prompt(self, question: str, history: Sequence[Turn] = ()) -> str:
        """Return the text of a prompt, up to where the assistant begins.

        Earlier turns are shown as the template shows them; some leave out their thoughts.

        Raises:
            ModelError: The question is not in it.
        """
        text = self._apply(self._messages(question, history), add_generation_prompt=True)
        if question.strip() not in text:
            raise self._fault(f"loses or rewrites the question: {_shown(question)} became", text)
        return text

    def completion(self, question: str, prompt: str, solution: str) -> str:
        """Return what follows a prompt: the solution and the end of the assistant's turn.

        Raises:
            ModelError: The template has changed the solution.
        """
        completion = self._completion(question, prompt, solution)
        bare = solution.strip()  # most templates trim white space around a text
        for lead, tail in self._frames:
            inner = completion.removeprefix(lead).removesuffix(tail)
            if inner.strip() == bare and len(lead + inner + tail) == len(completion):
                return completion
        raise self._unlike(solution, completion)

    def _completion(self, question: str, prompt: str, solution: str) -> str:
        answered = [*self._messages(question), {"role": "assistant", "content": solution}]
        whole = self._apply(answered, add_generation_prompt=False)
        if not whole.startswith(prompt):
            raise ModelError(
                f"{self._name} renders a conversation that does not begin with its own generation "
                "prompt, so training and inference would differ; use prompt.style=qa or repair the "
                f"template ({_difference(prompt, whole)})"
            )
        # Templates end a turn with a line break after the end-of-turn token: nothing to learn.
        return whole[len(prompt) :].rstrip("\n")

    def _frame(self, prompt: str, solution: str) -> tuple[str, str]:
        """Return what the template puts before and after a solution."""
        completion = self._completion(QUESTION, prompt, solution)
        lead, found, tail = completion.partition(solution)
        if not found or solution in tail:
            raise self._unlike(solution, completion)
        if _leaves_open(lead):
            raise self._fault("opens a thought before the solution:", lead)
        last = prompt.rstrip().rpartition("\n")[2]
        if len(last) > 4 and tail.rstrip().endswith(last) and tail.strip() != last:
            raise self._fault("begins another turn of the assistant after the solution:", tail)
        return lead, tail

    def _check_prompt(self, text: str) -> None:
        said = [("the question", QUESTION), ("the system message", self._system or "")]
        for shot in self._shots:
            said += [("a shown question", shot.question), ("a shown solution", shot.answer)]
        for what, message in said:
            if message.strip() not in text:
                raise self._fault(f"loses or rewrites {what}: {_shown(message)} became", text)
        if text.count(QUESTION.strip()) > 1:
            raise self._fault("shows the question more than once:", text)
        opening = text.rpartition(QUESTION.strip())[2]
        if _leaves_open(opening):
            raise self._fault("opens a thought by itself, which no solution closes:", opening)

    def _messages(self, question: str, history: Sequence[Turn] = ()) -> list[dict[str, str]]:
        messages = chat_messages(question, system=self._system, shots=self._shots, history=history)
        return [{"role": role, "content": said} for role, said in messages]

    def _apply(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=add_generation_prompt
                )
            )
        except Exception as error:  # it is a program that may raise anything
            why = " ".join(str(error).split()) or type(error).__name__
            remedy = "leave prompt.system out, or " if self._system else ""
            roles = ", ".join(message["role"] for message in messages)
            raise ModelError(
                f"{self._name} could not be used: {why.rstrip('.')} (given the roles {roles}); "
                f"{remedy}use prompt.style=qa or repair the template"
            ) from error

    def _unlike(self, solution: str, completion: str) -> ModelError:
        bare = solution.strip()
        if completion.count(bare) > 1:
            return self._fault("shows the solution more than once:", completion)
        if bare in completion:
            return self._fault(f"puts more text around the solution {_shown(bare)}:", completion)
        lost = _lost(bare, completion)
        return self._fault(
            f"drops or rewrites part of the solution: {_shown(lost)} is lost; what is left is",
            completion,
        )

    def _fault(self, what: str, text: str) -> ModelError:
        return ModelError(
            f"{self._name} {what} {_shown(text)}; use prompt.style=qa or repair the template"
        )


def _leaves_open(text: str) -> bool:
    """Return whether a thought is opened in a text and not closed in it."""
    opened = [match.end() for match in _OPENS.finditer(text)]
    return bool(opened) and not _CLOSES.search(text, opened[-1])


def _lost(solution: str, completion: str) -> str:
    """Return the part of a solution that was not rendered, neither its beginning nor its end."""
    end = next((n for n in range(len(solution)) if solution[n:] in completion), len(solution))
    rest = solution[:end]
    begin = next((n for n in range(len(rest) - 1, 1, -1) if rest[:n] in completion), 0)
    return rest[begin:]


def _difference(prompt: str, whole: str) -> str:
    at = next(
        (n for n, (one, other) in enumerate(zip(prompt, whole, strict=False)) if one != other),
        min(len(prompt), len(whole)),
    )
    return f"{_shown(prompt[at:])} in place of {_shown(whole[at:])}"


def _shown(text: str, longest: int = 80) -> str:
    """Return a text in quotes, cut in the middle where it is long."""
    if len(text) > longest:
        text = text[: longest // 2] + " … " + text[-longest // 2 :]
    return repr(text)
