"""Results bound to their inputs: what each stage was made from, and whether that has changed."""

from mathtune.binding.side_files import check_sides
from mathtune.binding.stages import STAGES, Binding

__all__ = ["STAGES", "Binding", "check_sides"]
