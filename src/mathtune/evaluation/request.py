"""What an evaluation asks for, and which saved rows answer exactly that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from mathtune.errors import DataError, RunError
from mathtune.evaluation.predictions.rows import complete_lines_of, prompt_hash
from mathtune.evaluation.predictions.saved_rows import RowPlaces
from mathtune.generation.engine import Decoding
from mathtune.grading import grade, published_grades
from mathtune.grading.steps import ErrorKind, classify
from mathtune.records import (
    CUT_OFF,
    Completion,
    Outcome,
    PredictionRow,
    Problem,
    ProblemSet,
    Prompt,
    StopReason,
)
from mathtune.text.counts import counted

Key = tuple[str, int]
"""Problem id and sample."""

ERROR_NAMES = {
    ErrorKind.NONE: None,
    ErrorKind.ARITHMETIC: "arithmetic_slip",
    ErrorKind.REASONING: "reasoning",
    ErrorKind.FORMAT: "format",
}
"""Values of a row's ``error``."""


def decoding_fields(decoding: Decoding) -> dict[str, Any]:
    """Return a row's record of a decoding: everything that can change a completion's text."""
    fields = {
        "max_new_tokens": decoding.max_new_tokens,
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "samples": decoding.samples,
        "seed": decoding.seed,
        "stop": list(decoding.stop),
        "calculator": decoding.calculator,
    }
    # Left out where it is off, so that rows of engines and versions without it can be compared.
    return fields | ({"stop_repetition": True} if decoding.stop_repetition else {})


class EvaluationRequest:
    """What is asked: every problem with its prompt, and the fields all its rows share.

    Answers are numbered in the order of the final file: by problem, then by sample.
    """

    def __init__(
        self,
        problems: ProblemSet,
        prompts: Sequence[Prompt] | Callable[[Problem], Prompt],
        decoding: Decoding,
        style: str,
    ) -> None:
        if not problems.problems:
            raise DataError(f"set {problems.label!r} has no problems; there is nothing to evaluate")
        self._problems = problems
        self._numbers = {problem.id: number for number, problem in enumerate(problems.problems)}
        self._prompts = prompts
        if not callable(prompts) and [prompt.problem_id for prompt in prompts] != [
            problem.id for problem in problems.problems
        ]:
            raise self._do_not_fit(f"{len(prompts)} prompts")
        if len(self._numbers) < len(problems):
            raise DataError(
                f"set {problems.label!r} repeats "
                f"{counted(len(problems) - len(self._numbers), 'problem')}; drop the copies, which "
                "would be counted twice"
            )
        self.decoding = decoding
        self._style = style
        self._decoding = decoding_fields(decoding)
        self._hashes: list[str | None] = [None] * len(problems)

    def __len__(self) -> int:
        """How many answers are asked for."""
        return len(self._numbers) * self.decoding.samples

    def number(self, key: Key) -> int | None:
        """Return the number of an answer; None where it is not asked for."""
        number, samples = self._numbers.get(key[0]), self.decoding.samples
        return None if number is None or not 0 <= key[1] < samples else number * samples + key[1]

    def prompt(self, problem: Problem) -> Prompt:
        """Return a problem's prompt; not kept, since a million of them take gigabytes.

        Raises:
            DataError: It is the prompt of another problem.
        """
        made, number = self._prompts, self._numbers[problem.id]
        prompt = made(problem) if callable(made) else made[number]
        if prompt.problem_id != problem.id:
            raise self._do_not_fit(f"prompts such as that of {prompt.problem_id!r}")
        self._hashes[number] = prompt_hash(prompt.text)
        return prompt

    def _do_not_fit(self, what: str) -> DataError:
        return DataError(
            f"set {self._problems.label!r} has {len(self._problems)} problems and {what}, "
            "whose problem ids do not agree; give one prompt per problem in the same order"
        )

    def row(self, completion: Completion) -> PredictionRow:
        """Return the graded row of a completion."""
        shared = self.shared(completion.problem_id)
        stop_reason = completion.stop_reason.value
        row: dict[str, Any] = {
            **shared,
            "sample": completion.sample,
            "completion": completion.text,
            "tokens": len(completion.ids) if completion.ids or not completion.text else None,
            "inserted_tokens": completion.inserted_tokens,
            **(
                {"corrected_tokens": completion.corrected_tokens}
                if completion.inserted_tokens and completion.corrected_tokens is not None
                else {}
            ),
            "stop_reason": stop_reason,
            **verdict_fields(completion.text, shared["gold"], shared["answer"], stop_reason),
        }
        if completion.logprobs is not None:
            row["ids"] = list(completion.ids)
            row["logprobs"] = [round(each, 6) for each in completion.logprobs]
        return cast(PredictionRow, row)

    def shared(self, problem_id: str) -> dict[str, Any]:
        """Return the fields that all rows of a problem have in common, with a sample of 0."""
        number = self._numbers[problem_id]
        problem = self._problems.problems[number]
        if self._hashes[number] is None:
            self.prompt(problem)
        return {
            "problem_id": problem.id,
            "sample": 0,
            "set": self._problems.label,
            "question": problem.question,
            "answer": problem.answer,
            "gold": problem.gold,
            "type": problem.type,
            "steps": problem.steps,
            "prompt_hash": self._hashes[number],
            "style": self._style,
            "decoding": self._decoding,
        }

    def accept(self, path: Path) -> Iterator[tuple[int, int, PredictionRow]]:
        """Yield the number, the place and the content of each saved row.

        Raises:
            RunError: If a row answers anything that is not asked.
        """
        for at, row in complete_lines_of(path):
            key = (row["problem_id"], row["sample"])
            number = self.number(key)
            if number is None:
                raise RunError(
                    f"{path} holds problem {key[0]!r} sample {key[1]}, which is not among the "
                    f"{len(self._numbers)} problems and {self.decoding.samples} samples asked "
                    "for; delete the file to evaluate again, or name another one"
                )
            differing = self._differing(row)
            if differing:
                name, there = differing[0], dict[str, object](row)
                raise RunError(
                    f"{path} holds rows with {', '.join(differing)} that differ from the request "
                    f"({name}: {there[name]!r} there, {self.shared(key[0])[name]!r} now); delete "
                    "the file to evaluate again, or restore the former settings"
                )
            yield number, at, row

    def reusable(self, others: Iterable[PredictionRow]) -> Iterator[tuple[int, PredictionRow]]:
        """Yield the rows of the other calculator setting that would be the same under this one.

        Without a ``<<`` the calculator, switched on, never starts; where it inserted nothing, or
        only what the model would have written itself, switching it off changes nothing. Either
        holds for greedy decoding of one model.

        Raises:
            RunError: If a row was decoded differently (except for the calculator), or not greedily.
        """
        wanted = self._decoding
        for row in others:
            calculator = row["decoding"]["calculator"]
            flipped = {**row["decoding"], "calculator": not calculator}
            if flipped != wanted or self.decoding.temperature != 0:
                raise RunError(
                    f"rows decoded with {row['decoding']} cannot be reused for {wanted}: only "
                    "greedy ones that differ in the calculator alone; leave out reuse"
                )
            number = self.number((row["problem_id"], row["sample"]))
            corrected = row.get("corrected_tokens", row["inserted_tokens"])
            same = corrected == 0 if calculator else "<<" not in row["completion"]
            copy: PredictionRow = {**row, "decoding": wanted, "inserted_tokens": 0}
            copy.pop("corrected_tokens", None)
            if same and number is not None and not self._differing(copy):
                yield number, copy

    def missing(self, there: RowPlaces) -> list[Problem]:
        """Return the problems of which a sample is missing, in order."""
        samples = range(self.decoding.samples)
        return [
            problem
            for number, problem in enumerate(self._problems.problems)
            if any(number * len(samples) + sample not in there for sample in samples)
        ]

    def _differing(self, row: PredictionRow) -> list[str]:
        shared, values = self.shared(row["problem_id"]), dict[str, object](row)
        return [name for name in shared if name != "sample" and values[name] != shared[name]]


def verdict_fields(completion: str, gold: str, answer: str, stop_reason: str) -> dict[str, Any]:
    """Grade a completion and return a row's fields about it."""
    # Their own gold parsing knows only GSM8K's marker; a solution in prose would never match.
    published_gold = answer if "####" in answer else gold
    verdict = grade(completion, gold, finished=stop_reason not in CUT_OFF)
    if verdict.outcome is Outcome.TRUNCATED and stop_reason == StopReason.REPETITION.value:
        verdict = replace(verdict, reason="stopped repeating itself before an answer was given")
    return {
        "outcome": verdict.outcome.value,
        "correct": verdict.correct,
        "extracted": verdict.extracted,
        "method": verdict.method,
        "reason": verdict.reason,
        "error": ERROR_NAMES[classify(verdict, completion)],
        "published": published_grades(completion, published_gold),
    }
