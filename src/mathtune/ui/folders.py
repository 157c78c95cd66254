"""Run folders and predictions files below the root; nothing outside it can be named or read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote

from mathtune.errors import RunError
from mathtune.run_list.find import DEEPEST
from mathtune.run_paths import RunPaths

CONSOLE = ".console.log"
"""What a training that the page started prints, in its run folder."""

JOB = ".job.json"
"""Its process, in its run folder."""


class Root:
    """The folder that holds the run folders.

    A run or a file is named by its path below it, percent-encoded, so that the name of a folder
    never needs care in an address.

    Args:
        folder: It need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._real = folder.resolve()

    @property
    def label(self) -> str:
        """The root as a user would write it here."""
        here = Path.cwd()
        inside = self.folder.is_relative_to(here)
        return str(self.folder.relative_to(here) if inside else self.folder)

    def id_of(self, path: Path) -> str:
        """Return the name of a folder or file below the root."""
        return quote(path.relative_to(self.folder).as_posix())

    def run(self, name: str) -> RunPaths:
        """Return the run folder of that name.

        Raises:
            RunError: There is none below the root.
        """
        folder = self._inside(name)
        if not (os.path.isdir(folder) and is_run(folder)):  # false also where a name is too long
            raise RunError(f"there is no run folder {unquote(name)!r} below {self.folder}")
        return RunPaths(folder)

    def predictions(self, name: str) -> Path:
        """Return the predictions file of that name.

        Raises:
            RunError: There is none below the root.
        """
        path = self._inside(name)
        if path.suffix != ".jsonl" or not os.path.isfile(path):
            raise RunError(f"there is no predictions file {unquote(name)!r} below {self.folder}")
        return path

    def new_run(self, name: str) -> Path:
        """Return where a new run folder of that name will be; it may exist.

        Raises:
            RunError: The name is not that of one folder directly below the root.
        """
        if not name or name[0] == "." or len(name) > 120 or set(name) & set('/\\\0\n"'):
            raise RunError(f"{name!r} cannot name a run folder; use letters, digits and hyphens")
        return self._inside(quote(name))

    def _inside(self, name: str) -> Path:
        path = self.folder / unquote(name)
        if "\0" in str(path) or not path.resolve().is_relative_to(self._real):
            raise RunError(f"{unquote(name)!r} is not below {self.folder}")
        return path

    def runs(self) -> Iterator[Path]:
        """Yield every run folder, with the rounds inside one."""
        yield from _runs(self.folder, DEEPEST)

    def all_predictions(self) -> list[Path]:
        """Return every predictions file of every run folder, and those beside them."""
        found = [path for run in self.runs() for path in _jsonl(RunPaths(run).all_predictions)]
        return [*found, *_jsonl(self.folder)]


def is_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, or one is being started in it."""
    paths = RunPaths(folder)
    return any(each.is_file() for each in (paths.recipe, paths.manifest_file, folder / JOB))


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    try:
        inside = [each for each in os.scandir(folder) if each.is_dir() and each.name[0] != "."]
    except OSError:  # a folder that cannot be read holds nothing to show
        return
    for entry in inside:
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(folder.resolve()):
            continue
        path = Path(entry.path)
        if is_run(path):
            yield path
            if (path / "rounds").is_dir():
                yield from _runs(path / "rounds", 2)
        elif depth > 1:
            yield from _runs(path, depth - 1)


def _jsonl(folder: Path) -> list[Path]:
    try:
        files = [each for each in folder.iterdir() if each.suffix == ".jsonl"]
        return sorted(files, key=lambda path: ("--" in path.name, path.name))  # headline first
    except OSError:
        return []
