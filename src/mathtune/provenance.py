"""What a result depends on besides its recipe."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "datasets", "tokenizers")


def provenance() -> dict[str, Any]:
    """Return versions, platform and git state: what a result depends on besides the recipe."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions,
        "git": _git_state(),
    }


def _git_state() -> dict[str, Any] | None:
    """Return commit and dirty flag of the working folder's repository; None outside one.

    Files that git does not track, such as a new recipe, do not make it dirty, as in git describe:
    recipe and data are recorded by content anyway.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=5
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """Return the command as the user gave it, with the program's short name.

    A script is named with its arguments. An interactive session or a notebook is just ``python``:
    its kernel's arguments are meaningless.
    """
    program = Path(sys.argv[0]).name
    if program in ("mathtune", "__main__.py"):
        return ["mathtune", *sys.argv[1:]]
    if program.endswith(".py") and "kernel" not in program:
        return ["python", program, *sys.argv[1:]]
    return ["python"]
