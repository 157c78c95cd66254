"""Decoding on many workers of a Ray cluster, each with an engine of its own."""

from mathtune.generation.ray.engine import RayEngine

__all__ = ["RayEngine"]
