"""Two commands on one run folder: the second is refused; what a dead one left is no obstacle."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mathtune.errors import RunError
from mathtune.locks import lock

HOLDER = """
import sys, time, pathlib
from mathtune.locks import lock
held = lock(pathlib.Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_the_holder_is_named_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(RunError, match=rf"\(pid {holder.pid} on .+\); wait for it or choose"):
            lock(tmp_path)
    finally:
        holder.kill()
        holder.wait()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == holder.pid  # a stale one
    lock(tmp_path).release()
    assert (tmp_path / ".lock").read_text() == ""


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system such as some NFS mounts: nothing here can mount one."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_what_the_file_says_decides(tmp_path: Path) -> None:
    file = tmp_path / ".lock"
    here = socket.gethostname()

    def left(pid: int, host: str = here) -> None:
        file.write_text(json.dumps({"pid": pid, "host": host}))

    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left(ended.pid)
    lock(tmp_path).release()  # stale: recognised
    left(os.getppid())
    with pytest.raises(RunError, match=rf"pid {os.getppid()} on {here}.* no locks .* delete"):
        lock(tmp_path)
    left(ended.pid, "elsewhere")
    with pytest.raises(RunError, match="on elsewhere"):
        lock(tmp_path)
    for damaged in ("", "{", "[1]", '{"pid": "x", "host": 3}'):
        file.write_text(damaged)
        lock(tmp_path).release()
