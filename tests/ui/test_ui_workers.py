"""What is asked of a worker by a browser that goes away does not keep others waiting."""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

from ui_for_tests import TOKEN, served

from mathtune.ui.workers import Workers


def ask(start: str) -> socket.socket:
    """Ask for a plan; the answer is read by the caller, or not."""
    address = urlsplit(start)
    body = json.dumps({"task": "plan", "recipe": "demo"})
    head = (
        f"POST /api/stream HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Origin: http://{address.netloc}\r\nCookie: mathtune-{address.port}={TOKEN}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    connection = socket.create_connection(("127.0.0.1", address.port or 0), timeout=120)
    connection.sendall((head + body).encode())
    return connection


def test_whoever_leaves_makes_room_for_the_next(tmp_path: Path) -> None:
    with served(tmp_path / "runs") as start:
        first = ask(start)
        time.sleep(0.5)  # its worker is starting
        second = ask(start)
        time.sleep(0.2)
        first.close()
        with second.makefile("rb") as answer:
            text = answer.read().decode()
    assert '"event": "done"' in text and '"peak"' in text


def test_whoever_leaves_while_waiting_ends_nothing(tmp_path: Path) -> None:
    """The worker keeps what it has loaded, as nobody asked it for the one who left."""
    workers = Workers()
    try:
        request = {"task": "data", "recipe": "demo", "overrides": ["data.max_train_samples=40"]}
        first, second = workers.ask("data", request), workers.ask("data", request)
        events = iter(first)
        next(events)
        worker = workers._workers["data"]
        waiting = threading.Thread(target=lambda: found.extend(second))
        found: list[object] = []
        waiting.start()
        second.leave()
        assert list(events)[-1]["event"] == "done"
        waiting.join(60)
        assert not waiting.is_alive() and found == []
        assert worker.alive() and workers._workers["data"] is worker
    finally:
        workers.close()
