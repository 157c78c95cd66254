"""Processes that load models and data for the page, so that the server itself never does.

A worker reads requests as JSON lines and answers each with JSON lines, the last of which has
``"event": "done"`` or ``"failed"``. It keeps what it has loaded, and ends when the server does or
after some minutes without a request.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any

IDLE_SECONDS = 600.0
"""A worker that nobody asked for so long is ended, and its memory with it."""

MOST = 4
"""Most workers at once; the one that was used least recently makes room."""


class Worker:
    """One process that answers one request at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mathtune.ui.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            start_new_session=True,  # Ctrl-C in the server's terminal is the server's to handle
        )
        self.used = time.monotonic()
        self.lock = threading.Lock()

    def alive(self) -> bool:
        """Return whether it can answer."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of one request. If it is not read to the end, the worker is ended."""
        finished = False
        try:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
            while line := self._process.stdout.readline():
                event = json.loads(line)
                finished = event.get("event") in ("done", "failed")
                yield event
                if finished:
                    break
            else:
                yield {"event": "failed", "faults": [self._end()]}
        except (BrokenPipeError, ValueError):
            yield {"event": "failed", "faults": [self._end()]}
        finally:
            self.used = time.monotonic()
            if not finished:
                self.close()

    def _end(self) -> str:
        code = self._process.wait(10)
        why = "it ran out of memory, or was killed" if code < 0 else f"exit code {code}"
        return f"the process that loads models ended ({why}); try again, or a smaller model"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


class Events:
    """The events of one request; a worker answers another only when this one's are over.

    Args:
        find: Returns the worker to ask, or None when the server is ending.
        request: What it is asked.
    """

    def __init__(self, find: Callable[[], Worker | None], request: Mapping[str, Any]) -> None:
        self._find, self._left = find, False
        self._worker: Worker | None = None
        self._events = self._read(request)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self._events

    def _read(self, request: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        while not self._left:
            worker = self._find()
            if worker is None:
                yield {"event": "failed", "faults": ["the server is ending"]}
                return
            with worker.lock:
                if not worker.alive():  # whoever was before has left, and ended it
                    continue
                worker.used, self._worker = time.monotonic(), worker
                try:
                    if self._left:  # while it waited: nobody wants the answer
                        return
                    yield from worker.ask(request)
                finally:
                    self._worker = None
                return

    def leave(self) -> None:
        """Nobody wants them any more: end the worker if it is busy with them; its reader wakes."""
        self._left = True
        worker = self._worker  # read after: whoever begins to ask now sees that nobody waits
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """Let the worker answer others; no thread may be reading."""
        self._events.close()


class Workers:
    """One worker for each thing that is kept loaded, for example a model."""

    def __init__(self) -> None:
        self._workers: dict[str, Worker] = {}
        self._closed = False
        self._lock = threading.Lock()

    def ask(self, key: str, request: Mapping[str, Any]) -> Events:
        """Ask the worker of that key, started if there is none."""
        return Events(lambda: self._of(key), request)

    def _of(self, key: str) -> Worker | None:
        with self._lock:
            if self._closed:
                return None
            self._drop_idle()
            if key not in self._workers or not self._workers[key].alive():
                while len(self._workers) >= MOST:
                    free = [k for k, w in self._workers.items() if not w.lock.locked()]
                    oldest = min(free or self._workers, key=lambda k: self._workers[k].used)
                    self._workers.pop(oldest).close()
                self._workers[key] = Worker()
            return self._workers[key]

    def drop_idle(self) -> None:
        """End workers that have not been used for long."""
        with self._lock:
            self._drop_idle()

    def _drop_idle(self) -> None:
        now = time.monotonic()
        for key, worker in list(self._workers.items()):
            idle = now - worker.used > IDLE_SECONDS and not worker.lock.locked()
            if idle or not worker.alive():
                self._workers.pop(key).close()

    def close(self) -> None:
        """End all, and start no more."""
        with self._lock:
            self._closed = True
            for worker in self._workers.values():
                worker.close()
            self._workers.clear()
