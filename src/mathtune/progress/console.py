"""Rich's console for text that may come from a model, a file or a server."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from mathtune.text.visible import visible


class SafeConsole(Console):
    """Shows text, table cells and titles as they are: escapes and markup have no effect."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text as Rich lays it out."""
        return super().render_str(visible(text), **options)
