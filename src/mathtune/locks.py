"""One command at a time in a run folder, by a lock that the system lets go when its holder dies.

``.lock`` says who holds it, for the message. Where a file system knows no locks (some NFS mounts),
what it says decides: a process of this machine that is gone has left a stale lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from mathtune.errors import RunError

_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass
class Lock:
    """A lock that is held."""

    _file: IO[str]

    def release(self) -> None:
        """Let others in."""
        with contextlib.suppress(OSError):
            self._file.truncate(0)  # a lock that says nothing was left in good order
        self._file.close()


def lock(folder: Path) -> Lock:
    """Lock a folder for this process.

    Raises:
        RunError: Another process holds it.
        OSError: ``.lock`` cannot be written.
    """
    file = (folder / ".lock").open("a+", encoding="utf-8", errors="replace")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = _in_words(_holder(file))
        file.close()
        raise RunError(
            f"run folder {folder} is in use by another mathtune process{who}; wait for it or "
            "choose another --run-dir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
        _check_holder(folder, file)
    with contextlib.suppress(OSError):  # a full disk is told where work would be lost by it
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.write(file.fileno(), json.dumps(holder).encode())
    return Lock(file)


def _check_holder(folder: Path, file: IO[str]) -> None:
    """Refuse where the file names a holder that is alive, or on a machine that cannot be asked."""
    holder = _holder(file)
    if not holder or (holder["host"] == socket.gethostname() and not _is_alive(holder["pid"])):
        return
    file.close()
    raise RunError(
        f"run folder {folder} is in use by another mathtune process{_in_words(holder)}, and its "
        f"file system has no locks that would tell whether it is still there; if it is not, delete "
        f"{folder / '.lock'}, else wait for it or choose another --run-dir"
    )


def _holder(file: IO[str]) -> dict[str, Any] | None:
    """Return ``pid`` and ``host`` of who holds the lock, where the file says so."""
    try:
        file.seek(0)
        holder = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(holder, dict) and isinstance(holder.get("pid"), int) and "host" in holder
    return holder if whole else None


def _in_words(holder: dict[str, Any] | None) -> str:
    return f" (pid {holder['pid']} on {holder['host']})" if holder else ""


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # of an earlier process with this number
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
