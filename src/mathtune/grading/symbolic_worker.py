"""The process that runs math-verify for ``mathtune.grading.symbolic``.

It prints ``ready`` or why it cannot start, then answers each line ``{"gold", "answer", "seconds"}``
with ``{"equal": bool}`` or ``{"error": why}``. It ends with its input, and on its own if its parent
dies during a comparison.
"""

from __future__ import annotations

import json
import logging
import signal
import sys

MEMORY_BYTES = 4 * 1024**3
"""Address space of the worker: a power tower must not exhaust the machine's memory."""


def serve() -> None:
    """Answer requests until standard input ends."""
    replies = sys.stdout
    sys.stdout = sys.stderr  # library output must not mix with the replies
    logging.disable()
    try:
        from math_verify import parse, verify
    except ImportError as error:
        print(error, file=replies, flush=True)
        return
    try:
        import resource
    except ImportError:  # not a POSIX system; the parent's time-out still holds
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    def compare(gold: str, answer: str) -> dict[str, object]:
        # No time-out of its own and no swallowed errors: an error is not "not equal".
        golds = parse(f"\\boxed{{{gold}}}", parsing_timeout=None, raise_on_error=True)
        if not golds:
            return {"error": f"math-verify cannot read the gold answer {gold}"}
        answers = parse(f"\\boxed{{{answer}}}", parsing_timeout=None, raise_on_error=True)
        return {"equal": verify(golds, answers, timeout_seconds=None, raise_on_error=True)}

    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        _die_after(int(request["seconds"]) + 5)
        try:
            reply = compare(request["gold"], request["answer"])
        except Exception as error:  # sympy may raise anything; the reply names it
            reply = {"error": f"math-verify failed with {type(error).__name__}"}
        _die_after(0)
        print(json.dumps(reply), file=replies, flush=True)


def _die_after(seconds: int) -> None:
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
