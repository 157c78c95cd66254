"""Results bound to their inputs: what each stage was made of, and whether it still is so."""

from mathtune.binding.side_files import check_sides
from mathtune.binding.stages import STAGES, Binding

__all__ = ["STAGES", "Binding", "check_sides"]
