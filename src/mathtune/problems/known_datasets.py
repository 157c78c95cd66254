"""Published sets by name: where each lives on the hub, its columns, and its files as published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mathtune.errors import DataError, did_you_mean
from mathtune.problems.files.find import check_is_file


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of a row make a problem.

    Attributes:
        question: Columns whose texts ask the question, joined by ``separator``.
        answer: Worked solution; None where the set publishes final answers only.
        gold: Final answer; None where it is the end of the solution.
        type: Category.
        equation: Used as the solution where a set has an equation and no text.
        optional: Fields, or columns of the question, that a row may leave out.
        separator: Between the texts of a question.
    """

    question: tuple[str, ...] = ("question",)
    answer: str | None = None
    gold: str | None = None
    type: str | None = None
    equation: str | None = None
    optional: frozenset[str] = frozenset()
    separator: str = " "


class SplitFiles(NamedTuple):
    """One split: its name on the hub and glob patterns of its files; the first match is read."""

    hub: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A published set.

    Attributes:
        name: What a recipe calls it.
        hub_id: Its repository on the Hugging Face Hub.
        folder: Its folder inside ``MATHTUNE_DATA_DIR``.
        splits: mathtune's split name to where it is found.
        columns: Which column is what.
        subset: Configuration on the hub.
        gold: Extracts the final answer from its column; ``""`` where there is none.
        prose: Solutions end in free prose, so rows without a usable final answer are expected: they
            are dropped and counted where another set's file would be refused.
        from_gsm8k_test: Its questions are GSM8K test questions, rewritten. Never trained on.
    """

    name: str
    hub_id: str
    folder: str
    splits: Mapping[str, SplitFiles]
    columns: Columns
    subset: str | None = None
    gold: Callable[[str], str] = str.strip
    prose: bool = False
    from_gsm8k_test: bool = False

    def label(self, split: str) -> str:
        """Name a split for ``Problem.source``, for example ``"gsm8k/main:train"``."""
        base = self.name.partition("-")[0] if self.hub_id == GSM8K else self.name
        return f"{base}/{self.subset}:{split}" if self.hub_id == GSM8K else f"{self.name}:{split}"

    def find_files(self, folder: Path, split: str) -> list[Path]:
        """Return the split's files in ``folder``, in order; empty where there are none."""
        for pattern in self.splits[split].files:
            for place in (folder, folder / self.folder):
                found = sorted(place.glob(pattern))
                if found:
                    return found
        return []

    def check_split(self, split: str) -> None:
        """Raise DataError, naming the splits there are, unless ``split`` is one of them."""
        if split not in self.splits:
            raise DataError(
                f"{self.name} has no split {split!r}{did_you_mean(split, self.splits) or '.'} "
                f"Write {' or '.join(f'{self.name}:{known}' for known in self.splits)}"
            )


def _published(split: str, hub: str = "") -> SplitFiles:
    hub = hub or split
    return SplitFiles(hub, (f"{hub}.jsonl", f"{hub}.parquet", f"data/{hub}-*.parquet"))


def _without_unit(text: str) -> str:
    """``9 (apples)`` is 9; ``5 (hours); 20 (minutes)`` is two answers, and so none to grade by."""
    return "" if ";" in text else text.partition("(")[0].strip()


GSM8K = "openai/gsm8k"
_SOLVED = Columns(answer="answer")

KNOWN_SETS = {
    known.name: known
    for known in (
        KnownSet(  # Cobbe et al. 2021
            "gsm8k",
            GSM8K,
            "gsm8k",
            {
                split: SplitFiles(split, (f"{split}.jsonl", f"main/{split}-*.parquet"))
                for split in ("train", "test")
            },
            _SOLVED,
            subset="main",
        ),
        KnownSet(  # the same problems, each step introduced by a question
            "gsm8k-socratic",
            GSM8K,
            "gsm8k",
            {
                split: SplitFiles(split, (f"{split}_socratic.jsonl", f"socratic/{split}-*.parquet"))
                for split in ("train", "test")
            },
            _SOLVED,
            subset="socratic",
        ),
        KnownSet(  # Mitra et al. 2024
            "orca-math",
            "microsoft/orca-math-word-problems-200k",
            "orca-math",
            {"train": _published("train")},
            _SOLVED,
            prose=True,
        ),
        KnownSet(  # Patel et al. 2021: one challenge set of 1,000, which the hub's copy cuts in two
            "svamp",
            "ChilleD/SVAMP",
            "svamp",
            {"test": SplitFiles("train+test", ("SVAMP.json",))},
            Columns(("Body", "Question"), gold="Answer", type="Type", equation="Equation"),
        ),
        KnownSet(  # Miao et al. 2020
            "asdiv",
            "EleutherAI/asdiv",
            "asdiv",
            {"test": _published("test", hub="validation")},
            Columns(("body", "question"), gold="answer", type="solution_type", equation="formula"),
            gold=_without_unit,
        ),
        KnownSet(  # Koncel-Kedziorski et al. 2016, as cleaned by Kadlčík et al. 2023
            "mawps",
            "MU-NLPC/Calc-mawps",
            "mawps",
            {split: _published(split) for split in ("train", "validation", "test")},
            Columns(gold="result", equation="expression"),
        ),
        KnownSet(  # Roy and Roth 2015
            "multiarith",
            "ChilleD/MultiArith",
            "multiarith",
            {split: _published(split) for split in ("train", "test")},
            Columns(gold="final_ans"),
        ),
        KnownSet(  # Li et al. 2024
            "gsm-plus",
            "qintongli/GSM-Plus",
            "gsm-plus",
            {split: _published(split) for split in ("test", "testmini")},
            Columns(answer="solution", gold="answer", type="perturbation_type"),
            from_gsm8k_test=True,
        ),
        *(
            KnownSet(  # Mirzadeh et al. 2024
                "gsm-symbolic" if subset == "main" else f"gsm-symbolic-{subset}",
                "apple/GSM-Symbolic",
                "gsm-symbolic",
                {"test": SplitFiles("test", (f"{subset}/test.jsonl", f"{subset}/test-*.parquet"))},
                _SOLVED,
                subset=subset,
                from_gsm8k_test=True,
            )
            for subset in ("main", "p1", "p2")
        ),
        KnownSet(  # Gao et al. 2022
            "gsm-hard",
            "reasoning-machines/gsm-hard",
            "gsm-hard",
            {"test": _published("test", hub="train")},
            Columns(("input",), gold="target"),
            from_gsm8k_test=True,
        ),
        KnownSet(  # Hendrycks et al. 2021, the 500 problems of Lightman et al. 2023
            "math-500",
            "HuggingFaceH4/MATH-500",
            "math-500",
            {"test": _published("test")},
            Columns(("problem",), answer="solution", gold="answer", type="subject"),
        ),
    )
}


def find_known(name: str, subset: str | None = None) -> KnownSet | None:
    """Return the known set of this name or hub id; None for another repository's id.

    A subset picks among sets of one repository: ``gsm8k`` with ``socratic`` is ``gsm8k-socratic``.

    Raises:
        DataError: It is neither a known name nor of the form ``owner/name``, or the known set has
            no such subset.
    """
    named = KNOWN_SETS.get(name)
    if named is None:
        _check_not_local(name)
    if named is None and "/" not in name:
        raise DataError(
            f"no set is called {name!r}{did_you_mean(name, KNOWN_SETS) or '.'} Known sets: "
            f"{', '.join(KNOWN_SETS)}; any other set by its hub id (owner/name) or with path"
        )
    hub_id = (named.hub_id if named else name).lower()
    siblings = [known for known in KNOWN_SETS.values() if known.hub_id.lower() == hub_id]
    if subset is None:
        return named or next(iter(siblings), None)
    by_subset = {known.subset or "default": known for known in siblings}
    if named is not None and subset not in by_subset:
        raise DataError(
            f"{name} has no subset {subset!r}{did_you_mean(subset, by_subset) or '.'} "
            f"Set subset to one of: {', '.join(by_subset)}"
        )
    return by_subset.get(subset)


def _check_not_local(name: str) -> None:
    """Raise DataError if a name is a file, or a folder that no hub id can mean."""
    place = Path(name)
    if name and place.is_file():
        check_is_file(place)  # its ending is none of ours
    if name and place.is_dir() and name.count("/") != 1:
        raise DataError(f"{name} is a folder; give it as path, as in '{{path: {name}}}'")
