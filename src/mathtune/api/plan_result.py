"""What ``plan`` returns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mathtune.api.display import data_frame, html_table
from mathtune.report import wording

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, repr=False)
class PlanResult:
    """The memory and time a training takes.

    Attributes:
        facts: Everything, as ``mathtune plan --json`` prints it: bytes, seconds, counts.
    """

    facts: Mapping[str, Any]

    @property
    def parameters(self) -> Mapping[str, Any]:
        """``total``, ``trainable``, ``trainable_share``, and the same with ``_packed``."""
        return dict(self.facts["parameters"])

    @property
    def peak(self) -> int:
        """Bytes at the peak, on one device."""
        return int(self.facts["memory"]["peak"])

    @property
    def fits(self) -> bool | None:
        """Whether the peak fits the device; None where its memory is not known."""
        fits: bool | None = self.facts["fits"]
        return fits

    @property
    def remedies(self) -> tuple[Mapping[str, Any], ...]:
        """Changes that lower the peak, where it does not fit: ``change``, ``peak``, ``fits``."""
        return tuple(self.facts["remedies"])

    def to_pandas(self) -> pandas.DataFrame:
        """Return one row per use of memory, in bytes."""
        sizes = self.facts["memory"]["bytes"]
        return data_frame({"use": use, "bytes": size} for use, size in sizes.items())

    def __repr__(self) -> str:
        lines = (f"  {name}: {value}" for name, value in self._rows())
        return "\n".join([f"PlanResult({self.facts['recipe']})", *lines])

    def _repr_html_(self) -> str:
        return html_table(f"plan of {self.facts['recipe']}", ("", ""), self._rows())

    def _rows(self) -> Iterator[tuple[str, str]]:
        counts, seconds = self.parameters, self.facts["seconds"]
        base = counts["total"] - counts["trainable"] or counts["total"]
        yield "model", f"{self.facts['model']}, {wording.count(base)} parameters"
        shares = [f"{wording.percent(counts['trainable_share'], 2)} of all"]
        if counts["total_packed"] != counts["total"]:
            packed = wording.percent(counts["trainable_share_packed"], 2)
            shares.append(f"{packed} with two 4-bit weights counted as one")
        yield "trained parameters", f"{wording.count(counts['trainable'])} ({', '.join(shares)})"
        fits = {None: "memory not known", True: "fits", False: "does not fit"}[self.fits]
        yield f"peak on {self.facts['device']}", f"{self.peak / 2**30:,.2f} GB, {fits}"
        if seconds is not None:
            yield "training time, about", wording.estimated_duration(seconds["usual"])
        for each in self.remedies:
            note = "fits" if each["fits"] else "does not fit"
            yield f"with {each['change']}", f"{each['peak'] / 2**30:,.2f} GB, {note}"
