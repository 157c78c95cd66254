"""What the page's browser tests share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from chromium_pipe import Page


def wait(page: Page, script: str, seconds: float = 200) -> None:
    """Wait until a script is true in the page."""
    wait_until(lambda: bool(page.run(f"!!({script})")), f"{script}; {page.errors}", seconds)


def wait_until(ready: Callable[[], bool], what: str, seconds: float = 200) -> None:
    """Wait until ``ready``."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def fill(page: Page, selector: str, value: str) -> None:
    """Type into a field."""
    page.run(
        f"""(() => {{ const field = document.querySelector({json.dumps(selector)});
        field.value = {json.dumps(value)};
        for (const kind of ["input", "change"])
          field.dispatchEvent(new Event(kind, {{ bubbles: true }})); }})()"""
    )


def text(page: Page, selector: str) -> str:
    """Return the text of an element, or nothing."""
    found = page.run(f"document.querySelector({json.dumps(selector)})?.textContent ?? ''")
    return str(found)


def texts(page: Page, selector: str) -> list[str]:
    """Return the texts of all such elements."""
    script = f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)"
    return list(page.run(script))


def click(page: Page, selector: str) -> None:
    """Click an element."""
    page.run(f"document.querySelector({json.dumps(selector)}).click()")
