"""The shell blocks of a Markdown page, and a shell in which the tests run them.

A block runs as it stands unless a comment stands before it: `<!-- not run: REASON -->`, or
`<!-- test: KEY=VALUE … -->`, settings that make its `mathtune run` or `mathtune sample` small
enough for a test.
"""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from command_for_tests import mathtune

ROOT = Path(__file__).parents[1]
_BLOCK = re.compile(
    r"(?:<!-- (?P<word>not run|test): (?P<rest>[^\n]*) -->\n)?```(?P<kind>sh|bash|shell|console)\n"
    r"(?P<text>.*?)\n```",
    re.DOTALL,
)

# What the shell finds as `mathtune`: it hands its arguments to the test, whose forked processes
# need no five seconds of imports.
_CLIENT = """#!{python} -IS
import json, socket, sys
said = sys.stdin.read() if not sys.stdin.isatty() else ""
with socket.socket(socket.AF_UNIX) as line:
    line.connect({address!r})
    with line.makefile("rw") as file:
        file.write(json.dumps([sys.argv[1:], said]) + "\\n")
        file.flush()
        code, out, err = json.load(file)
sys.stdout.write(out)
sys.stderr.write(err)
sys.exit(code)
"""


@dataclass(frozen=True)
class Block:
    """A shell block, why it is not run, and the settings that make it small."""

    text: str
    not_run: str | None
    settings: tuple[str, ...]


def blocks(page: Path) -> list[Block]:
    """Return the shell blocks of a page, in order."""
    return [
        Block(
            match["text"],
            match["rest"] if match["word"] == "not run" else None,
            tuple(match["rest"].split()) if match["word"] == "test" else (),
        )
        for match in _BLOCK.finditer(page.read_text("utf-8"))
    ]


class Shell:
    """A folder in which blocks run one after the other, as a reader types them."""

    def __init__(self, cwd: Path, bin_folder: Path) -> None:
        self._cwd, self._bin = cwd, bin_folder
        self._address = str(bin_folder / "line")
        self.settings: tuple[str, ...] = ()
        client = bin_folder / "mathtune"
        client.write_text(_CLIENT.format(python=sys.executable, address=self._address))
        client.chmod(0o755)
        (bin_folder / "python").symlink_to(sys.executable)

    def run(self, block: Block) -> subprocess.CompletedProcess[str]:
        """Run a block; it stops at its first command that fails."""
        self.settings = block.settings
        with self._answered():
            return subprocess.run(
                ["bash", "-euo", "pipefail", "-c", block.text],
                cwd=self._cwd,
                env={**os.environ, "PATH": f"{self._bin}{os.pathsep}{os.environ['PATH']}"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=280,
            )

    @contextmanager
    def _answered(self) -> Iterator[None]:
        Path(self._address).unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(self._address)
            server.listen()
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            thread.start()
            yield
            server.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _serve(self, server: socket.socket) -> None:
        while True:
            try:
                line, _ = server.accept()
            except OSError:  # shut down
                return
            with line, line.makefile("rw") as file:
                arguments, said = json.loads(file.readline())
                if arguments[:1] in (["run"], ["sample"]):
                    arguments += self.settings
                done = mathtune(*arguments, cwd=self._cwd, said=said)
                json.dump([done.returncode, done.stdout, done.stderr], file)
