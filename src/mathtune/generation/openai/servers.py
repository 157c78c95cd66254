"""The servers that requests go to: one, or several with the same model, such as replicas of vLLM.

Each request goes to the server with the fewest in flight. One that fails ``FAILURES_LEFT_OUT``
times in a row, while another answers, gets no further request of this call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.generation.openai.wire import Endpoint, Fault

logger = logging.getLogger(__name__)

FAILURES_LEFT_OUT = 3
"""Failures in a row of a server that has answered before, or was never reached."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go and how; the fields are documented by ``OpenAIEngine``."""

    model: str
    base_url: str
    endpoint: Endpoint
    concurrency: int
    requests_per_minute: float | None
    timeout_seconds: float
    max_retries: int
    api_key_env: str
    extra: Mapping[str, Any]

    @property
    def urls(self) -> list[str]:
        """The endpoint's addresses, one per server."""
        return [f"{each.rstrip('/')}/{self.endpoint.path}" for each in base_urls(self.base_url)]

    @property
    def url(self) -> str:
        """The addresses, to be shown."""
        return ", ".join(self.urls)

    def explain(self, fault: Fault) -> str:
        """Return the text of a fault with its remedy."""
        hints = {
            "connection": "check that the server is up and the base URL is right",
            "timeout": "give it more time (timeout_seconds) or fewer requests (concurrency)",
            "compressed": "switch compression off there",
            "too large": "check that the base URL is that of a model's server",
            "401": f"set the key in the environment variable {self.api_key_env}",
            "404": f"check the base URL (most end in /v1) and the model's name, {self.model!r}",
            "429": "send fewer requests (concurrency, requests_per_minute), or later",
        }
        hint = hints.get(fault.cause)
        return f"{fault}; {hint}" if hint else str(fault)


def base_urls(text: str) -> list[str]:
    """Return the addresses in a list separated by commas."""
    return [each.strip() for each in text.split(",") if each.strip()] or [""]


@dataclass(eq=False, slots=True)
class Replica:
    """One server.

    Attributes:
        url: The endpoint's address.
        in_flight: Requests that it has not answered yet.
        answers: Completions it has given.
        failures: Failures since the last of them.
    """

    url: str
    in_flight: int = 0
    answers: int = 0
    failures: int = 0


class Replicas:
    """The servers of one call."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.all = [Replica(url) for url in urls]
        self._used = list(self.all)

    @property
    def left_out(self) -> list[Replica]:
        """Those that get no more requests."""
        return [replica for replica in self.all if replica not in self._used]

    def take(self) -> Replica:
        """Return the server for the next request, which the caller gives back."""
        replica = min(self._used, key=lambda each: each.in_flight)
        replica.in_flight += 1
        return replica

    def give_back(self, replica: Replica, fault: Fault | None) -> bool:
        """Record how a request ended; return whether to repeat it at once, on another server.

        Args:
            replica: Where it went.
            fault: Why there was no answer, or None. A server that asks to wait (429) is not dead.
        """
        replica.in_flight -= 1
        if fault is None:
            replica.answers += 1
            replica.failures = 0
            return False
        if replica not in self._used:
            return True
        if fault.cause == "429" or len(self._used) == 1:
            return False
        replica.failures += 1
        if replica.failures < FAILURES_LEFT_OUT:
            return False
        self._used.remove(replica)
        logger.warning(
            f"{replica.url} is left out after {replica.failures} failures in a row ({fault}); the "
            f"other {len(self._used)} of {len(self.all)} servers go on"
        )
        return True
