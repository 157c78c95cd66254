"""An engine that answers from a mapping, for tests and for trying a pipeline without a model."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from mathtune.errors import ModelError
from mathtune.generation.engine import UNKNOWN_TOKEN, Decoding, StreamedCompletion
from mathtune.generation.stops import find_stop
from mathtune.records import Completion, Prompt, StopReason


class ScriptedEngine:
    """Answers each prompt with the text given for its problem.

    Args:
        answers: Text by problem id; a sequence gives one text per sample, repeated from its start
            if more samples are asked for.
        truncated: Problem ids whose completion ends with ``StopReason.LENGTH``.

    Attributes:
        asked: ``(problem_id, sample)`` of every completion made so far.
    """

    name = "scripted"

    def __init__(
        self, answers: Mapping[str, str | Sequence[str]], *, truncated: Collection[str] = ()
    ) -> None:
        self._answers = answers
        self._truncated = frozenset(truncated)
        self.asked: list[tuple[str, int]] = []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield the scripted completions in the order of ``prompts``, cut at stop strings.

        Raises:
            ModelError: A prompt's problem has no scripted answer.
        """
        for prompt in prompts:
            if self._answers.get(prompt.problem_id, ()) == ():
                raise ModelError(
                    f"the scripted engine has no answer for problem {prompt.problem_id!r}; "
                    "add it to the answers"
                )
            for sample in range(decoding.samples):
                self.asked.append((prompt.problem_id, sample))
                yield self._complete(prompt.problem_id, sample, decoding)

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[StreamedCompletion]:
        """Yield the scripted completion as it is written, a word at a time.

        Raises:
            ModelError: As ``generate``.
        """
        (completion,) = self.generate([prompt], replace(decoding, samples=1))
        for word in re.finditer(r"\S+\s+", completion.text):
            yield StreamedCompletion(completion.text[: word.end()])
        yield StreamedCompletion(completion.text, (), completion)

    def _complete(self, problem_id: str, sample: int, decoding: Decoding) -> Completion:
        written = self._answers[problem_id]
        text = written if isinstance(written, str) else written[sample % len(written)]
        cut = find_stop(text, decoding.stop)
        if cut is not None:
            reason = StopReason.STOP_STRING
        elif problem_id in self._truncated:
            reason = StopReason.LENGTH
        else:
            reason = StopReason.EOS
        return Completion(
            problem_id=problem_id,
            sample=sample,
            text=text[:cut],
            ids=(UNKNOWN_TOKEN,) * len(text[:cut].split()),  # a word counts as a token
            stop_reason=reason,
            logprobs=(0.0,) * len(text[:cut].split()) if decoding.logprobs else None,
        )
