"""What each stage of a run would be made from now, by content; ``Inputs`` lists the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from mathtune.binding.file_hashes import FileHashes
from mathtune.binding.fingerprints import model_inputs, problem_fingerprint
from mathtune.binding.inputs import Inputs, digest, hidden
from mathtune.config.identity import stage_knobs
from mathtune.config.schema import Recipe
from mathtune.grading import GRADER_VERSION
from mathtune.records import Problem, ProblemSet, Splits
from mathtune.runs import Run


@dataclass(frozen=True)
class CurrentInputs:
    """The inputs of a run's stages as they are on this machine now; what is not here is empty.

    Attributes:
        run: The run folder.
        recipe: The current recipe.
        splits: The problems; empty where they are not here.
        shots: Solved examples in the prompts.
        hashes: Hashes of files with weights.
    """

    run: Run
    recipe: Recipe
    splits: Splits
    shots: Sequence[Problem]
    hashes: FileHashes

    def of(self, stage: str) -> Inputs:
        """Return the inputs of ``base``, ``train`` or ``tuned``."""
        knobs = stage_knobs(self.recipe, stage)
        if url := knobs.get("eval.base_url"):
            knobs["eval.base_url"] = hidden(url)
        train = stage == "train"
        graded = not train or self.recipe.train.exact_match_samples
        if train:
            knobs |= self._learned_from
        return replace(
            self._model_of(stage),
            problems=self._train if train else self._test,
            ordered=train,
            shots=[] if train else [problem_fingerprint(shot) for shot in self.shots],
            knobs=knobs,
            grader=GRADER_VERSION if graded else "",
        )

    def model(self, name: str | None, revision: str | None = None) -> Inputs:
        """Return the items of a model."""
        return model_inputs(name, revision, self.hashes)

    @cached_property
    def questions(self) -> Mapping[str, str]:
        """Fingerprint of a problem → its question."""
        sets = (self.splits.train, self.splits.validation, *self.splits.test)
        return {problem_fingerprint(p): p.question for each in sets for p in each.problems}

    def _model_of(self, stage: str) -> Inputs:
        config = self.recipe.model
        if self.recipe.eval.engine == "openai":
            return Inputs(model=config.name_or_path or "")
        trains = self.run.model.exists() or self.run.inputs("train").exists()
        if stage == "tuned" and trains:
            return self.model(str(self.run.model))
        return self.model(config.name_or_path, config.revision)

    @cached_property
    def _learned_from(self) -> dict[str, str]:
        """What a training learns from besides problems, by content, as far as it is here."""
        recipe, found = self.recipe, dict[str, str]()
        teacher, revision = recipe.gkd.teacher_model_name_or_path, recipe.gkd.teacher_revision
        if teacher is not None and (weights := self.model(teacher, revision).weights):
            found["the content of gkd.teacher_model_name_or_path"] = hidden(digest(dict(weights)))
        for name in ("dpo", "verifier"):
            samples = getattr(recipe, name).samples
            if samples is not None and Path(samples).is_file():
                found[f"the content of {name}.samples"] = hidden(self.hashes(Path(samples)))
        return found

    @cached_property
    def _train(self) -> dict[str, list[str]]:
        if not self.splits.train.problems:
            return {}
        return {
            "training problems": _fingerprints(self.splits.train),
            "validation problems": _fingerprints(self.splits.validation),
        }

    @cached_property
    def _test(self) -> dict[str, list[str]]:
        return {test_set_name(each.label): _fingerprints(each) for each in self.splits.test}


def test_set_name(label: str) -> str:
    """Return the name of a test set among a stage's inputs."""
    return f"test problems of {label}"


def hashes_of(run: Run, *, save: bool) -> FileHashes:
    """Return the hashes of large files that a run remembers."""
    return FileHashes(run.inputs("hashes"), save=save)


def _fingerprints(problems: ProblemSet) -> list[str]:
    return [problem_fingerprint(problem) for problem in problems.problems]
