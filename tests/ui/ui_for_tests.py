"""The page over a root folder, as an application to call and as a server for a browser."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.testclient import TestClient

from mathtune.ui.app import make_app

PORT, TOKEN = 8765, "the-token-of-these-tests"
ORIGIN = f"http://127.0.0.1:{PORT}"


@contextmanager
def client(root: Path, *, known: bool = True) -> Iterator[TestClient]:
    """Call the page of a root; with its cookie unless ``known`` is False."""
    with TestClient(make_app(root, port=PORT, token=TOKEN), base_url=ORIGIN) as found:
        if known:
            assert found.get("/", params={"key": TOKEN}).status_code == 200
            found.headers["origin"] = ORIGIN
        yield found


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Serve the page of a root on a free port; yield its start address."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    app = make_app(root, port=port, token=TOKEN)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/?key={TOKEN}"
    finally:
        server.should_exit = True
        thread.join(20)
