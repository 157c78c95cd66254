"""One command at a time in a run folder, by a lock the system releases when its holder dies.

``.lock`` records who holds it, for the message. Where a file system has no locks (some NFS mounts),
this record decides: a lock is stale if its process was on this machine and is gone.
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
        """Release the lock."""
        with contextlib.suppress(OSError):
            self._file.truncate(0)  # an empty lock was released properly
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
        who = _as_text(_holder(file))
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
    with contextlib.suppress(OSError):  # a full disk is reported where it would lose work
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": socket.gethostname()}
        os.write(file.fileno(), json.dumps(holder).encode())
    return Lock(file)


def in_use(folder: Path) -> str:
    """Return who holds a folder's lock, as ``" (pid 12 on host)"``; empty if nobody does.

    A lock that was released properly is not tried, so looking does not disturb a process that is
    about to take it.
    """
    try:
        with (folder / ".lock").open(encoding="utf-8", errors="replace") as file:
            holder = _holder(file)
            if holder is None:
                return ""
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _as_text(holder)
            except OSError as error:
                here = holder["host"] == socket.gethostname()
                stale = error.errno not in _NO_LOCKS or (here and not _is_alive(holder["pid"]))
                return "" if stale else _as_text(holder)
    except OSError:
        pass
    return ""


def _check_holder(folder: Path, file: IO[str]) -> None:
    """Refuse if the file names a holder that is alive, or on another machine."""
    holder = _holder(file)
    if not holder or (holder["host"] == socket.gethostname() and not _is_alive(holder["pid"])):
        return
    file.close()
    raise RunError(
        f"run folder {folder} is in use by another mathtune process{_as_text(holder)}, and its "
        f"file system has no locks to show whether it is still running; if it is not, delete "
        f"{folder / '.lock'}, else wait for it or choose another --run-dir"
    )


def _holder(file: IO[str]) -> dict[str, Any] | None:
    """Return ``pid`` and ``host`` of the lock's holder, if the file records them."""
    try:
        file.seek(0)
        holder = json.load(file)
    except (OSError, ValueError, RecursionError):
        return None
    whole = isinstance(holder, dict) and isinstance(holder.get("pid"), int) and "host" in holder
    return holder if whole else None


def _as_text(holder: dict[str, Any] | None) -> str:
    return f" (pid {holder['pid']} on {holder['host']})" if holder else ""


def _is_alive(pid: int) -> bool:
    if pid == os.getpid():
        return False  # from an earlier process with this pid
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
