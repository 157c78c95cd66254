"""Trainings as processes of their own: started, stopped safely, continued; alive without us.

The command is the one a user would type, in a session of its own, with its output in the run
folder. What is recorded there is enough to find the process again after the server was restarted.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from mathtune import config, preflight, runs
from mathtune.config.wording import leaves
from mathtune.errors import ConfigError, RunError
from mathtune.preflight import Purpose
from mathtune.report.reading import shown
from mathtune.run_paths import RunPaths
from mathtune.storage import write_json
from mathtune.text.redaction import redact_command
from mathtune.ui.folders import CONSOLE, JOB, Root
from mathtune.ui.status import is_running, job_of, job_process

ACTIONS = {"run": "Measure, train, measure again, report", "train": "Train only"}

_TAIL = 20_000
"""Most bytes of a training's output on the page."""


class Trainings:
    """Starts, stops and continues trainings below a root.

    Args:
        root: The root.
    """

    def __init__(self, root: Root) -> None:
        self._root = root
        self._children: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()

    def recipes(self) -> list[str]:
        """Return what can be started: the package's recipes and the YAML files in this folder."""
        files = sorted(path.name for path in Path().glob("*.y*ml") if path.is_file())
        mine = [f"./{name}" for name in files if name.endswith((".yaml", ".yml"))]
        return [*config.recipe_names(), *mine]

    def prepare(self, recipe: str, overrides: Sequence[str], action: str) -> dict[str, Any]:
        """Return the exact command for a recipe, its folder's name, and the recipe's faults."""
        recipe, given = self._checked(recipe, overrides)
        draft = config.load_draft(recipe, given)
        folder = self._root.folder / runs.default_folder(draft.recipe).name
        command = _command(action, recipe, given, folder)
        faults: list[str] = []
        try:
            preflight.load(recipe, given, folder, Purpose.VALIDATE)
        except ConfigError as error:
            faults = error.faults
        return {
            "command": shown(redact_command(shlex.join(["mathtune", *command[3:]]))),
            "folder": shown(folder.name),
            "exists": folder.exists(),
            "faults": [shown(redact_command(fault)) for fault in faults],
        }

    def start(self, recipe: str, overrides: Sequence[str], action: str) -> str:
        """Start a training; return its run's id.

        Raises:
            ConfigError: With every fault that can be found before it begins, without the network.
            RunError: A process works in its folder already.
        """
        recipe, given = self._checked(recipe, overrides)
        checked = config.load(recipe, given)
        folder = self._root.new_run(runs.default_folder(checked).name)
        preflight.load(recipe, given, folder, Purpose.VALIDATE)
        return self._launch(folder, _command(action, recipe, given, folder), action)

    def resume(self, name: str) -> str:
        """Continue a run from its own stored recipe; return its id.

        Raises:
            RunError: It is running, or its recipe is missing or damaged, or runs foreign code.
        """
        paths = self._root.run(name)
        action = job_of(paths.folder).get("action")
        stored = runs.stored_recipe(paths.recipe)
        if stored.model.trust_remote_code:
            raise RunError(
                f"the recipe of {paths.folder.name} runs code that comes with its model "
                "(model.trust_remote_code); continue it in a terminal if you trust it"
            )
        action = action if action in ACTIONS else "run"
        command = _command(action, str(paths.recipe), (), paths.folder)
        return self._launch(paths.folder, command, action)

    def stop(self, name: str) -> None:
        """Ask a training that the page started to save its work and end (SIGTERM).

        Raises:
            RunError: No process of the page works in it.
        """
        paths = self._root.run(name)
        process = job_process(paths.folder)
        if process is None:
            where = (
                "was started elsewhere; press Ctrl-C there" if is_running(paths) else "has ended"
            )
            raise RunError(f"{paths.folder.name} {where}")
        try:
            process.send_signal(signal.SIGTERM)  # checks the process' age again
        except psutil.NoSuchProcess:
            return

    def owns(self, name: str) -> bool:
        """Return whether a process that the page started works in a run."""
        return job_process(self._root.run(name).folder) is not None

    def reap(self) -> None:
        """Let the system forget children that have ended."""
        with self._lock:
            self._children = [child for child in self._children if child.poll() is None]

    def console(self, name: str) -> str:
        """Return the end of what a run's process printed."""
        path = self._root.run(name).folder / CONSOLE
        try:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return redact_command(text if size <= _TAIL else text.partition("\n")[2])

    def _checked(self, recipe: str, overrides: Sequence[str]) -> tuple[str, list[str]]:
        """Refuse what is not a recipe of the list, and words that are not ``KEY=VALUE``."""
        if recipe not in self.recipes():
            raise ConfigError(f"recipe {recipe!r} is not in the list; reload the page")
        known = {key for key, _ in leaves()}
        sections = {key.partition(".")[0] for key in known}
        for word in overrides:
            key, equals, _ = word.partition("=")
            if not equals or key.partition(".")[0] not in sections:
                raise ConfigError(
                    f"{word!r} is not a setting; write KEY=VALUE, as in train.max_steps=10"
                )
        return recipe, list(overrides)

    def _launch(self, folder: Path, command: list[str], action: str) -> str:
        with self._lock:
            if folder.is_dir() and (job_process(folder) or is_running(RunPaths(folder))):
                raise RunError(f"a process works in {folder.name} already; wait for it or stop it")
            folder.mkdir(parents=True, exist_ok=True)
            line = shlex.join(["mathtune", *command[3:]])
            with (folder / CONSOLE).open("ab") as console:
                console.write(f"$ {redact_command(line)}\n".encode())
                console.flush()
                child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=console,
                    start_new_session=True,  # a terminal that closes does not end it
                    env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
                )
            self._children.append(child)
            began = psutil.Process(child.pid).create_time()
            write_json(
                folder / JOB,
                {"pid": child.pid, "began": began, "action": action, "started": time.time()},
            )
        return self._root.id_of(folder)


def _command(action: str, recipe: str, overrides: Sequence[str], folder: Path) -> list[str]:
    if action not in ACTIONS:
        raise ConfigError(f"action {action!r} is unknown; give one of {', '.join(ACTIONS)}")
    where = os.path.relpath(folder)
    where = where if not where.startswith("..") else str(folder)
    return [sys.executable, "-m", "mathtune", action, recipe, *overrides, "--run-dir", where]
