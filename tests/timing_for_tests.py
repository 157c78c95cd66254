"""Time limits that other work on the machine cannot break."""

from __future__ import annotations

import time
from collections.abc import Callable


def least_seconds(call: Callable[[], object], enough: float, tries: int = 5) -> float:
    """Return the processor seconds of this thread for the best of several calls.

    A single call may be charged for a page fault, a collection of garbage or a cache that another
    program emptied; a slow algorithm is slow every time.

    Args:
        call: What is timed.
        enough: No further try once a call took at most this many seconds.
        tries: Calls at most.
    """
    least = float("inf")
    for _ in range(tries):
        start = time.thread_time()
        call()
        least = min(least, time.thread_time() - start)
        if least <= enough:
            break
    return least
