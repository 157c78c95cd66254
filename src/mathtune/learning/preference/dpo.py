"""``train.objective: dpo``: puts the sample file, reference and loss together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mathtune import progress, ranks
from mathtune.config.schema import Recipe
from mathtune.errors import RunError
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.learning.figures import Figures
from mathtune.learning.preference.loss import DirectPreference, Pair
from mathtune.learning.preference.pairs import pairs_of
from mathtune.prompts.render import Renderer
from mathtune.records import Example, Problem
from mathtune.run_paths import RunPaths
from mathtune.storage import read_json, write_json
from mathtune.training.loss.supervised import token_logprobs
from mathtune.training.objective import Start
from mathtune.training.step_source import ShuffledExamples


@dataclass
class Preference:
    """Learning by direct preference optimisation; see ``training.objective.Learning``.

    Attributes:
        recipe: The recipe.
        problems: Its training problems.
    """

    recipe: Recipe
    problems: Sequence[Problem]
    unit = "pair"
    steps_per_batch = 1
    _pairs: list[Pair] = field(default_factory=list)

    def prepare(self, renderer: Renderer) -> list[Example]:
        """Return the longer text of each pair.

        Raises:
            DataError: The sample file cannot be read, or gives no pair.
        """
        config = self.recipe.dpo
        assert config.samples is not None  # the schema asks for it
        self._pairs = pairs_of(
            read_rows(Path(config.samples)),
            self.problems,
            renderer,
            max_pairs=config.max_pairs,
            max_length=self.recipe.train.max_length,
            source=config.samples,
        )
        return [max(pair.texts, key=lambda text: len(text.ids)) for pair in self._pairs]

    def validation(self, renderer: Renderer) -> None:
        """Validation loss is measured on solutions."""

    def start(self, start: Start) -> tuple[DirectPreference, PairSource]:
        """Return the objective and its source, with reference log-probabilities in each pair.

        Raises:
            RunError: The run was started with other pairs.
        """
        reference = self._reference(start)
        pairs = [
            replace(pair, reference=(chosen, rejected))
            for pair, (chosen, rejected) in zip(self._pairs, reference, strict=True)
        ]
        figures = Figures()
        per_step, seed = start.state.examples_per_step, self.recipe.seed
        source = PairSource(ShuffledExamples(pairs, per_step, seed), figures)
        return DirectPreference(self.recipe.dpo, figures), source

    def _reference(self, start: Start) -> list[list[float]]:
        """Return both log-probabilities of each pair before training, computed once per run."""
        path = RunPaths(start.run_dir).reference_logprobs
        texts = [text for pair in self._pairs for text in pair.texts]
        digest = hashlib.sha256(json.dumps([text.ids for text in texts]).encode()).hexdigest()
        if start.state.source:  # the run is continued, and its model is not the one before it
            saved = ranks.from_first(lambda: read_json(path, ("pairs", "logprobs")))
            if saved["pairs"] != digest:
                raise RunError(
                    f"the pairs made from {self.recipe.dpo.samples} are not those that this run "
                    "was started with; restore the file, or start over with another --run-dir"
                )
            logprobs: list[list[float]] = saved["logprobs"]
            return logprobs
        mine = ranks.share(texts)
        with progress.bar("reference log-probabilities", len(mine)) as bar:
            each = token_logprobs(start.model, mine, start.fitting.limits, bar.update)
            own = [
                sum(v for v, target in zip(values, text.supervised, strict=True) if target)
                for text, values in zip(mine, each, strict=True)
            ]
        parts = [iter(part) for part in ranks.gather(own)]
        flat = [next(parts[index % len(parts)]) for index in range(len(texts))]
        made = [[flat[index], flat[index + 1]] for index in range(0, len(flat), 2)]
        if ranks.is_first():
            write_json(path, {"pairs": digest, "logprobs": made})
        ranks.wait()
        return made


@dataclass
class PairSource:
    """Pairs in shuffled order; figures since the last training line are saved with its state."""

    pairs: ShuffledExamples[Pair]
    figures: Figures

    def next_step(self) -> list[Pair]:
        """Return the pairs of the next step."""
        return self.pairs.next_step()

    @property
    def epoch(self) -> float:
        """How often all pairs have been seen."""
        return self.pairs.epoch

    def state(self) -> dict[str, Any]:
        """Return what ``restore`` needs, for JSON."""
        return {**self.pairs.state(), "figures": self.figures.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after the step at which ``state`` was taken."""
        self.pairs.restore(state)
        self.figures.restore(state["figures"])
