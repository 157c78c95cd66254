"""A worker process: one JSON request a line on standard input, JSON events on standard output."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from mathtune.errors import MathtuneError
from mathtune.text.redaction import redact_command

TASKS = {
    "plan": "mathtune.ui.worker.plan",
    "ask": "mathtune.ui.worker.ask",
    "data": "mathtune.ui.worker.data",
}


def main() -> None:
    """Answer requests until standard input ends, which it does with the server."""
    # Whatever a library prints must not get between the events.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        for event in _events(json.loads(line)):
            out.write(redact_command(json.dumps(event)) + "\n")
            out.flush()


def _events(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        yield from importlib.import_module(TASKS[request["task"]]).answer(request)
    except MathtuneError as error:
        yield {"event": "failed", "faults": list(error.faults)}
    except Exception as error:
        traceback.print_exc()
        name = type(error).__name__
        yield {"event": "failed", "faults": [f"{name}: {error}; the same in a terminal says more"]}


if __name__ == "__main__":
    main()
