"""What each address of the page answers."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from mathtune import report
from mathtune.errors import ConfigError, MathtuneError, RunError
from mathtune.report.html import sections
from mathtune.report.reading import shown
from mathtune.ui.answers.answer_pages import AnswerTable
from mathtune.ui.answers.compare_page import paired_table
from mathtune.ui.answers.prediction_index import Indexes
from mathtune.ui.answers.run_answers import settings_of
from mathtune.ui.curves import MOST_RUNS, Metrics, drawings
from mathtune.ui.folders import Root
from mathtune.ui.knob_fields import fields_of, overrides_of
from mathtune.ui.run_list import SORTS, RunList
from mathtune.ui.security import Receive, Scope, Send
from mathtune.ui.trainings import ACTIONS, Trainings
from mathtune.ui.tries import EXAMPLE, models_of, request_of
from mathtune.ui.workers import Events, Workers

if TYPE_CHECKING:
    from jinja2 import Environment

Read = Callable[[Request, Any], Any]

MOST_TABLES = 8
"""Most paired tables that are kept."""


class _EventStream(StreamingResponse):
    """Events of a worker, one JSON object a line; a browser that goes away frees the worker."""

    def __init__(self, events: Events) -> None:
        self._events = events
        lines = (json.dumps(shown(event)).encode() + b"\n" for event in events)
        super().__init__(lines, media_type="application/x-ndjson")

    async def listen_for_disconnect(self, receive: Receive) -> None:
        """Wait until the browser has gone; the worker may be silent for long, so end it."""
        await super().listen_for_disconnect(receive)
        await asyncio.to_thread(self._events.leave)  # requests hold the other threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; a generator left in the middle would keep the worker locked."""
        # From 2.4 on Starlette notices a lost browser only when it sends something.
        listening = {**scope, "asgi": {**scope.get("asgi", {}), "spec_version": "2.3"}}
        try:
            await super().__call__(listening, receive, send)
        finally:
            self._events.close()


class Site:
    """The page's state: what was read, and the processes it started.

    Args:
        root: Where the run folders are.
        environment: What renders its templates.
    """

    def __init__(self, root: Root, environment: Environment) -> None:
        self._root, self._environment = root, environment
        self._list, self._metrics, self._indexes = RunList(root), Metrics(), Indexes()
        self._trainings, self._workers = Trainings(root), Workers()
        self._tables: OrderedDict[tuple[Any, ...], AnswerTable] = OrderedDict()

    def pages(self) -> Mapping[str, Callable[[Request], str]]:
        """Return address → function that returns its HTML."""
        return {
            "/": self._runs_page,
            "/run/{name:path}": self._run_page,
            "/compare": lambda _: self._render("compare"),
            "/try": lambda _: self._render("try", models=models_of(self._root), example=EXAMPLE),
            "/data": lambda _: self._render("data", recipes=self._trainings.recipes()),
            "/train": lambda _: self._render(
                "train", recipes=self._trainings.recipes(), actions=ACTIONS
            ),
        }

    def reads(self) -> Mapping[str, Read]:
        """Return address → function that returns JSON."""
        return {
            "/api/runs": self._runs,
            "/api/run": self._run,
            "/api/curves": self._curves,
            "/api/answers": self._answers,
            "/api/files": self._files,
            "/api/fields": lambda request, _: fields_of(self._recipe(request.query_params)),
        }

    def writes(self) -> Mapping[str, Read]:
        """Return address → function that starts or stops something, and returns JSON."""
        return {
            "/api/compare": lambda _, given: paired_table(self._files_of(given.get("files"))),
            "/api/prepare": lambda _, given: self._trainings.prepare(*self._asked(given)),
            "/api/start": lambda _, given: {"id": self._trainings.start(*self._asked(given))},
            "/api/stop": lambda _, given: self._trainings.stop(str(given.get("run"))),
            "/api/continue": lambda _, given: {"id": self._trainings.resume(str(given.get("run")))},
        }

    async def stream(self, request: Request) -> Response:
        """Answer a request to a worker with its events, one JSON object a line."""
        try:
            given = json.loads(await request.body())
            key, asked = await run_in_threadpool(self._work, given)
        except MathtuneError as error:
            return JSONResponse({"faults": shown(list(error.faults))}, 400)
        except (ValueError, AttributeError, RecursionError):
            return JSONResponse({"faults": ["the request is not one of this page"]}, 400)

        return _EventStream(self._workers.ask(key, asked))

    def tidy(self) -> None:
        """Forget children that have ended, and end workers that nobody uses."""
        self._trainings.reap()
        self._workers.drop_idle()

    def close(self) -> None:
        """End the workers; trainings go on."""
        self._workers.close()

    def _render(self, page: str, **values: Any) -> str:
        template = self._environment.get_template(f"{page}.html")
        return template.render(tab=page, root=shown(self._root.label), **values)

    def _runs_page(self, request: Request) -> str:
        return self._render("runs", first=self._runs(request, None), most=MOST_RUNS, sorts=SORTS)

    def _runs(self, request: Request, _: Any) -> dict[str, Any]:
        asked = request.query_params
        sort = asked.get("sort", "changed")
        return self._list.page(
            _number(asked.get("page")), query=asked.get("q", "")[:200], sort=sort
        )

    def _run_page(self, request: Request) -> str:
        paths = self._root.run(quote(request.path_params["name"]))
        name = self._root.id_of(paths.folder)
        try:
            run = report.read(paths.folder, most_answers=1)
            values = sections(run)
        except RunError:  # a training that has just been started has nothing to show
            values = None
        settings, line = settings_of(self._root, paths), self._list.line(paths.folder)
        shows_results = values is not None and line["status"] == "finished"
        return self._render(
            "run",
            id=name,
            run=line,
            report=values,
            settings=settings,
            rows=bool(settings),
            live="here" if shows_results else "first",
            **(values or {}),
        )

    def _run(self, request: Request, _: Any) -> dict[str, Any]:
        self._trainings.reap()
        name = request.query_params.get("run", "")
        line = self._list.line(self._root.run(name).folder)
        return {**line, "console": self._trainings.console(name), "own": self._trainings.owns(name)}

    def _curves(self, request: Request, _: Any) -> dict[str, Any]:
        names = request.query_params.getlist("run")[:MOST_RUNS]
        runs = {self._root.run(name).folder: self._root.run(name) for name in names}
        named = {folder.relative_to(self._root.folder).as_posix(): p for folder, p in runs.items()}
        lines = [self._list.line(folder) for folder in runs]
        return {"charts": drawings(self._metrics, named), "runs": lines}

    def _answers(self, request: Request, _: Any) -> dict[str, Any]:
        asked = request.query_params
        files = self._files_of(asked.getlist("file"))
        names = asked.getlist("name")
        if len(names) != len(files):
            names = _names(files)
        return self._table(files, names).page(
            _number(asked.get("page")),
            show=asked.get("show", "all"),
            outcome=asked.get("outcome", ""),
            error=asked.get("error", ""),
            disagree=asked.get("disagree") == "1",
            query=asked.get("q", "")[:500],
            sort=asked.get("sort", ""),
        )

    def _table(self, files: list[Path], names: list[str]) -> AnswerTable:
        indexes = [self._indexes.of(path) for path in files]
        key = (*names, *(index.path for index in indexes), *(index.stamp for index in indexes))
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = AnswerTable(indexes, names)
            while len(self._tables) > MOST_TABLES:
                self._tables.popitem(last=False)
        return table

    def _files(self, request: Request, _: Any) -> list[dict[str, str]]:
        files = self._root.all_predictions()
        words = request.query_params.get("q", "").lower().split()
        named = [(path.relative_to(self._root.folder).as_posix(), path) for path in files]
        fits = [(name, path) for name, path in named if all(w in name.lower() for w in words)]
        return [{"id": self._root.id_of(path), "name": name} for name, path in fits[:200]]

    def _files_of(self, given: Any) -> list[Path]:
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_RUNS:
            raise ConfigError(f"choose 1 to {MOST_RUNS} predictions files")
        return [self._root.predictions(str(name)) for name in given]

    def _recipe(self, asked: Mapping[str, Any]) -> str:
        recipe = str(asked.get("recipe", ""))
        if recipe not in self._trainings.recipes():
            raise ConfigError(f"recipe {recipe!r} is not in the list; reload the page")
        return recipe

    def _asked(self, given: Mapping[str, Any]) -> tuple[str, list[str], str]:
        """Return recipe, overrides and action of a form."""
        values, more = given.get("values"), given.get("more")
        words = [line.strip() for line in str(more or "").splitlines() if line.strip()]
        fields = values if isinstance(values, dict) else {}
        changed = overrides_of({str(key): str(value) for key, value in fields.items()})
        return self._recipe(given), [*changed, *words], str(given.get("action", "run"))

    def _work(self, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return which worker a request goes to, and the request."""
        if given.get("task") == "ask":
            return request_of(self._root, given)
        recipe, overrides, _ = self._asked(given)
        task = "plan" if given.get("task") == "plan" else "data"
        return task, {"task": task, "recipe": recipe, "overrides": overrides}


def _names(files: list[Path]) -> list[str]:
    stems = [path.stem for path in files]
    runs = [f"{path.parent.parent.name}/{path.stem}" for path in files]
    return next(
        (n for n in (stems, runs) if len(set(n)) == len(n)), [str(i + 1) for i in range(len(files))]
    )


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 9 else 0
