"""Prompts: what the text looks like, and how it becomes tokens."""

from mathtune.prompts.render import Renderer
from mathtune.prompts.styles import STYLES, stop_strings

__all__ = ["STYLES", "Renderer", "stop_strings"]
