"""``data``: where problems come from."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mathtune.config.schema.section import Positive, Section, Seed


class SourceConfig(Section):
    """One source of problems. A bare string is short for ``name``, or ``path`` if it is a file."""

    name: str | None = None
    """A known set (``gsm8k``, ``gsm8k-socratic``, ``orca-math``, ``svamp``) or any hub id."""
    path: str | None = None
    """Local JSONL, JSON, CSV or Parquet, gzipped or not: a file, a folder of shards or a pattern
    such as ``data/train-*.parquet``; with ``name``: that set in its published format."""
    subset: str | None = None
    """Configuration name on the hub."""
    split: str | None = None
    """Split on the hub, or of the known set. Default: ``train`` to train on, ``test`` to test."""
    fields: dict[Literal["question", "answer", "gold", "type"], str] = Field(default_factory=dict)
    """Which column holds what, for example ``{question: prompt, answer: response}``;
    ``outer.inner`` reaches inside a column, ``messages.user`` and ``messages.assistant`` into a
    conversation."""
    prose: bool = False
    """Solutions end in free prose, without ``####``, a box or "the answer is": take the number in
    the last sentence as the final answer, and count such rows. With several numbers there the
    answer is uncertain: the row is trained on, but left out of exact match. Off: such rows are
    refused."""
    generated: Literal["problems", "facts", "questions"] | None = None
    """Instead of ``name``: mathtune's own generator. ``questions`` leaves the solutions out."""
    types: list[str] | Literal["base", "new"] | None = None
    """Only these types of generated problems; ``base`` and ``new``, alone or in a list, are the
    demo's two groups."""
    templates: Literal["train", "held_out", "all"] = "train"
    """Generated problems from templates kept for training, held out, or all."""
    part: Literal["train", "test", "all"] = "train"
    """Generated problems are split by content hash, so that test texts never occur in training."""
    n: Positive | None = None
    """How many generated problems."""
    max_number: Positive | None = None
    """Only generated problems whose calculations have whole numbers up to this: easier ones."""
    seed: Seed | None = None
    """Seed of the generator; default: the recipe's seed."""
    limit: Positive | None = None
    """Take only this many, the first by content hash."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Leave out this many, the first by content hash: what another source takes with ``limit``."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """Share of the training problems, relative to the weights of the other sources, which all need
    one then. The largest mixture without repeats is taken: of the other sources fewer problems, the
    first by content hash. As ``interleave_datasets`` that stops at the first exhausted source."""

    @model_validator(mode="after")
    def _one_origin(self) -> SourceConfig:
        if self.generated is None:
            if self.name is None and self.path is None:
                raise ValueError("needs a name (known set or hub id), a path, or generated")
            if self.n is not None:
                raise ValueError(
                    "n counts generated problems; use limit to take only part of a set"
                )
            if self.max_number is not None:
                raise ValueError("max_number is for generated problems")
        elif self.name or self.path or self.fields or self.split or self.prose:
            raise ValueError("generated problems take no name, path, fields, split or prose")
        elif self.n is None:
            raise ValueError("generated problems need n, for example n: 1000")
        elif self.generated == "facts" and self.max_number is not None:
            raise ValueError("generated facts take no max_number; use generated: problems")
        return self


FILE_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


def _source_from_text(value: Any) -> Any:
    """Read ``gsm8k``, ``gsm8k:test`` and ``my/file.jsonl`` as sources."""
    if not isinstance(value, str):
        return value
    if value.endswith(FILE_ENDINGS):
        return {"path": value}
    name, _, split = value.partition(":")
    return {"name": name, "split": split or None}


Source = Annotated[SourceConfig, BeforeValidator(_source_from_text)]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


Sources = Annotated[list[Source], BeforeValidator(_as_list), Field(min_length=1)]


class TestSetConfig(Section):
    """A labelled set that is only reported on, never used to choose a checkpoint."""

    __test__ = False  # not a test class, despite its name

    label: str
    """Name in reports."""
    sources: Sources
    """Where its problems come from."""


def _test_sets_from_short(value: Any) -> Any:
    """Read ``test: gsm8k`` and ``test: [{name: gsm8k}]`` as labelled sets."""
    if value is None:
        return None
    sets = []
    for item in _as_list(value):
        if isinstance(item, dict) and ("sources" in item or "label" in item):
            sets.append(item)
        else:
            source = _source_from_text(item)
            found = source if isinstance(source, dict) else {}  # else its own check reports it
            label = found.get("name") or found.get("path") or "generated"
            sets.append({"label": str(label), "sources": [source]})
    return sets


TestSets = Annotated[
    list[TestSetConfig], BeforeValidator(_test_sets_from_short), Field(min_length=1)
]


class DataConfig(Section):
    """Which problems to train on, to choose the checkpoint by, and to report on."""

    train: Sources
    """Sources of training problems, shuffled together."""
    validation: Annotated[list[Source], BeforeValidator(_as_list)] = Field(default_factory=list)
    """Sources of validation problems; empty: ``validation_fraction`` of ``train`` is held out."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Fraction of ``train`` held out for validation, chosen by content hash."""
    test: TestSets
    """Sets to report on; the first is the headline."""
    max_train_samples: Positive | None = None
    """Take at most this many training problems."""
    max_validation_samples: Positive | None = None
    """Take at most this many validation problems."""
    max_test_samples: Positive | None = None
    """Take at most this many problems of each test set."""
    contamination: Literal["drop", "error", "report"] = "drop"
    """What to do with a training problem that shares a masked 13-gram with a test problem."""

    @model_validator(mode="after")
    def _all_weights_or_none(self) -> DataConfig:
        for name, sources in (("train", self.train), ("validation", self.validation)):
            given = [source.weight is not None for source in sources]
            if any(given) and not all(given):
                raise ValueError(
                    f"{sum(given)} of {len(given)} sources of {name} have a weight; give every "
                    "source one, or none"
                )
        if any(source.weight is not None for test in self.test for source in test.sources):
            raise ValueError("weight mixes sources to train on; test sets take limit instead")
        return self
