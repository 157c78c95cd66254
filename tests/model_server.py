"""A real model behind a real OpenAI-compatible server, and a proxy that misbehaves in front of it.

``TransformersServer`` is what ``transformers serve`` runs, in a thread of the test.
"""

from __future__ import annotations

import enum
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class TransformersServer:
    """Serves one saved model; ``with TransformersServer(folder) as server: server.url``."""

    def __init__(self, model: Path) -> None:
        from transformers.utils.import_utils import is_serve_available

        if not is_serve_available():
            pytest.skip("transformers serve is not installed (pip install 'transformers[serving]')")
        self.model = str(model)
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> TransformersServer:
        from transformers.cli.serve import Serve

        self._serve = Serve(
            force_model=self.model,
            device="cpu",
            host="127.0.0.1",
            port=self._port,
            log_level="error",
            non_blocking=True,
        )
        deadline = time.monotonic() + 60
        while not self._serve.server.started:
            assert time.monotonic() < deadline, "transformers serve did not start"
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._serve.kill_server()


class Misbehaviour(enum.Enum):
    """What the proxy does instead of passing a request on."""

    RATE_LIMIT = "429 with Retry-After"
    SERVER_ERROR = "500"
    BAD_GATEWAY = "502 with a page instead of JSON"
    HANG = "answer far too late"
    DROP_BEFORE = "close the connection without a word"
    DROP_WITHIN = "close the connection in the middle of the answer"
    GARBAGE = "200 with something else than JSON"
    REFUSE = "400"
    NOT_FOUND = "404"
    NO_ACCESS = "401, showing the key"
    FORBIDDEN = "403, showing the key"
    NO_CREDIT = "429 that no waiting helps against"


@dataclass
class Seen:
    """One request as the proxy saw it: when it came, when it was answered, and how."""

    number: int
    came: float
    body: dict[str, Any]
    headers: dict[str, str]
    answered: float = 0.0
    did: Misbehaviour | None = None


@dataclass
class FaultyProxy:
    """Passes requests on to a server, except those that ``choose`` has something else in mind for.

    Attributes:
        target: Address of the server behind it.
        choose: Given a request, numbered from 0, says what to do; None passes it on.
        retry_after: Seconds that a 429 asks to wait.
        hang: Seconds until an answer that comes too late.
    """

    target: str
    choose: Callable[[Seen], Misbehaviour | None] = lambda seen: None
    retry_after: float = 1.0
    hang: float = 60.0
    seen: list[Seen] = field(default_factory=list)

    def __enter__(self) -> FaultyProxy:
        proxy = self
        self._lock = threading.Lock()
        self._closing = threading.Event()

        class Handler(_Handler):
            owner = proxy

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def note(self, body: dict[str, Any], headers: dict[str, str]) -> Seen:
        with self._lock:
            seen = Seen(len(self.seen), time.monotonic(), body, headers)
            seen.did = self.choose(seen)
            self.seen.append(seen)
        return seen

    def forward(self, path: str, content: bytes) -> bytes:
        request = Request(
            self.target + path, content, {"Content-Type": "application/json"}, method="POST"
        )
        with urlopen(request, timeout=60) as response:
            return bytes(response.read())


_REFUSALS = {
    Misbehaviour.SERVER_ERROR: (500, '{"error": {"message": "out of memory"}}'),
    Misbehaviour.BAD_GATEWAY: (502, "<html>bad gateway</html>"),
    Misbehaviour.GARBAGE: (200, '{"choices": [{"te'),
    Misbehaviour.REFUSE: (400, '{"error": {"message": "the prompt is too long"}}'),
    Misbehaviour.NOT_FOUND: (404, '{"detail": "no such model"}'),
    Misbehaviour.NO_ACCESS: (401, '{"error": {"message": "Incorrect API key: KEY"}}'),
    Misbehaviour.FORBIDDEN: (403, '{"error": {"message": "KEY may not use this model"}}'),
    Misbehaviour.NO_CREDIT: (429, '{"error": {"code": "insufficient_quota", "message": "pay"}}'),
}


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        seen = self.owner.note(json.loads(content), {k.lower(): v for k, v in self.headers.items()})
        try:
            self._answer(seen, content)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client no longer waits for it
        seen.answered = time.monotonic()

    def _answer(self, seen: Seen, content: bytes) -> None:
        did = seen.did
        if did in _REFUSALS:
            status, error = _REFUSALS[did]
            said = error.replace("KEY", seen.headers.get("authorization", "none").split()[-1])
            self._send(status, said.encode())
        elif did is Misbehaviour.RATE_LIMIT:
            headers = {"Retry-After": f"{self.owner.retry_after:g}"}
            self._send(429, b'{"error": {"message": "slow down"}}', headers)
        elif did is Misbehaviour.DROP_BEFORE:
            self._drop()
        else:
            answer = self.owner.forward(self.path, content)
            if did is Misbehaviour.HANG:
                self.owner._closing.wait(self.owner.hang)
            if did is Misbehaviour.DROP_WITHIN:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2])
                self.wfile.flush()
                self._drop()
            else:
                self._send(200, answer)

    def _drop(self) -> None:
        # With a linger time of 0 the connection is reset, not ended.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
