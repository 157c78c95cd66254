"""Engines that continue prompts: one protocol, several back ends."""

from mathtune.generation.engine import Decoding, Engine

__all__ = ["Decoding", "Engine"]
