"""Starts the page's server on the loopback address, and says where it is."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import tempfile
import webbrowser
from collections.abc import Iterator
from pathlib import Path

from mathtune.errors import ConfigError

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1"
FIRST_PORT = 8765


def serve(root: Path, *, port: int | None, browser: bool) -> None:
    """Serve the page until the process is interrupted.

    Args:
        root: The folder of the run folders.
        port: Port to listen on; default: ``FIRST_PORT``, or any that is free.
        browser: Whether to open the page in the user's browser.

    Raises:
        ConfigError: The packages of the page are missing, or the port is taken.
    """
    try:
        import uvicorn

        from mathtune.ui.app import make_app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("starlette", "uvicorn", "anyio"):
            raise
        raise ConfigError(
            f"the page needs the package {missing}, which is not installed; "
            "pip install 'mathtune[ui]'"
        ) from error
    listener = _listener(port)
    number, token = listener.getsockname()[1], secrets.token_urlsafe(32)
    app = make_app(root, port=number, token=token)
    # The log of accesses would hold the token.
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,  # a model may be answering
    )
    address = f"http://{ADDRESS}:{number}/?token={token}"
    log.info(f"the page of {root} is at {address}")
    log.info("press Ctrl-C to end it; trainings that it started go on")
    with _opened(address) if browser else contextlib.nullcontext():
        uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def _opened(address: str) -> Iterator[None]:
    """Open the page by a file that only this user can read.

    Every user of the machine sees a browser's command line, which must not hold the key.
    """
    with tempfile.TemporaryDirectory(prefix="mathtune-ui-") as folder:  # mode 700
        file = Path(folder) / "start.html"
        text = f'<!DOCTYPE html><meta http-equiv="refresh" content="0;url={address}">'
        file.write_text(text, "utf-8")
        webbrowser.open(file.as_uri())
        yield


def _listener(port: int | None) -> socket.socket:
    """Listen on loopback before anything is said, so that the address is certain."""
    for wanted in (FIRST_PORT, 0) if port is None else (port,):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((ADDRESS, wanted))
            return listener
        except OSError as error:
            listener.close()
            fault = error.strerror or str(error)
    raise ConfigError(f"port {port} cannot be used ({fault}); choose another --port")
