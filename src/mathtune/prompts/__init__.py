"""Prompts: what the text looks like, and how it becomes tokens."""

from mathtune.prompts.chat_template import ChatTemplate
from mathtune.prompts.render import Renderer
from mathtune.prompts.shots import NAMED_SHOTS, TRAIN, named_shots
from mathtune.prompts.styles import CHAT, STYLES, stop_strings
from mathtune.prompts.text import TextRenderer

__all__ = [
    "CHAT",
    "NAMED_SHOTS",
    "STYLES",
    "TRAIN",
    "ChatTemplate",
    "Renderer",
    "TextRenderer",
    "named_shots",
    "stop_strings",
]
