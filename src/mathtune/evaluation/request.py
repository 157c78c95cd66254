"""What an evaluation asks for, and which saved rows answer exactly that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from mathtune.errors import DataError, RunError
from mathtune.evaluation.predictions.rows import prompt_hash
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
    """What is asked: every problem with its prompt, and the fields all its rows share."""

    def __init__(
        self,
        problems: ProblemSet,
        prompts: Sequence[Prompt] | Callable[[Problem], Prompt],
        decoding: Decoding,
        style: str,
    ) -> None:
        if not problems.problems:
            raise DataError(f"set {problems.label!r} has no problems; there is nothing to evaluate")
        made = [prompts(p) for p in problems.problems] if callable(prompts) else list(prompts)
        if [prompt.problem_id for prompt in made] != [p.id for p in problems.problems]:
            raise DataError(
                f"set {problems.label!r} has {len(problems)} problems and {len(made)} prompts, "
                "whose problem ids do not agree; give one prompt per problem in the same order"
            )
        self._prompts = {prompt.problem_id: prompt for prompt in made}
        if len(self._prompts) < len(made):
            raise DataError(
                f"set {problems.label!r} repeats "
                f"{counted(len(made) - len(self._prompts), 'problem')}; drop the copies, which "
                "would be counted twice"
            )
        self.decoding = decoding
        self._shared: dict[str, dict[str, Any]] = {
            problem.id: {
                "problem_id": problem.id,
                "sample": 0,
                "set": problems.label,
                "question": problem.question,
                "answer": problem.answer,
                "gold": problem.gold,
                "type": problem.type,
                "steps": problem.steps,
                "prompt_hash": prompt_hash(self._prompts[problem.id].text),
                "style": style,
                "decoding": decoding_fields(decoding),
            }
            for problem in problems.problems
        }
        # The keys of a dict: the order of the final file, and a fast test of membership.
        self.keys: Mapping[Key, None] = dict.fromkeys(
            (id_, sample) for id_ in self._shared for sample in range(decoding.samples)
        )

    def row(self, completion: Completion) -> PredictionRow:
        """Return the graded row of a completion."""
        shared = self._shared[completion.problem_id]
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

    def shared(self, problem_id: str) -> Mapping[str, Any]:
        """Return the fields that all rows of a problem have in common, ``sample`` aside."""
        return self._shared[problem_id]

    def accept(self, saved: Sequence[PredictionRow], path: Path) -> dict[Key, PredictionRow]:
        """Return saved rows by key.

        Raises:
            RunError: If a row answers anything that is not asked.
        """
        rows: dict[Key, PredictionRow] = {}
        for row in saved:
            key = (row["problem_id"], row["sample"])
            if key not in self.keys:
                raise RunError(
                    f"{path} holds problem {key[0]!r} sample {key[1]}, which is not among the "
                    f"{len(self._shared)} problems and {self.decoding.samples} samples asked for; "
                    "delete the file to evaluate again, or name another one"
                )
            differing = self._differing(row)
            if differing:
                name, there = differing[0], dict[str, object](row)
                raise RunError(
                    f"{path} holds rows with {', '.join(differing)} that differ from the request "
                    f"({name}: {there[name]!r} there, {self._shared[key[0]][name]!r} now); delete "
                    "the file to evaluate again, or restore the former settings"
                )
            for name, value in self._shared[key[0]].items():
                if name != "sample":  # equal, and held once for all: saves half the memory
                    row[name] = value  # type: ignore[literal-required]
            if rows.setdefault(key, row) != row:
                raise RunError(
                    f"{path} holds two different rows for problem {key[0]!r} sample {key[1]}; two "
                    "evaluations wrote to it at once. Delete the file to evaluate again"
                )
        return rows

    def reusable(self, others: Sequence[PredictionRow]) -> dict[Key, PredictionRow]:
        """Return the rows of the other calculator setting that would be the same under this one.

        Without a ``<<`` the calculator, switched on, never starts; where it inserted nothing, or
        only what the model would have written itself, switching it off changes nothing. Either
        holds for greedy decoding of one model.

        Raises:
            RunError: If a row was decoded differently (except for the calculator), or not greedily.
        """
        wanted = decoding_fields(self.decoding)
        rows: dict[Key, PredictionRow] = {}
        for row in others:
            calculator = row["decoding"]["calculator"]
            flipped = {**row["decoding"], "calculator": not calculator}
            if flipped != wanted or self.decoding.temperature != 0:
                raise RunError(
                    f"rows decoded with {row['decoding']} cannot be reused for {wanted}: only "
                    "greedy ones that differ in the calculator alone; leave out reuse"
                )
            key = (row["problem_id"], row["sample"])
            corrected = row.get("corrected_tokens", row["inserted_tokens"])
            same = corrected == 0 if calculator else "<<" not in row["completion"]
            copy: PredictionRow = {**row, "decoding": wanted, "inserted_tokens": 0}
            copy.pop("corrected_tokens", None)
            if same and key in self.keys and not self._differing(copy):
                rows[key] = copy
        return rows

    def missing(self, rows: Mapping[Key, PredictionRow]) -> list[Prompt]:
        """Return the prompts of all problems with a missing sample, in problem order."""
        ids = dict.fromkeys(key[0] for key in self.keys if key not in rows)
        return [self._prompts[id_] for id_ in ids]

    def _differing(self, row: PredictionRow) -> list[str]:
        shared, values = self._shared[row["problem_id"]], dict[str, object](row)
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
