"""The real ``mathtune`` command in a process of its own, and what it needs to be called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("mathtune")


def mathtune(
    *arguments: str, cwd: Path, said: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end with ``said`` on its standard input."""
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, "MATHTUNE_DATA_DIR": "", **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=250,
    )


def start(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command and leave it running."""
    return subprocess.Popen(
        [COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, "MATHTUNE_DATA_DIR": ""},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def faults_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the sentences of a refusal, having checked that nothing else was said."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("mathtune: "), done.stderr
    if not rest:
        return [first.removeprefix("mathtune: ")]
    assert first == f"mathtune: {len(rest)} faults:", done.stderr
    for number, line in enumerate(rest, 1):
        assert line.startswith(f"  {number}. "), done.stderr
    return [line.partition(". ")[2] for line in rest]


def jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows as lines of JSON."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def solved(number: int, what: str = "pens") -> dict[str, str]:
    """Return a solved problem; two numbers or two words give two problems."""
    return {
        "question": f"Ann has {number} {what} and buys {number}. How many has she?",
        "answer": f"Ann has {number}+{number}={2 * number}.\n#### {2 * number}",
    }


def model_folder(path: Path, *, context: int = 512) -> Path:
    """Write what a model folder is checked for before it is loaded; it cannot be loaded."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bytes(8)
    (path / "model.safetensors").write_bytes(weights)
    (path / "tokenizer.json").write_text("{}")
    return path
