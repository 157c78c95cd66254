"""What goes over the wire: request bodies, and answers, good or bad."""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mathtune.generation.engine import UNKNOWN_TOKEN, Decoding
from mathtune.generation.openai.pacing import retry_after_seconds
from mathtune.generation.seeds import sample_seed
from mathtune.generation.stops import find_stop
from mathtune.records import Completion, Prompt, StopReason

MAX_STOP_STRINGS = 4
"""OpenAI's limit. Text is cut here at all stop strings, so any beyond it only cost tokens."""

_LENGTH = frozenset({"length", "max_tokens"})
_ENDED = frozenset({"stop", "eos", "eos_token", "stop_sequence", "end_turn"})
MOST_TOKENS = 1_000_000
"""A server's token count above this is ignored."""

_LONGEST_REASON = 40
_EXCERPT_BYTES = 10_000
_KEY_LIKE = re.compile(r"\bsk-[\w*.-]+")


class Endpoint(enum.Enum):
    """Which of the two text endpoints to use.

    ``COMPLETIONS`` continues the prompt's text as it is: the same protocol as the local engines.
    ``CHAT`` sends the prompt's messages, or its text as one user message if it has none; the
    server puts them into its own chat template.
    """

    COMPLETIONS = "completions"
    CHAT = "chat"

    @property
    def path(self) -> str:
        """Path below the base URL."""
        return "chat/completions" if self is Endpoint.CHAT else "completions"


class Remedy(enum.Enum):
    """What to do after a fault."""

    RETRY = "retry"
    """It may pass: try again later."""
    SKIP = "skip"
    """This completion fails, others may succeed."""
    STOP = "stop"
    """No completion will succeed until the user changes something."""


class Fault(Exception):
    """A request that returned no completion.

    Attributes:
        remedy: What to do.
        cause: Short name to count it under: a status, ``timeout``, ``connection`` or ``malformed``.
        wait: Seconds the server asks to wait, or None.
    """

    def __init__(self, remedy: Remedy, cause: str, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.cause = cause
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request.

    Attributes:
        text: The new text as sent.
        finish_reason: Why it ended, in the server's words.
        stop_string: The stop string it ended with, if the server reports it (vLLM does).
        prompt_tokens: Number of prompt tokens; None if the server does not count.
        new_tokens: Number of new tokens; None if the server does not count.
    """

    text: str
    finish_reason: str
    stop_string: str | None
    prompt_tokens: int | None
    new_tokens: int | None

    @property
    def is_cut_short(self) -> bool:
        """True if it ended for none of the usual reasons, for example ``content_filter``."""
        return self.finish_reason not in _LENGTH | _ENDED


def request_body(
    endpoint: Endpoint,
    model: str,
    prompt: Prompt,
    sample: int,
    decoding: Decoding,
    extra: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the JSON body that asks for one completion."""
    body: dict[str, Any] = {"model": model}
    if endpoint is Endpoint.CHAT:
        messages = prompt.messages or (("user", prompt.text),)
        body["messages"] = [{"role": role, "content": said} for role, said in messages]
    else:
        body["prompt"] = prompt.text
    body["max_tokens"] = decoding.max_new_tokens
    body["temperature"] = decoding.temperature
    if decoding.temperature > 0:
        body["top_p"] = decoding.top_p
        body["seed"] = sample_seed(decoding.seed, prompt.problem_id, sample)
    if decoding.stop:
        body["stop"] = list(decoding.stop[:MAX_STOP_STRINGS])
    return {name: value for name, value in {**body, **extra}.items() if value is not None}


def read_answer(endpoint: Endpoint, content: Any, key: str | None = None) -> Answer:
    """Read the JSON of a good answer; ``key`` is kept out of messages about a bad one.

    Raises:
        Fault: It does not follow the API; some gateways report their own errors that way.
    """
    try:
        choice = content["choices"][0]
        text = choice["message"]["content"] if endpoint is Endpoint.CHAT else choice["text"]
        if not isinstance(text, str | type(None)):
            raise TypeError
        usage = content.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        stop_string = choice.get("stop_reason")
        answer: Answer | None = Answer(
            text=_without(key, text or ""),  # null where a chat model said nothing
            finish_reason=_without(key, str(choice.get("finish_reason")))[:_LONGEST_REASON],
            stop_string=stop_string if isinstance(stop_string, str) else None,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            new_tokens=_count(usage.get("completion_tokens")),
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        answer = None
    if answer is None:
        said = excerpt(content, key)
        raise Fault(Remedy.RETRY, "malformed", f"the server's answer has no completion: {said}")
    return answer


def parse(content: bytes) -> Any:
    """Return the JSON value of a body, or its text if it is not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content[:_EXCERPT_BYTES].decode("utf-8", "replace")


def _count(value: Any) -> int | None:
    """Return a server's number of tokens; None if it cannot be right."""
    return value if type(value) is int and 0 <= value <= MOST_TOKENS else None


def _without(key: str | None, text: str) -> str:
    """Return a text without the API key, in case the server sent it back."""
    return text.replace(key, "***") if key else text


def completion_of(
    answer: Answer, prompt: Prompt, sample: int, stop: tuple[str, ...], seconds: float
) -> Completion:
    """Return an answer as a completion, cut at stop strings whether or not the server did so."""
    cut = find_stop(answer.text, stop)
    if cut is not None or answer.stop_string in stop:
        reason = StopReason.STOP_STRING
    elif answer.finish_reason in _ENDED:
        reason = StopReason.EOS
    else:
        reason = StopReason.LENGTH
    return Completion(
        problem_id=prompt.problem_id,
        sample=sample,
        text=answer.text[:cut],
        ids=(UNKNOWN_TOKEN,) * (answer.new_tokens or 0),
        stop_reason=reason,
        seconds=seconds,
    )


def status_fault(status: int, headers: Mapping[str, str], content: Any, key: str | None) -> Fault:
    """Return what an answer with a status other than 200 means."""
    said = f"the server answered with status {status}: {excerpt(content, key)}"
    if 300 <= status < 400:
        return Fault(Remedy.STOP, str(status), _redirect(headers, status, key))
    wait = retry_after_seconds(headers)
    error = content.get("error") if isinstance(content, dict) else None
    if status == 429 and isinstance(error, dict) and error.get("code") == "insufficient_quota":
        return Fault(Remedy.STOP, "429", f"{said}; the account has no credit left")
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        return Fault(Remedy.RETRY, str(status), said, wait)
    if status == 401:  # messages about a wrong key often show part of it
        return Fault(Remedy.STOP, "401", "the server refused the API key, or its absence (401)")
    if status < 300 or status in (403, 404, 405, 501):
        return Fault(Remedy.STOP, str(status), said)
    return Fault(Remedy.SKIP, str(status), said)


def _redirect(headers: Mapping[str, str], status: int, key: str | None) -> str:
    where = excerpt(headers.get("location", "nowhere"), key)
    return (
        f"the server redirects to {where} (status {status}), and redirects are not followed, so "
        "that the API key goes nowhere else; if that server is trusted, give its base URL"
    )


def excerpt(content: Any, key: str | None = None) -> str:
    """Return what a server said, shortened, without the key or anything that looks like one."""
    error = content.get("error", content) if isinstance(content, dict) else content
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    text = _without(key, str(error)[:_EXCERPT_BYTES])
    text = " ".join(_KEY_LIKE.sub("***", text).split())
    if not text:
        return "(nothing)"
    return text if len(text) <= 300 else text[:299] + "…"
