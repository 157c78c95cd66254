"""``results.json``: every figure of a run, kept from stage to stage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mathtune import ranks
from mathtune.config.schema import EvalConfig
from mathtune.records import ProblemSet
from mathtune.runs import Run
from mathtune.storage import damaged, read_json, write_json


@dataclass
class Results:
    """The figures of one run folder."""

    run: Run
    data: dict[str, Any]

    @classmethod
    def open(cls, run: Run, config: EvalConfig, test_sets: Sequence[ProblemSet]) -> Results:
        """Read what earlier stages of this run have saved, or start empty."""
        return cls(run, ranks.from_first(lambda: cls._read(run, config, test_sets)))

    @staticmethod
    def _read(run: Run, config: EvalConfig, test_sets: Sequence[ProblemSet]) -> dict[str, Any]:
        path = run.results
        data: dict[str, Any] = {
            "headline": {"set": test_sets[0].label, "calculator": config.calculator},
            "evaluations": [],
            "comparisons": [],
            "example": {"question": config.example, "answers": []},
        }
        if path.exists():
            found = _whole(path, tuple(data))
            question = {**found["example"], "question": config.example}
            return {**found, "headline": data["headline"], "example": question}
        return data

    @classmethod
    def look(cls, run: Run) -> Results:
        """Read the file without changing it; empty if there is none.

        Raises:
            RunError: ``results.json`` is damaged.
        """
        path = run.results
        return cls(run, _whole(path, ()) if path.exists() else {})

    def has(self, model: str) -> bool:
        """Return whether a model's figures and the predictions behind them are here."""
        found = [old for old in self.data["evaluations"] if old["model"] == model]
        return bool(found) and ranks.from_first(
            lambda: all((self.run.folder / old["predictions"]).is_file() for old in found)
        )

    def add(self, evaluations: list[dict[str, Any]], answers: list[dict[str, Any]]) -> None:
        """Keep a model's figures and its answers to the example, replacing older ones."""
        models = {evaluation["model"] for evaluation in evaluations}
        others = [old for old in self.data["evaluations"] if old["model"] not in models]
        self.data["evaluations"] = others + evaluations
        kept = [old for old in self.data["example"]["answers"] if old["model"] not in models]
        self.data["example"]["answers"] = kept + answers
        self._save()

    def drop(self, model: str) -> None:
        """Remove a model's figures, and the comparisons that used them."""
        left = [old for old in self.data["evaluations"] if old["model"] != model]
        answers = self.data["example"]["answers"]
        self.data["example"]["answers"] = [old for old in answers if old["model"] != model]
        if left != self.data["evaluations"]:
            self.data |= {"evaluations": left, "comparisons": []}
            self._save()

    def add_comparisons(self, comparisons: list[dict[str, Any]]) -> None:
        """Keep the comparisons of base and tuned."""
        self.data["comparisons"] = comparisons
        self._save()

    def headline(self) -> dict[str, Any]:
        """Return the figures that ``--json`` prints, as far as they are known.

        ``base.exact_match`` is there both as a nested object and under its dotted name.
        """
        where = self.data["headline"]
        figures: dict[str, Any] = {"run_dir": str(self.run.folder), **where}
        for evaluation in self.data["evaluations"]:
            if _is_at(evaluation, where):
                figures["n"] = evaluation["n"]
                figures[evaluation["model"]] = _in_short(evaluation)
                figures[f"{evaluation['model']}.exact_match"] = evaluation["exact_match"]["value"]
        keys = ("difference", "difference_low", "difference_high", "mcnemar_p", "gained", "lost")
        for comparison in self.data["comparisons"]:
            if _is_at(comparison, where):
                figures |= {key: comparison[key] for key in (*keys, "verdict")}
        return figures

    def _save(self) -> None:
        if ranks.is_first():
            write_json(self.run.results, self.data)


def _whole(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    data = read_json(path, keys=keys)
    if fault := shape_fault(data):
        raise damaged(path, fault)
    return data


def shape_fault(data: Mapping[str, Any]) -> str | None:
    """Return why an object is not valid for ``results.json``, or None."""
    kinds = {"headline": dict, "evaluations": list, "comparisons": list, "example": dict}
    for key, kind in kinds.items():
        if not isinstance(data.get(key, kind()), kind):
            return f"{key} is not {'an object' if kind is dict else 'a list'}"
    for key, needed in (("evaluations", _OF_EVALUATION), ("comparisons", _OF_COMPARISON)):
        for each in data.get(key, ()):
            if not isinstance(each, dict) or not needed <= set(each):
                return f"one of its {key} is incomplete"
    answers = data.get("example", {}).get("answers", [])
    if not isinstance(answers, list) or not all(isinstance(each, dict) for each in answers):
        return "the answers to the example are not a list of objects"
    return None


_OF_EVALUATION = {"model", "set", "calculator", "n", "exact_match", "predictions"}
_OF_COMPARISON = {"set", "calculator", "n", "difference", "verdict"}


_OF_SAMPLES = ("samples", "pass_at", "majority_at", "solved")


def _in_short(evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation's figures without breakdowns, rates as bare shares."""
    rate = evaluation["exact_match"]
    plain = (
        *("outcomes", "errors", "mean_tokens", "seconds_per_problem", "perplexity"),
        *(key for key in _OF_SAMPLES if evaluation["samples"] > 1 and key in evaluation),
    )
    return {
        "exact_match": rate["value"],
        "low": rate["low"],
        "high": rate["high"],
        **({"majority": evaluation["majority"]["value"]} if "majority" in evaluation else {}),
        **{key: _values(evaluation[key]) for key in ("published", "rates")},
        **{key: evaluation[key] for key in plain},
    }


def _values(rates: dict[str, dict[str, Any]]) -> dict[str, float]:
    return {name: rate["value"] for name, rate in rates.items()}


def _is_at(figures: dict[str, Any], where: dict[str, Any]) -> bool:
    return all(figures[key] == where[key] for key in ("set", "calculator"))
