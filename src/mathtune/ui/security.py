"""Who may use the page: a browser on this machine that was opened with the start address.

A web server on the loopback address can be reached by every page that the user's browser has open,
and by every user of the machine. So a request needs

- the exact ``Host`` (a name that an attacker points at 127.0.0.1 is refused);
- if it names where it comes from, this very origin, and a request that changes something must;
- the token of the start address, which becomes a cookie that no script can read.

Whatever a page of a run shows is text, and the policy sent with every answer lets a browser run and
load nothing but this package's own files.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
MOST_BYTES = 1_000_000
"""Largest body of a request."""

SAFE_METHODS = ("GET", "HEAD")


class Guard:
    """ASGI middleware that answers 403 to everyone else, and adds the headers.

    Args:
        app: What it guards.
        port: The server's port.
        token: The secret of the start address.
    """

    def __init__(self, app: Any, *, port: int, token: str) -> None:
        self._app, self._token = app, token
        self._hosts = frozenset({f"127.0.0.1:{port}", f"localhost:{port}"})
        # Cookies do not know ports: two servers must not overwrite each other's.
        self.cookie = f"mathtune-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refused = self._refusal(connection, scope["method"])
        answer: Any = self._app
        if refused:
            answer = PlainTextResponse(refused, 403)
        elif _is_start(connection) or not self._is_known(connection):
            answer = self._welcome(connection)
        await answer(scope, receive, _with_headers(send))

    def _refusal(self, connection: HTTPConnection, method: str) -> str | None:
        """Return why a request is refused whoever sent it, or None."""
        headers = connection.headers
        if headers.getlist("host") not in [[host] for host in self._hosts]:
            return "This server answers only to its own address on this machine."
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        own = f"http://{headers['host']}"
        if origin not in (None, own) or (origin is None and method not in SAFE_METHODS):
            return "This request comes from another page."
        # A page of another port is of the same site, to which a browser sends the cookie.
        if site not in (None, "none", "same-origin") and not _is_start(connection):
            return "This request comes from another page."
        length = headers.get("content-length", "0")
        if method not in SAFE_METHODS and not (
            "content-length" in headers and length.isdecimal() and int(length) <= MOST_BYTES
        ):
            return "The request is too large."
        return None

    def _is_known(self, connection: HTTPConnection) -> bool:
        return self._is_token(connection.cookies.get(self.cookie, ""))

    def _welcome(self, connection: HTTPConnection) -> Response:
        """Turn the start address into a cookie; refuse any other."""
        given = parse_qs(str(connection.url.query)).get("key", [""])
        if not (_is_start(connection) and self._is_token(given[0])):
            return PlainTextResponse(
                "Open the address that mathtune ui printed: it holds the key to this page.", 403
            )
        response = RedirectResponse("/", 303)
        response.set_cookie(self.cookie, self._token, httponly=True, samesite="strict", path="/")
        return response

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())


def _is_start(connection: HTTPConnection) -> bool:
    return connection.url.path == "/" and "key=" in str(connection.url.query)


def _with_headers(send: Send) -> Send:
    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            given = [(name, value) for name, value in message.get("headers", [])]
            message["headers"] = [*given, *own]
        await send(message)

    return sending
