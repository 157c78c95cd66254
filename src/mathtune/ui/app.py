"""The page's addresses: HTML for people, JSON for its scripts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from mathtune.errors import MathtuneError
from mathtune.report.html import TEMPLATES, make_environment
from mathtune.report.reading import shown
from mathtune.ui.folders import Root
from mathtune.ui.routes import Site
from mathtune.ui.security import Guard

HERE = Path(__file__).parent
HOUSEKEEPING_SECONDS = 20.0


class Json(Response):
    """A value as JSON, its texts with every invisible and directional character written out."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes."""
        return json.dumps(shown(content), ensure_ascii=False, allow_nan=False).encode()


def make_app(root: Path, *, port: int, token: str) -> Starlette:
    """Return the page as an ASGI application.

    Args:
        root: The folder of the run folders.
        port: The port that the server listens on, which the Host header must name.
        token: The secret of the start address.

    Returns:
        The application; ``state.close`` ends the processes that it has started to answer.
    """
    environment = make_environment(HERE / "templates")
    site = Site(Root(root), environment)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_housekeeping, site)
            yield
            tasks.cancel_scope.cancel()
        site.close()

    routes: list[BaseRoute] = [
        *(Route(path, _page(handler)) for path, handler in site.pages().items()),
        *(Route(path, _json(handler)) for path, handler in site.reads().items()),
        *(Route(path, _json(handler), methods=["POST"]) for path, handler in site.writes().items()),
        Route("/api/stream", site.stream, methods=["POST"]),
        Route("/static/report.css", _report_style),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, port=port, token=token)],
        exception_handlers={404: _not_found},
        lifespan=lifespan,
    )
    app.state.close = site.close
    return app


def _page(handler: Callable[[Request], str]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            return HTMLResponse(await run_in_threadpool(handler, request))
        except MathtuneError as error:
            return PlainTextResponse(shown("\n".join(error.faults)), 404)

    return answer


def _json(handler: Callable[[Request, Any], Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            given = await _body(request)
            return Json(await run_in_threadpool(handler, request, given))
        except MathtuneError as error:
            return Json({"faults": list(error.faults)}, 400)

    return answer


async def _body(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request; an empty one of a request that only reads."""
    if request.method != "POST":
        return {}
    try:
        value = json.loads(await request.body())
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {}


async def _report_style(_: Request) -> Response:
    return Response((TEMPLATES / "report.css").read_bytes(), media_type="text/css")


async def _not_found(_: Request, __: Exception) -> Response:
    return PlainTextResponse("There is no such page.", 404)


async def _housekeeping(site: Site) -> None:
    while True:
        await anyio.sleep(HOUSEKEEPING_SECONDS)
        await run_in_threadpool(site.tidy)
