"""A server that answers each request by a function of the test, on a bare socket."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

SECONDS = 20.0
"""Longest life of a connection, should the client never end it."""


class Connection:
    """One request that was read, and what is sent back.

    Attributes:
        request: Head and body as they came.
        sent: Bytes that the system took so far.
    """

    def __init__(self, raw: socket.socket, request: bytes, closing: threading.Event) -> None:
        self._raw = raw
        self.request = request
        self.closing = closing
        self.sent = 0

    def send(self, data: bytes) -> None:
        """Send; an ``OSError`` ends the answer once the client has gone."""
        self._raw.sendall(data)
        self.sent += len(data)

    def pause(self, seconds: float) -> None:
        """Wait, or end the answer where the test is over."""
        if self.closing.wait(seconds):
            raise OSError("the test is over")


class HostileServer:
    """``with HostileServer(answer) as server: server.url``; keeps every connection it had."""

    def __init__(self, answer: Callable[[Connection], Any]) -> None:
        self._answer = answer
        self._closing = threading.Event()
        self.connections: list[Connection] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> HostileServer:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(raw,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, raw: socket.socket) -> None:
        with raw, contextlib.suppress(OSError):
            raw.settimeout(SECONDS)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)
            connection = Connection(raw, _request(raw), self._closing)
            self.connections.append(connection)
            self._answer(connection)
            with contextlib.suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(2**16):  # else what was sent last may be lost with the reset
                    pass


def _request(raw: socket.socket) -> bytes:
    content = b""
    while b"\r\n\r\n" not in content:
        content += _some(raw)
    head, _, body = content.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        more = _some(raw)
        body, content = body + more, content + more
    return content


def _some(raw: socket.socket) -> bytes:
    data = raw.recv(2**16)
    if not data:
        raise OSError("the client has gone")
    return data


def head(status: str = "200 OK", **headers: Any) -> bytes:
    """Return a status line and headers; ``content_length`` is written ``content-length``."""
    lines = [f"HTTP/1.1 {status}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def whole(content: bytes, status: str = "200 OK", **headers: Any) -> bytes:
    """Return a complete answer."""
    return head(status, content_length=len(content), **headers) + content


def forever(block: bytes) -> Iterator[bytes]:
    """Yield a block 2,000 times, which is long enough for any client to give up."""
    for _ in range(2_000):
        yield block
