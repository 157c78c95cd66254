"""A bounded number of requests at a time, each repeated until its completion arrives."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mathtune.errors import ModelError
from mathtune.generation.engine import Decoding
from mathtune.generation.openai.pacing import Gate, Lines, backoff_seconds
from mathtune.generation.openai.servers import Replicas, Server
from mathtune.generation.openai.wire import (
    Fault,
    Remedy,
    completion_of,
    parse,
    read_answer,
    request_body,
    status_fault,
)
from mathtune.generation.seeds import sample_seed
from mathtune.records import Completion, Prompt
from mathtune.text.counts import counted

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0

LONGEST_WAIT_SECONDS = 900.0
"""A server that asks for a longer pause ends the call, which can be continued later."""

FIRST_CONTACT_TRIES = 3
"""A server that was never reached is abandoned sooner: the address is probably wrong."""

MOST_ANSWER_BYTES = 16 * 2**20
"""Most bytes of one answer: 500 for each of 32,000 tokens. A larger one is not read further."""

READ_BYTES = 64 * 2**10

MOST_FAILED = 5
"""This many failed completions end the call at once; fewer are reported at its end."""


@dataclass(slots=True)
class OpenAIStats:
    """What one ``generate`` call did.

    Attributes:
        requests: Requests sent, repeated ones included.
        retries: How often a request was repeated, by cause.
        prompt_tokens: As counted by the server; a repeated request counts once.
        new_tokens: As counted by the server.
        uncounted: Completions whose tokens the server did not count; they count as 0.
        cut_short: Completions that ended for reasons other than EOS, a stop string or the token
            limit, by the server's name for it (``content_filter``). They are ``LENGTH``.
        seconds: Wall-clock time up to the last completion.
        by_server: Completions by address.
    """

    requests: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    prompt_tokens: int = 0
    new_tokens: int = 0
    uncounted: int = 0
    cut_short: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    by_server: Counter[str] = field(default_factory=Counter)

    def remarks(self) -> Iterator[str]:
        """Yield as text what did not go as it should."""
        if self.retries:
            yield f"asked again {self.retries.total():,} times ({_counted(self.retries)})"
        if self.uncounted:
            yield f"the server did not count the tokens of {counted(self.uncounted, 'completion')}"
        if self.cut_short:
            yield f"the server ended completions early: {_counted(self.cut_short)}"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counter.most_common())


class Requests:
    """The requests of one ``generate`` call, in one event loop.

    Args:
        server: Where they go.
        decoding: Decoding they ask for.
        key: The API key, or None.
    """

    def __init__(self, server: Server, decoding: Decoding, key: str | None) -> None:
        self._server = server
        self._decoding = decoding
        self._key = key
        self._gate = Gate(server.requests_per_minute)
        self._replicas = Replicas(server.urls)
        self._reached = False
        self._done = 0
        self._failed: list[str] = []
        self._lines = Lines()
        self.stats = OpenAIStats()

    async def run(self, prompts: Sequence[Prompt], put: Callable[[Completion], None]) -> None:
        """Put every completion once, as it comes.

        Raises:
            ModelError: Some failed.
        """
        import httpx2

        server = self._server
        # A few kilobytes may unpack to gigabytes, so nothing compressed is requested or read.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        tasks = ((p, sample) for p in prompts for sample in range(self._decoding.samples))
        async with httpx2.AsyncClient(
            headers=headers,
            timeout=httpx2.Timeout(server.timeout_seconds, connect=CONNECT_SECONDS),
            limits=httpx2.Limits(max_connections=server.concurrency),
            follow_redirects=False,  # the API key goes only to the given address
        ) as client:

            async def work() -> None:
                for prompt, sample in tasks:  # shared: each worker takes the next one
                    try:
                        completion = await self._complete(client, prompt, sample)
                    except Fault as fault:
                        self._note(fault, prompt)
                    else:
                        self._done += 1
                        put(completion)

            workers = [asyncio.create_task(work()) for _ in range(server.concurrency)]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)
        if self._failed:
            raise self._error()

    async def _complete(self, client: Any, prompt: Prompt, sample: int) -> Completion:
        """Request one completion until it arrives.

        Raises:
            Fault: It failed for good.
        """
        server, decoding = self._server, self._decoding
        body = request_body(server.endpoint, server.model, prompt, sample, decoding, server.extra)
        random = Random(sample_seed(decoding.seed, prompt.problem_id, sample))
        failures = 0
        began = time.perf_counter()
        while True:
            await self._gate.enter()
            done_before, replica = self._done, self._replicas.take()
            try:
                content = await self._post(client, replica.url, body)
                answer = read_answer(server.endpoint, content, self._key)
                self._replicas.give_back(replica, None)
                self.stats.by_server[replica.url] += 1
                break
            except Fault as fault:
                elsewhere = self._replicas.give_back(replica, fault)
                if fault.remedy is not Remedy.RETRY:
                    raise
                if elsewhere:
                    self.stats.retries[fault.cause] += 1
                    continue
                # Too many at once is no failure of this request, as long as others get through.
                if fault.cause != "429" or self._done == done_before:
                    failures += 1
                await self._pause(fault, failures, prompt, random)
        self.stats.prompt_tokens += answer.prompt_tokens or 0
        self.stats.new_tokens += answer.new_tokens or 0
        self.stats.uncounted += answer.new_tokens is None
        if answer.is_cut_short:
            self.stats.cut_short[answer.finish_reason] += 1
        seconds = time.perf_counter() - began
        return completion_of(answer, prompt, sample, decoding.stop, seconds)

    async def _post(self, client: Any, url: str, body: Mapping[str, Any]) -> Any:
        """Send one request and return the JSON of a good answer.

        Raises:
            Fault: There is no good answer.
        """
        import httpx2

        self.stats.requests += 1
        timeout = self._server.timeout_seconds
        try:
            # wait_for bounds the whole answer; the client's own limit starts again with each byte.
            status, headers, content = await asyncio.wait_for(
                self._receive(client, url, body), timeout
            )
        except (asyncio.TimeoutError, httpx2.ReadTimeout):
            message = f"no complete answer within {timeout:g} seconds"
            raise Fault(Remedy.RETRY, "timeout", message) from None
        except httpx2.RequestError as error:
            message = f"the connection failed ({str(error) or type(error).__name__})"
            raise Fault(Remedy.RETRY, "connection", message) from None
        if status != 200:
            raise status_fault(status, headers, parse(content), self._key)
        return parse(content)

    async def _receive(
        self, client: Any, url: str, body: Mapping[str, Any]
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send one request and return status, headers and at most ``MOST_ANSWER_BYTES`` of body.

        Raises:
            Fault: The answer is larger, or compressed.
        """
        async with client.stream("POST", url, content=json.dumps(body)) as response:
            self._reached = True
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                message = "the server compressed its answer, which was not requested and not read"
                raise Fault(Remedy.STOP, "compressed", message)
            content = bytearray()
            async for chunk in response.aiter_raw(READ_BYTES):
                content += chunk
                if len(content) > MOST_ANSWER_BYTES:
                    limit = f"{MOST_ANSWER_BYTES / 2**20:g} MB"
                    message = f"the server's answer is larger than {limit} and was not read"
                    raise Fault(Remedy.SKIP, "too large", message)
            return response.status_code, response.headers, bytes(content)

    async def _pause(self, fault: Fault, failures: int, prompt: Prompt, random: Random) -> None:
        """Wait before the next try.

        Raises:
            Fault: No retry is left.
        """
        if fault.cause == "connection" and not self._reached and failures >= FIRST_CONTACT_TRIES:
            raise Fault(Remedy.STOP, fault.cause, str(fault))
        if failures > self._server.max_retries:
            message = f"{fault}, after {self._server.max_retries} retries"
            raise Fault(Remedy.SKIP, fault.cause, message)
        asked = fault.wait or 0.0
        if asked > LONGEST_WAIT_SECONDS:
            message = f"{fault}, and it asks to wait {asked:,.0f} seconds"
            raise Fault(Remedy.STOP, fault.cause, message)
        self.stats.retries[fault.cause] += 1
        wait = backoff_seconds(failures, random)
        if asked:
            self._gate.hold(asked)
            # The random part spreads the requests that wait for the same moment.
            wait = max(wait, asked + random.random())
        if (unsaid := self._lines.due(fault.cause)) is not None:
            more = f" ({unsaid:,} more since the last such line)" if unsaid else ""
            logger.warning(
                "problem %s: %s; asking again in %.1f s%s", prompt.problem_id, fault, wait, more
            )
        await asyncio.sleep(wait)

    def _note(self, fault: Fault, prompt: Prompt) -> None:
        """Record a failure for the end.

        Raises:
            ModelError: There is no point in going on.
        """
        said = self._server.explain(fault)
        if fault.remedy is Remedy.STOP:
            raise ModelError(f"{self._server.url} gives no completions: {said}") from None
        self._failed.append(f"problem {prompt.problem_id!r}: {said}")
        if len(self._failed) >= MOST_FAILED:
            raise self._error() from None

    def _error(self) -> ModelError:
        return ModelError(
            f"{self._server.url} gave {self._done} completions, but none for "
            f"{'; none for '.join(self._failed)}. The same command again requests only these"
        )
