"""mathtune: turn an open language model into a better solver of math word problems, and prove it.

The story of a run is told in :mod:`mathtune.pipeline`.
"""

__version__ = "0.1.0"
