"""The engine for a model behind an OpenAI-compatible server.

A run of 1,319 problems meets what servers do on a bad day: 429 and 500, answers that never come,
connections that drop. Each completion is requested again until it arrives, with growing pauses, and
is yielded exactly once.

Left out on purpose: streaming (an answer is graded whole), ``n`` (not every server knows it: a
sample is a request) and the calculator, which needs control over tokens. Stopping at each ``=`` and
sending the text again with the result would come close, but the server would split that text into
tokens other than the model's own, and the figures would not be those of the local engines.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from mathtune.errors import ConfigError
from mathtune.generation.engine import Decoding
from mathtune.generation.openai.background import iterate_in_thread
from mathtune.generation.openai.requests import OpenAIStats, Requests
from mathtune.generation.openai.servers import Server, base_urls
from mathtune.generation.openai.wire import Endpoint
from mathtune.records import Completion, Prompt
from mathtune.text.redaction import redact, remember

logger = logging.getLogger(__name__)

API_KEY_ENV = "OPENAI_API_KEY"

_VARIABLE = re.compile(r"[A-Za-z_]\w{0,99}", re.ASCII)
# Looks like a name but is probably a key: hf_… and the like, or long, with digits, in one piece.
_KEY = re.compile(r"(?:[A-Za-z]{2,5}_)?(?=[^_]*\d)[^_]{20,}$")


class OpenAIEngine:
    """Continues prompts with a model behind an OpenAI-compatible server.

    The server tokenizes the prompt's text and puts its BOS in front. A text that begins with one
    already (a chat template's) would get two: give ``Endpoint.CHAT`` messages instead.

    The API key is read from the environment when requests begin, and is never stored or shown.
    Without a key, requests carry none, as local servers expect.

    Args:
        model: The model's name on the server.
        base_url: For example ``http://localhost:8000/v1``; several servers with the same model are
            separated by commas.
        endpoint: Which endpoint to use.
        concurrency: Most requests in flight.
        requests_per_minute: Most requests started per minute; None relies on the server's 429.
        timeout_seconds: Longest wait for one answer, queueing on the server included.
        max_retries: How often a completion is requested again. A 429 is not counted while other
            completions keep coming in.
        api_key_env: Environment variable that holds the API key.
        extra: Further fields of each request; None removes one that is there, as in
            ``{"max_tokens": None, "max_completion_tokens": 512}``.

    Attributes:
        stats: Figures of the last ``generate`` call.

    Raises:
        ConfigError: An argument is invalid; all such faults are reported at once.
    """

    name = "openai"

    def __init__(
        self,
        model: str,
        base_url: str,
        *,
        endpoint: Endpoint = Endpoint.COMPLETIONS,
        concurrency: int = 16,
        requests_per_minute: float | None = None,
        timeout_seconds: float = 600.0,
        max_retries: int = 8,
        api_key_env: str = API_KEY_ENV,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        faults = [fault for each in base_urls(base_url) for fault in _url_faults(each)]
        for name, value in (
            ("requests_per_minute", requests_per_minute),
            ("timeout_seconds", timeout_seconds),
        ):
            if value is not None and value <= 0:
                faults.append(f"{name} is {value}; give more than 0")
        if concurrency < 1:
            faults.append(f"concurrency is {concurrency}; give 1 or more")
        if max_retries < 0:
            faults.append(f"max_retries is {max_retries}; give 0 or more")
        if faults:
            raise ConfigError(faults)
        self._server = Server(
            model=model,
            base_url=base_url,
            endpoint=endpoint,
            concurrency=concurrency,
            requests_per_minute=requests_per_minute,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            api_key_env=api_key_env,
            extra=dict(extra or {}),
        )
        self.stats = OpenAIStats()

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield ``len(prompts) * decoding.samples`` completions, each as soon as it arrives.

        ``ids`` of a completion has one -1 for each token that the server counted. Closing the
        iterator ends all requests in flight.

        Raises:
            ConfigError: The calculator or log-probabilities are asked for, or the API key is
                missing where one is named, or holds characters that no header can carry.
            ModelError: Completions failed in spite of retries, or the server refused.
        """
        faults = []
        if decoding.calculator:
            faults.append(
                "the openai engine has no calculator, because a server takes no inserted tokens; "
                "set eval.calculator=false, or use the hf engine"
            )
        if decoding.logprobs:
            faults.append(
                "the openai engine gives no log-probabilities, which each server reports in its "
                "own way; use the hf engine"
            )
        if faults:
            raise ConfigError(faults)
        requests = Requests(self._server, decoding, api_key(self._server.api_key_env))
        self.stats = requests.stats
        return _timed(requests, tuple(prompts))


def _timed(requests: Requests, prompts: Sequence[Prompt]) -> Iterator[Completion]:
    def run(put: Callable[[Completion], None]) -> Coroutine[Any, Any, None]:
        return requests.run(prompts, put)

    began = time.perf_counter()
    try:
        for completion in iterate_in_thread(run):
            requests.stats.seconds = time.perf_counter() - began
            yield completion
    finally:
        for remark in requests.stats.remarks():
            logger.warning("openai engine: %s", remark)


def _url_faults(base_url: str) -> list[str]:
    try:
        parts = urlsplit(base_url)
    except ValueError:  # brackets without an IPv6 address
        return [f"base URL {redact(base_url)!r} is not a web address; give http://host:8000/v1"]
    if parts.username or parts.password or redact(parts.path) != parts.path:
        # Not repeated here: that would put the password on the screen.
        return ["the base URL holds a user name or password; set the API key in the environment"]
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return [f"base URL {base_url!r} is not a web address; give one such as http://host:8000/v1"]
    if parts.query or parts.fragment:
        return ["the base URL holds a query or a fragment; leave out what follows '?' or '#'"]
    return []


def api_key(variable: str) -> str | None:
    """Return the API key that an environment variable holds; None if none is needed.

    Raises:
        ConfigError: The named variable is missing, holds characters that no header can carry, or
            has an invalid name.
    """
    if not _VARIABLE.fullmatch(variable) or _KEY.match(variable):
        # Not repeated here, and refused before it is written into a run folder.
        raise ConfigError(
            "api_key_env is not the name of an environment variable, and may be the API key "
            "itself; set a variable to the key and give its name"
        )
    key = os.environ.get(variable, "").strip()
    if not key and variable != API_KEY_ENV:
        raise ConfigError(f"environment variable {variable} is not set; set it to the API key")
    if not key.isascii() or not key.isprintable():
        # The HTTP client would show the whole header in its own message.
        raise ConfigError(
            f"environment variable {variable} holds a line break or a character outside ASCII, "
            "which no API key does; set it again"
        )
    remember(key)
    return key or None
