"""``train.objective: verifier``: learn from graded samples which answers are right.

Cobbe et al. 2021 train a second model on a hundred samples per problem and let it choose among
those of a new one. Here the loss is the cross-entropy of the verdict alone, as in their
solution-level verifier; their joint language-modelling loss is left out.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mathtune import ranks
from mathtune.config.schema import Recipe
from mathtune.errors import DataError
from mathtune.learning.held_out import check_not_test
from mathtune.learning.sources import read_samples
from mathtune.learning.verifier.texts import with_verdict
from mathtune.prompts.render import Renderer
from mathtune.records import CUT_OFF, Example, Outcome, PredictionRow, Problem
from mathtune.run_paths import RunPaths
from mathtune.storage import write_json
from mathtune.training.objective import Start, SupervisedFineTuning
from mathtune.training.step_source import ShuffledExamples

log = logging.getLogger(__name__)

_GRADED = (Outcome.CORRECT.value, Outcome.WRONG.value)


@dataclass
class VerdictLearning:
    """Learning which answers are right; see ``training.objective.Learning``.

    Attributes:
        recipe: The recipe.
        problems: Its training problems; samples of others are not used.
        held_out: Its validation problems, whose samples measure the loss.
    """

    recipe: Recipe
    problems: Sequence[Problem]
    held_out: Sequence[Problem]
    unit = "answer"
    steps_per_batch = 1
    _examples: list[Example] = field(default_factory=list)
    _rows: list[PredictionRow] = field(default_factory=list)

    def prepare(self, renderer: Renderer) -> list[Example]:
        """Return the answers with their verdicts, as many right as wrong ones of each problem.

        Raises:
            DataError: The sample file cannot be read, is of a test split, or has no problem with
                both a right and a wrong answer.
        """
        source = self.recipe.verifier.samples
        assert source is not None  # the schema asks for it
        files = read_samples([Path(source)])
        check_not_test(files)
        self._rows = [row for file in files for row in file.rows]
        self._examples = self._of(self.problems, renderer, "training")
        return self._examples

    def validation(self, renderer: Renderer) -> list[Example]:
        """Return the same of the validation problems.

        Raises:
            DataError: There is none.
        """
        return self._of(self.held_out, renderer, "validation")

    def start(self, start: Start) -> tuple[SupervisedFineTuning, ShuffledExamples[Example]]:
        """Return cross-entropy and the answers in shuffled order; note their problems."""
        if ranks.is_first():
            seen = sorted({example.problem_id for example in self._examples})
            write_json(RunPaths(start.run_dir).verifier_problems, {"problems": seen})
        source = ShuffledExamples(self._examples, start.state.examples_per_step, self.recipe.seed)
        return SupervisedFineTuning(), source

    def _of(self, problems: Sequence[Problem], renderer: Renderer, what: str) -> list[Example]:
        config, by_id = self.recipe.verifier, {problem.id: problem for problem in problems}
        answers: dict[str, dict[bool, list[str]]] = {n: {True: [], False: []} for n in by_id}
        left_out: Counter[str] = Counter()
        for row in self._rows:
            if row["problem_id"] not in by_id:
                continue  # the other part's, or of a problem that data.train does not name
            own, text = answers[row["problem_id"]][bool(row["correct"])], row["completion"].strip()
            if row["outcome"] not in _GRADED or row["stop_reason"] in CUT_OFF or not text:
                left_out["without an answer, cut off or ungradable"] += 1
            elif text in own:
                left_out["given before to the same problem"] += 1
            else:
                own.append(text)
        made: list[Example] = []
        for name, kinds in answers.items():
            count = min(len(kinds[True]), len(kinds[False]), config.max_per_problem)
            left_out["beyond as many right as wrong ones"] += (
                len(kinds[True]) + len(kinds[False]) - 2 * count
            )
            for right in (True, False):
                for text in kinds[right][:count]:
                    example = with_verdict(renderer, by_id[name], text, right)
                    if len(example.ids) <= self.recipe.train.max_length:
                        made.append(example)
                    else:
                        left_out["longer than train.max_length"] += 1
        reasons = ", ".join(f"{n:,} {why}" for why, n in left_out.most_common() if n)
        if not made:
            raise DataError(
                f"{config.samples} has no {what} problem with both a right and a wrong answer"
                + (f" (answers left out: {reasons})" if reasons else "")
                + "; sample several answers to all problems in data.train, and let "
                "data.validation_fraction hold some of them out"
            )
        log.info(
            f"{what}: {len(made):,} answers with verdicts from {config.samples}"
            + (f"; left out: {reasons}" if reasons else "")
        )
        return made
