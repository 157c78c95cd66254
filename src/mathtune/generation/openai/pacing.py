"""When the next request may be sent: back-off, ``Retry-After`` and a request rate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from random import Random

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0

SECONDS_BETWEEN_LINES = 10.0
"""Seconds between two log lines about retries for the same cause."""


def backoff_seconds(failures: int, random: Random) -> float:
    """Return the wait after this many failures in a row: 1, 2, 4, … at most 60 seconds.

    Half of it is random, so that requests that failed together are not all retried together.
    """
    doublings = min(failures - 1, 10)  # 60 seconds are reached long before
    longest = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0**doublings)
    return longest * random.uniform(0.5, 1.0)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to wait, or None if it does not say.

    ``Retry-After`` is a number of seconds or a date (RFC 9110, section 10.2.3); some servers send
    ``retry-after-ms`` as well, which is finer.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _number(value)
    if seconds is not None or value is None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if number < float("inf") else None


class Lines:
    """Spaces out log lines for one cause: a server that is down must not fill the screen."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[float, int]] = {}  # cause → when, and how many since

    def due(self, cause: str) -> int | None:
        """Return how many lines for a cause were left out if one is due now, else None."""
        now = time.monotonic()
        said, unsaid = self._said.get(cause, (float("-inf"), 0))
        if now - said < SECONDS_BETWEEN_LINES:
            self._said[cause] = said, unsaid + 1
            return None
        self._said[cause] = now, 0
        return unsaid


class Gate:
    """The gate for every request: closed while the server asks for a pause.

    Args:
        requests_per_minute: Most requests started per minute, evenly spaced; None is no limit.
    """

    def __init__(self, requests_per_minute: float | None) -> None:
        self._interval = 60 / requests_per_minute if requests_per_minute else 0.0
        self._opens = 0.0  # in the event loop's time

    def hold(self, seconds: float) -> None:
        """Let no request start for this many seconds."""
        self._opens = max(self._opens, asyncio.get_running_loop().time() + seconds)

    async def enter(self) -> None:
        """Wait until a request may start."""
        loop = asyncio.get_running_loop()
        while (wait := self._opens - loop.time()) > 0:
            await asyncio.sleep(wait)
        if self._interval:
            self._opens = loop.time() + self._interval
