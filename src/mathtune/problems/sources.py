"""One source of a recipe as problems: a known set, a hub id, a local file, the generator."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mathtune.errors import DataError
from mathtune.problems.columns.formats import recognise, with_fields
from mathtune.problems.files import SourceRow, data_files, read_rows
from mathtune.problems.generate import facts, generate
from mathtune.problems.gold import Faults
from mathtune.problems.hub import hub_rows
from mathtune.problems.known_datasets import KnownSet, find_known
from mathtune.problems.reading import BadRows, Loaded, Reading, Role
from mathtune.records import Problem, content_id

if TYPE_CHECKING:  # pydantic is slow to import, and only a recipe needs it
    from mathtune.config.schema import SourceConfig

HubReader = Callable[..., tuple[Iterator[SourceRow], str]]
"""Called like ``hub_rows``."""

DATA_DIR = "MATHTUNE_DATA_DIR"
"""Environment variable: a folder whose copies of known sets are read instead of the hub."""


def source_faults(config: SourceConfig, role: Role, seed: int) -> list[str] | None:
    """Return what is wrong with a source; None where its rows are on the hub and were not read."""
    if config.generated is not None:
        config = config.model_copy(update={"n": 1})  # one shows whether there are such problems
    try:
        read_source(config, role, seed, from_hub=_not_asked)
    except _NotAsked:
        return None
    except DataError as error:
        return error.faults
    return []


def local_problems(config: SourceConfig, role: Role, seed: int) -> tuple[Problem, ...] | None:
    """Return the problems of a source that is on this machine; None where the hub has it.

    Raises:
        DataError: As ``read_source``.
    """
    try:
        return read_source(config, role, seed, from_hub=_not_asked).problems
    except _NotAsked:
        return None


class _NotAsked(Exception):
    """The rest of a source is on the hub."""


def _not_asked(*_: object, **__: object) -> tuple[Iterator[SourceRow], str]:
    raise _NotAsked


class Opened(NamedTuple):
    """A source whose rows have not been read yet.

    Attributes:
        reading: How its rows become problems.
        rows: The rows, which can be read once.
        read_as: Which columns are used for what, where its format was recognised.
    """

    reading: Reading
    rows: Iterator[SourceRow]
    read_as: str = ""


def read_source(
    config: SourceConfig, role: Role, seed: int, *, from_hub: HubReader = hub_rows
) -> Loaded:
    """Read all problems of a source; ``config.limit`` is left to the caller.

    Args:
        config: The source.
        role: Decides the default split, and what a source may be used for.
        seed: Seed of the generator, unless the source has its own.
        from_hub: What reads a set from the hub.

    Raises:
        DataError: The source cannot be found or read, or none of its rows is usable.
    """
    if config.generated is not None:
        return Loaded(_generated(config, role, seed), {}, generated=True)
    opened = open_source(config, role, from_hub=from_hub)
    loaded = opened.reading.problems(opened.rows)
    return replace(loaded, read_as=opened.read_as) if opened.read_as else loaded


def open_source(config: SourceConfig, role: Role, *, from_hub: HubReader = hub_rows) -> Opened:
    """Find a source that is not generated, and recognise its format by its first rows.

    Raises:
        DataError: It cannot be found, or its format is not recognised.
    """
    if config.name is None:
        return _own_file(config, role)
    name, _, revision = config.name.partition("@")
    if revision and config.path is not None:
        raise DataError(
            f"{config.name} asks for a revision on the hub and path={config.path} for a local "
            "file; leave one of them out"
        )
    known = find_known(name, config.subset)
    if known is not None:
        return _known_set(known, config, role, revision or None, from_hub)
    if config.path is not None:
        raise DataError(
            f"{config.name!r} is not a known set, so its format is not known; "
            "leave name out and map its columns with fields"
        )
    split = config.split or role.value
    rows, origin = from_hub(name, config.subset, split, revision=revision or None)
    label = f"{name}{f'/{config.subset}' if config.subset else ''}:{split} ({origin})"
    return _recognised(rows, config, role, label, BadRows.DROP)


def _known_set(
    known: KnownSet, config: SourceConfig, role: Role, revision: str | None, from_hub: HubReader
) -> Opened:
    split = config.split or role.value
    if role is not Role.TEST and known.from_gsm8k_test:
        raise DataError(
            f"{known.name} is made of GSM8K test questions, so it must not be used for "
            f"{'training' if role is Role.TRAIN else 'validation'}; name it under data.test only"
        )
    if role is Role.VALIDATION and config.split is None and split not in known.splits:
        raise DataError(
            f"{known.name} has no split for validation; leave data.validation empty to hold out a "
            f"part of the training problems, or name a split, for example {known.name}:train"
        )
    known.check_split(split)
    bad_rows = BadRows.DROP if known.prose or config.path is None else BadRows.REFUSE
    files = _local_files(known, config, split) if revision is None else []
    rows: Iterator[SourceRow]
    if files:
        rows, origin = itertools.chain.from_iterable(map(read_rows, files)), "local file"
    else:
        rows, origin = from_hub(
            known.hub_id,
            known.subset,
            known.splits[split].hub,
            revision=revision,
            local_file=f"{known.folder}/{known.splits[split].files[0]}",
        )
    label = f"{known.label(split)} ({origin})"
    columns = with_fields(known.columns, config.fields)
    reading = Reading(label, columns, role, bad_rows, known.prose or config.prose, known)
    return Opened(reading, rows)


def _local_files(known: KnownSet, config: SourceConfig, split: str) -> list[Path]:
    """Files named by the recipe or found in ``MATHTUNE_DATA_DIR``; if none, the hub is used."""
    if config.path is not None:
        path = Path(config.path).expanduser()
        if not path.is_dir():
            return [path]
        files = known.find_files(path, split)
        if not files:
            raise DataError(
                f"{path} holds no {split} split of {known.name}; it must hold one of "
                f"{', '.join(known.splits[split].files)}"
            )
        return files
    folder = os.environ.get(DATA_DIR)
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise DataError(f"{DATA_DIR}={folder} is not a folder; correct or unset it")
    return known.find_files(Path(folder) / known.folder, split)


def _own_file(config: SourceConfig, role: Role) -> Opened:
    if config.subset is not None:
        raise DataError(
            f"{config.path} is a file, so subset={config.subset} has no meaning for it; leave "
            "subset out, or add the name of the known set whose published files these are"
        )
    assert config.path is not None  # the schema asks for one origin
    files = data_files(Path(config.path).expanduser(), config.split, role.value)
    rows = itertools.chain.from_iterable(map(read_rows, files))
    return _recognised(rows, config, role, config.path, BadRows.REFUSE)


_LOOKED_AT = 20
"""Readable rows at the start of a source from which its format is recognised."""


def _recognised(
    rows: Iterator[SourceRow], config: SourceConfig, role: Role, label: str, bad_rows: BadRows
) -> Opened:
    """Open a source whose columns are recognised from its first rows."""
    seen = list(itertools.islice(rows, 1000))
    first = [row for row in seen if not row.fault][:_LOOKED_AT]
    if not seen:
        raise DataError(f"{label} holds no rows; name another split or file")
    if not first:
        faults = Faults()
        for row in seen:
            faults.add(row.fault, row.place, row.detail, damaged=True)
        faults.refuse(label)
    found = recognise(first, config.fields)
    reading = Reading(label, found.columns, role, bad_rows, config.prose)
    read_as = f"{label}: {found.sentence(first[0])}"
    return Opened(reading, itertools.chain(seen, rows), read_as)


def _generated(config: SourceConfig, role: Role, seed: int) -> tuple[Problem, ...]:
    assert config.n is not None  # the schema asks for it
    seed = seed if config.seed is None else config.seed
    if config.generated == "facts":
        return _labelled(facts(config.n, seed), "generated facts")
    problems = generate(
        config.n,
        seed=seed,
        types=[config.types] if isinstance(config.types, str) else config.types,
        split=config.templates,
        part=config.part,
        max_number=config.max_number,
    )
    if config.generated == "problems":
        return _labelled(problems, "generated problems")
    if role is Role.TEST:
        raise DataError(
            "generated questions have no answers, so they cannot be a test set; "
            "use generated: problems"
        )
    bare = [replace(p, id=content_id(p.question), answer="", gold="", steps=None) for p in problems]
    return _labelled(bare, "generated questions")


def _labelled(problems: Iterable[Problem], label: str) -> tuple[Problem, ...]:
    return tuple(replace(problem, source=label) for problem in problems)
