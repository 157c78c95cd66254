"""The real ``mathtune`` command on a terminal of its own, typed at and read from."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

from command_for_tests import _PROCESSES, COMMAND

ROWS, COLUMNS = 24, 100


class Terminal:
    """A command whose standard streams are a terminal."""

    def __init__(self, *arguments: str) -> None:
        self._here, there = pty.openpty()
        fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = _PROCESSES.Process(
            target=_execute, args=([str(COMMAND), *arguments], os.ttyname(there))
        )
        self._process.start()
        self._there = there  # kept open, or reading fails before the process has opened it

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._here, text.encode())

    def wait_for(self, pattern: str, seconds: float = 120) -> str:
        """Return what was shown since the last call, once its end fits the pattern."""
        end = time.monotonic() + seconds
        text = ""
        while not re.search(pattern, text[-4000:], re.DOTALL):
            assert self._process.exitcode is None, (pattern, text[-2000:])
            assert time.monotonic() < end, (pattern, text[-2000:])
            text += self._read()
        return text

    def _read(self) -> str:
        ready = select.select([self._here], [], [], 0.1)[0]
        return os.read(self._here, 65536).decode("utf-8", "replace") if ready else ""

    def close(self, seconds: float = 60) -> int | None:
        """Wait for the end and return the exit code; None if it had to be killed."""
        end = time.monotonic() + seconds
        while self._process.exitcode is None and time.monotonic() < end:
            self._read()  # a full terminal would stop it
        code = self._process.exitcode
        if code is None:
            self._process.kill()
        self._process.join()
        with contextlib.suppress(OSError):
            os.close(self._here)
            os.close(self._there)
        return code


def _execute(arguments: list[str], terminal: str) -> None:
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)
    fcntl.ioctl(opened, termios.TIOCSCTTY, 0)
    for number in (0, 1, 2):
        os.dup2(opened, number)
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    os.environ["TERM"] = "xterm"
    sys.argv = arguments
    from mathtune.cli.main import main

    main()
