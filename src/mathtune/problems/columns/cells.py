"""Values of a row: nested columns, turns of a conversation, numbers as text."""

from __future__ import annotations

import decimal
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard", "model"), "assistant"),
    "system": "system",
}
"""Role name, in messages or in ShareGPT → role."""

_KEYS = (("role", "content"), ("from", "value"))


class CellFault(Exception):
    """Why a row cannot be used; such rows are counted under this reason."""


class Turn(NamedTuple):
    """One message of a conversation."""

    role: str
    text: str


def look_up(values: Mapping[str, Any], path: str) -> Any:
    """Return the value of a column, or of ``outer.inner``; None if there is none.

    In a conversation ``messages.user`` is its question and ``messages.assistant`` its solution.

    Raises:
        CellFault: A conversation is not one question with its solution.
    """
    if path in values:
        return values[path]
    head, dot, rest = path.partition(".")
    inner = values.get(head)
    if not dot or inner is None:
        return None
    if isinstance(inner, Mapping):
        return look_up(inner, rest)
    if rest in ("user", "assistant") and is_chat(inner):
        return _turn(inner, rest)
    return None


def has(values: Mapping[str, Any], path: str) -> bool:
    """Return whether a row has a column, nested or not, whatever its value."""
    if path in values:
        return True
    head, dot, rest = path.partition(".")
    inner = values.get(head)
    if isinstance(inner, Mapping):
        return bool(dot) and has(inner, rest)
    return rest in ("user", "assistant") and is_chat(inner)


def as_text(value: Any) -> str | None:
    """Return a text or a number as text, ``""`` for an empty cell; None for anything else.

    A list of one item counts as that item.
    """
    if isinstance(value, str):
        return value
    if value is None or value != value:  # NaN is an empty cell in Parquet
        return ""
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return f"{value:.0f}"
    if isinstance(value, (int, float, decimal.Decimal)):
        return str(value)
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list):
        return as_text(value[0])
    return None


def is_chat(value: Any) -> bool:
    """Return whether this is a conversation: messages with role and content, or their JSON."""
    messages = _messages(value)
    return bool(messages) and all(
        isinstance(each, Mapping) and any(role in each and text in each for role, text in _KEYS)
        for each in messages
    )


def turns(value: Any) -> list[Turn]:
    """Return the turns of a conversation for which ``is_chat`` holds.

    Raises:
        CellFault: A turn is not the user's, the model's or the system's, or holds no text.
    """
    found = []
    for message in _messages(value):
        named, said = next(keys for keys in _KEYS if keys[0] in message and keys[1] in message)
        role = ROLES.get(str(message[named]).lower())
        if role is None:
            raise CellFault(f"a turn of {str(message[named])[:20]!r} in the conversation")
        found.append(Turn(role, _said(message[said])))
    return found


def _messages(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip()[:1] == "[":  # a column of a CSV file
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []


def _said(content: Any) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise CellFault("a turn without text in the conversation")
    parts = content if isinstance(content, list) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    if len(texts) < len(parts) or not all(isinstance(text, str) for text in texts):
        raise CellFault("a turn that is not only text (an image, a tool call) in a conversation")
    return "".join(text for text in texts if isinstance(text, str))


def _turn(value: Any, role: str) -> str:
    spoken = [turn for turn in turns(value) if turn.role != "system"]
    roles = [turn.role for turn in spoken]
    if roles not in (["user", "assistant"], ["user"], ["assistant"]):  # prompt, completion alone
        if roles.count("user") > 1 or roles.count("assistant") > 1:
            raise CellFault("a conversation of several turns")
        raise CellFault("a conversation that does not begin with the user's question")
    return next((turn.text for turn in spoken if turn.role == role), "")
