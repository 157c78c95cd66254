"""The layout of a run folder: every file and folder in it by one name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

VERIFIER_ENDING = ".verifier.json"
"""Of the file next to a predictions file that says what a verifier chose."""


@dataclass
class RunPaths:
    """Paths inside a run folder; ``docs/run-folder.md`` describes them."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The complete recipe."""
        return self.folder / "recipe.yaml"

    @property
    def manifest_file(self) -> Path:
        """Versions, seed, git state, fingerprints, finished stages."""
        return self.folder / "manifest.json"

    @property
    def problems(self) -> Path:
        """Problems given in Python."""
        return self.folder / "problems.jsonl"

    @property
    def results(self) -> Path:
        """Every figure."""
        return self.folder / "results.json"

    @property
    def metrics(self) -> Path:
        """Losses, step by step."""
        return self.folder / "metrics.jsonl"

    @property
    def limits(self) -> Path:
        """How small micro-batches had to be where memory ran out."""
        return self.folder / "limits.json"

    @property
    def verifier_problems(self) -> Path:
        """Ids of the problems that a verifier was trained on."""
        return self.folder / "verifier_problems.json"

    @property
    def reference_logprobs(self) -> Path:
        """How likely each answer of a pair was before training (DPO)."""
        return self.folder / "reference_logprobs.json"

    @property
    def report(self) -> Path:
        """The report, as HTML."""
        return self.folder / "report.html"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "README.md"

    @property
    def tracking(self) -> Path:
        """What the trackers need at the next start."""
        return self.folder / "tracking.json"

    @property
    def tensorboard(self) -> Path:
        """Folder of TensorBoard's event files."""
        return self.folder / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints that training continues from."""
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        """Folder of the best weights, or of the best adapter."""
        return self.folder / "model"

    @property
    def initial_adapter(self) -> Path:
        """Folder of a PiSSA adapter's initial weights."""
        return self.folder / "adapter_init"

    @property
    def all_inputs(self) -> Path:
        """Folder of the files that record each stage's inputs."""
        return self.folder / "inputs"

    def inputs(self, stage: str) -> Path:
        """Return the file that records a stage's inputs."""
        return self.all_inputs / f"{stage}.json"

    @property
    def all_predictions(self) -> Path:
        """Folder of the predictions files."""
        return self.folder / "predictions"

    def predictions_of(self, model: str) -> list[Path]:
        """Return a model's existing predictions files, the headline first."""
        folder = self.all_predictions
        others = sorted(folder.glob(f"{model}--*.jsonl*"))
        files = [*sorted(folder.glob(f"{model}.jsonl*")), *others]
        # Files about a predictions file, as base.jsonl.verifier.jsonl, have its name in theirs.
        return [path for path in files if path.suffixes == [".jsonl"] or ".rank-" in path.suffix]

    def headline_predictions(self, model: str) -> Path:
        """Return the predictions file of a model on the headline's set and calculator setting."""
        return self.all_predictions / f"{model}.jsonl"

    def predictions(self, model: str, test_set: str, calculator: bool, *, headline: bool) -> Path:
        """Return the predictions file of a model on a set, with the calculator on or off."""
        if headline:
            return self.headline_predictions(model)
        state = "on" if calculator else "off"
        return self.all_predictions / f"{model}--{slug(test_set)}--calculator-{state}.jsonl"


def slug(label: str) -> str:
    """Return a test set's label as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-") or "set"
