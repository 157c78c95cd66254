"""The real ``mathtune`` command in a process of its own, and what it needs to be called.

A process is forked from a server that has imported the libraries once: the same files, exit code,
signals and outputs as a command typed into a shell, without the five seconds of imports. Where
variables of the environment are given a new interpreter is started, as libraries read them when
they are imported.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

COMMAND = Path(sys.executable).with_name("mathtune")
SHELLCHECK = shutil.which(  # pip puts it next to Python, which need not be on the path
    "shellcheck", path=os.pathsep.join([str(COMMAND.parent), os.environ.get("PATH", os.defpath)])
)
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    [
        "mathtune.pipeline",
        "mathtune.preflight",
        "mathtune.training.run",
        "mathtune.training.session",
        "mathtune.generation.hf",
        "mathtune.report.html",
        "transformers.models.llama.modeling_llama",
    ]
)


class Started:
    """Python code that runs, with those methods of :class:`subprocess.Popen` that tests use."""

    def __init__(self, code: str, arguments: Iterable[str], cwd: Path, said: str = "") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="command-")  # removed with this object
        self._place = Path(self._folder.name)
        (self._place / "in").write_text(said, encoding="utf-8")
        self._process = _PROCESSES.Process(
            target=_execute, args=(code, list(arguments), str(cwd), str(self._place))
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, which must still be running."""
        assert self._process.exitcode is None, "it ended before the signal came"
        os.kill(self.pid, number)

    def communicate(self, timeout: float = 250) -> tuple[str, str]:
        """Wait for the end; return what was written to standard output and standard error."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            raise AssertionError(f"still running after {timeout} seconds; {self._texts()}")
        return self._texts()

    def _texts(self) -> tuple[str, str]:
        out, err = ((self._place / name).read_text(encoding="utf-8") for name in ("out", "err"))
        return out, err


def _execute(code: str, arguments: list[str], cwd: str, place: str) -> None:
    for number, name, flags in (
        (0, "in", os.O_RDONLY),
        (1, "out", os.O_WRONLY | os.O_CREAT),
        (2, "err", os.O_WRONLY | os.O_CREAT),
    ):
        os.dup2(os.open(os.path.join(place, name), flags), number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    os.chdir(cwd)
    os.environ["MATHTUNE_DATA_DIR"] = ""
    sys.argv = arguments
    exec(compile(code, arguments[0], "exec"), {"__name__": "__main__"})


def mathtune(
    *arguments: str, cwd: Path, said: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end with ``said`` on its standard input."""
    if not environment:
        process = start(*arguments, cwd=cwd, said=said)
        out, err = process.communicate()
        assert process.returncode is not None
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)
    return subprocess.run(
        [COMMAND, *arguments],
        cwd=cwd,
        env={**os.environ, "MATHTUNE_DATA_DIR": "", **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=250,
    )


def start(*arguments: str, cwd: Path, said: str = "") -> Started:
    """Start the command and leave it running."""
    code = "from mathtune.cli.main import main; main()"
    return Started(code, [str(COMMAND), *arguments], cwd, said)


def python(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end, as ``python -c`` does."""
    process = Started(code, ["-c", *arguments], cwd)
    out, err = process.communicate()
    assert process.returncode is not None
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def wait_for(ready: Callable[[], bool], process: Started) -> None:
    """Wait until ``ready``, which the running command must make true."""
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.001)


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
