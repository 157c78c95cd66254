"""A GGUF file open in a llama.cpp runtime, in another process."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from mathtune.errors import ModelError

PACKAGE = "xllamacpp"

_SHOWN = 200


def is_installed() -> bool:
    """Return whether there is a runtime."""
    return importlib.util.find_spec(PACKAGE) is not None


class Runtime:
    """A loaded file; see ``opened``."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str], file: Path) -> None:
        self._process = process
        self._log = log
        self._file = file
        self._read()

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, with BOS where the file asks for one."""
        return self._ask({"text": text})

    def continue_(self, ids: Sequence[int], tokens: int) -> list[int]:
        """Return the greedy continuation of a prompt, at most ``tokens`` long."""
        return self._ask({"ids": list(ids), "n": tokens})

    def _ask(self, request: dict[str, Any]) -> list[int]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # reading says why
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        found: list[int] = self._read()["ids"]
        return found

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        if line := self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self._process.wait()
        raise ModelError(
            f"llama.cpp could not use {self._file.name} ({self._why(code)}); nothing was written"
        )

    def _why(self, code: int) -> str:
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read().splitlines() if line.strip()]
        errors = [line for line in lines if " E " in line or "error" in line.lower()]
        last = (errors or lines or [""])[-1 if not errors else 0]
        return f"exit code {code}" + (f": {last[:_SHOWN].rstrip('.')}" if last else "")


@contextlib.contextmanager
def opened(file: Path, context: int) -> Iterator[Runtime]:
    """Load a GGUF file in a process that ends with the block, whatever happens in it.

    Args:
        file: The file.
        context: Tokens of prompt and answer together.

    Raises:
        ModelError: The runtime cannot load it.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        command = [sys.executable, "-m", "mathtune.exporting.llama_cpp", str(file), str(context)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            yield Runtime(process, log, file)
        finally:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
