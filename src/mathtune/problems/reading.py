"""The rows of a source as problems; what is left out or only noted is counted."""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mathtune.errors import DataError
from mathtune.grading.stated import Stated
from mathtune.problems.columns.cells import CellFault
from mathtune.problems.columns.rows import Made, to_problem
from mathtune.problems.files import SourceRow
from mathtune.problems.gold import KEPT, Faults, gold_fault
from mathtune.problems.known_datasets import Columns, KnownSet
from mathtune.records import Problem


class Role(enum.Enum):
    """What a source is for; also the default split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class BadRows(enum.Enum):
    """What to do with a row without a usable gold answer."""

    REFUSE = "refuse"
    """The file is the user's own: it can be repaired, so the message says where."""
    DROP = "drop"
    """It was published that way: such rows are left out and counted."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The problems of one source, in its order.

    Attributes:
        problems: The problems.
        dropped: How many rows were left out and why; a reason that begins with ``gold.KEPT`` counts
            rows that were kept.
        generated: Whether mathtune generated them.
        read_as: Which columns were used for what, where the source's format was recognised.
    """

    problems: tuple[Problem, ...]
    dropped: Mapping[str, int]
    generated: bool = False
    read_as: str = ""


PROSE_ONLY = "final answer only in free prose"
_TAKEN = f"{KEPT}final answer taken from free prose"
_UNSURE = "uncertain final answer in free prose, not used for exact match"
_SYSTEM = f"{KEPT}system message not used (prompt.system sets it)"


@dataclass
class Reading:
    """How the rows of one source become problems.

    Attributes:
        label: The source, for messages and ``Problem.source``.
        columns: Which column is what.
        role: In a test set, a problem without a certain final answer is left out.
        bad_rows: What happens to rows without a usable final answer.
        prose: Whether a final answer may be taken from free prose.
        known: The published set, where it is one.
    """

    label: str
    columns: Columns
    role: Role
    bad_rows: BadRows
    prose: bool
    known: KnownSet | None = None

    def problems(self, rows: Iterable[SourceRow]) -> Loaded:
        """Read all rows.

        Raises:
            DataError: Rows are unusable, in a user's own file, or could not be read, or all
                were left out.
        """
        found: list[Problem] = []
        faults, noted = Faults(), Counter[str]()
        for row in rows:
            try:
                if row.fault:
                    faults.add(row.fault, row.place, row.detail, damaged=True)
                elif (problem := self._problem(row, noted)) is not None:
                    found.append(problem)
                    continue
            except CellFault as fault:
                faults.add(str(fault), row.place)
            if faults.are_enough() and (self.bad_rows is BadRows.REFUSE or faults.damaged):
                break
        if self.bad_rows is BadRows.REFUSE or faults.damaged:
            faults.refuse(self.label)
        dropped = faults.dropped() + noted
        if not found:
            counts = ", ".join(f"{reason}: {n:,}" for reason, n in dropped.items())
            raise DataError(
                f"{self.label} has no usable problem ({counts or 'no rows'}). "
                f"{faults.remedy()}, or use another source"
            )
        return Loaded(tuple(found), dropped)

    def made(self, row: SourceRow) -> Made:
        """Return what a row holds, whatever is done with answers from free prose.

        Raises:
            CellFault: It cannot be used.
        """
        made = to_problem(row, self.columns, self.label, self.known)
        reason = gold_fault(made.problem) if made.problem.question else "no question"
        if reason is not None:
            raise CellFault(reason)
        return made

    def _problem(self, row: SourceRow, noted: Counter[str]) -> Problem | None:
        """Return a row's problem; None where a test set leaves it out."""
        made = self.made(row)
        problem = made.problem
        if made.stated in (Stated.PROSE, Stated.UNSURE):
            if not self.prose:
                raise CellFault(PROSE_ONLY)
            if made.stated is Stated.PROSE:
                noted[_TAKEN] += 1
            elif self.role is Role.TEST:
                noted[_UNSURE] += 1
                return None
            else:
                noted[KEPT + _UNSURE] += 1
                problem = replace(problem, gold="")
        if made.system:
            noted[_SYSTEM] += 1
        return problem
