"""Secrets, kept out of whatever is written: files of a run, the terminal, logs.

Redacted are the values of environment variables that are named like secrets (``HF_TOKEN``,
``WANDB_API_KEY``), the API key that a server is sent, and anything that looks like a secret: tokens
of the usual services, the password in an address, ``?api_key=…``.
"""

from __future__ import annotations

import functools
import html
import json
import os
import re
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

REDACTED = "***"

SHORTEST = 8
"""A secret of fewer characters is left as it is: it would blank ordinary text everywhere."""

_NAME = re.compile(
    r"(?:^|_)(?:TOKEN|API_?KEY|ACCESS_?KEY|SECRET|SECRET_?KEY|PASSWORD|PASSWD|PAT)$", re.IGNORECASE
)
_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:token|api[_-]?key|apikey|access[_-]?key|secret|password|passwd)$", re.IGNORECASE
)
_TEXT = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|wandb_v1_\w{16,}"
    r"|github_pat_\w{16,}|gh[pousr]_[A-Za-z0-9]{16,}|AKIA[A-Z0-9]{16})"
)
# Lengths are bounded, so that a hostile line of a megabyte costs no more than an ordinary one.
_USER_INFO = re.compile(
    r"(?<=://)(?:[^/\s@:\"'<>]{0,200}:[^/\s@\"'<>]{1,400}|[^/\s@:\"'<>]{8,400})(?=@)"
)
_IN_QUERY = re.compile(
    r"(?P<name>[?&][\w-]{0,40}(?:token|api[-_]?key|password|secret|signature)=)[^\s&\"'<>]{1,999}",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"(?P<name>(?<!-)--[\w-]{0,40}(?:token|api[-_]?key|password|secret)[ =]"
    r"|(?<![\w.])[\w.]{0,60}(?:(?<![a-z])(?<!pad_)(?<!eos_)(?<!bos_)(?<!unk_)token"
    r"|api_?key|password|secret)=)[^\s&\"'<>]{1,999}",
    re.IGNORECASE,
)

_remembered: set[str] = set()


def remember(secret: str) -> None:
    """Redact this secret too, which no environment variable with such a name holds."""
    if len(secret) >= SHORTEST:
        _remembered.add(secret)


def redact(text: str) -> str:
    """Return text with every secret in it replaced by ``***``."""
    for secret in _known():
        if secret in text:
            text = text.replace(secret, REDACTED)
    if "://" in text:
        text = _IN_QUERY.sub(rf"\g<name>{REDACTED}", _USER_INFO.sub(REDACTED, text))
    return _TEXT.sub(REDACTED, text)


def redact_command(text: str) -> str:
    """Redact a command line or a message: also what follows ``--api-key`` or ``password=``."""
    return _ASSIGNED.sub(rf"\g<name>{REDACTED}", redact(text))


def keep_out_of(stream: TextIO) -> None:
    """Redact whatever is written to a stream from now on, whoever writes it."""
    write = stream.write
    setattr(stream, "write", lambda text: write(redact_command(text)))  # noqa: B010


def is_secret_name(key: str) -> bool:
    """Return whether a key's name says that its value is a secret, as ``hf_token`` does."""
    return bool(_SECRET_KEY.search(key))


def _known() -> tuple[str, ...]:
    named = {value.strip() for name, value in os.environ.items() if _NAME.search(name)}
    return _in_all_forms(frozenset(named | _remembered))


@functools.lru_cache(maxsize=8)
def _in_all_forms(values: frozenset[str]) -> tuple[str, ...]:
    """Return secrets as they appear in text, JSON, addresses and HTML, the longest first."""
    forms: set[str] = set()
    for value in values:
        if len(value) >= SHORTEST and not _is_ordinary(value):
            forms |= {value, json.dumps(value)[1:-1], quote(value), quote(value, safe="")}
            forms |= {html.escape(value), json.dumps(value, ensure_ascii=False)[1:-1]}
    return tuple(sorted(forms, key=len, reverse=True))


def _is_ordinary(value: str) -> bool:
    """Return whether a value is a word or a path, which such a variable may also hold."""
    return (value.isalpha() and (value.islower() or value.istitle())) or Path(value).exists()


def redacted_values(value: Any) -> Any:
    """Return JSON values with secrets blanked in every text, and those that a key names."""
    if isinstance(value, dict):
        return {
            key: REDACTED if item and is_secret_name(str(key)) else redacted_values(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [redacted_values(item) for item in value]
    return redact_command(value) if isinstance(value, str) else value
