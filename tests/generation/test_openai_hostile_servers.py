"""Servers that mean harm: endless, huge, slow, redirecting, compressed or lying ones."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from hostile_server import Connection, HostileServer, forever, head, whole
from mathtune.errors import ModelError
from mathtune.generation.engine import Decoding
from mathtune.generation.openai import Endpoint, OpenAIEngine, pacing, requests
from mathtune.records import Completion, Prompt

KEY = "sk-proj-abc123-secret-xyz789"
BLOCK = 64 * 2**10
BUFFERS = 12 * 2**20
"""What the two ends of a connection on one machine may hold unread."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "FIRST_BACKOFF_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def answer(**choice: Any) -> bytes:
    return json.dumps({"choices": [{"text": " 4", "finish_reason": "stop", **choice}]}).encode()


def ask(server: HostileServer, **options: Any) -> tuple[list[Completion], OpenAIEngine]:
    given = {"timeout_seconds": 10.0, "max_retries": 1, "concurrency": 1, **options}
    engine = OpenAIEngine("m", server.url, **given)
    prompts = [Prompt("p1", "2+2=", ())]
    return list(engine.generate(prompts, Decoding(max_new_tokens=8))), engine


def refusal(server: HostileServer, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        ask(server, **options)
    assert len(caught.value.faults) == 1 and KEY not in caught.value.faults[0]
    return caught.value.faults[0]


def endless(connection: Connection, block: bytes = b" " * BLOCK, **headers: Any) -> None:
    connection.send(head(**headers))
    for data in forever(block):
        connection.send(data)


def endless_chunks(connection: Connection) -> None:
    endless(connection, b"%x\r\n%s\r\n" % (BLOCK, b"9" * BLOCK), transfer_encoding="chunked")


def ten_gigabytes(connection: Connection) -> None:
    endless(connection, b'{"choices": [' + b" " * BLOCK, content_length=10 * 2**30)


@pytest.mark.parametrize("behave", [endless, endless_chunks, ten_gigabytes])
def test_an_answer_without_end_is_left_after_its_limit(behave: Callable[..., None]) -> None:
    with HostileServer(behave) as server:
        said = refusal(server)
    assert "the server's answer is larger than 16 MB and was not read" in said
    assert len(server.connections) == 1  # asked once: the next answer would be no smaller
    assert server.connections[0].sent < requests.MOST_ANSWER_BYTES + BUFFERS


def test_a_byte_at_a_time_ends_with_the_time_limit() -> None:
    def behave(connection: Connection) -> None:
        connection.send(head(content_length=1000))
        while True:
            connection.send(b" ")
            connection.pause(0.05)

    with HostileServer(behave) as server:
        said = refusal(server, timeout_seconds=0.6)
    assert "no complete answer within 0.6 seconds, after 1 retries" in said


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_the_key_does_not_follow_a_redirect(status: str) -> None:
    def redirect(connection: Connection) -> None:
        connection.send(whole(b"", status, location=f"{other.url}/completions"))

    with HostileServer(lambda c: c.send(whole(answer()))) as other:
        with HostileServer(redirect) as server:
            said = refusal(server)
        assert f"redirects to {other.url}/completions" in said
        assert "redirects are not followed" in said
        assert other.connections == []
    assert len(server.connections) == 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_what_is_compressed_is_neither_asked_for_nor_read(coding: str) -> None:
    bomb = gzip.compress(gzip.compress(bytes(2**20)))

    with HostileServer(lambda c: c.send(whole(bomb, content_encoding=coding))) as server:
        said = refusal(server)
    assert "the server compressed its answer" in said and "switch compression off" in said
    assert b"accept-encoding: identity\r\n" in server.connections[0].request.lower()


def megabyte_of_headers(connection: Connection) -> None:
    connection.send(head(x="y" * 2**20)[:-4])
    connection.send(b"\r\n\r\n" + answer())


def endless_headers(connection: Connection) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(100_000):
        connection.send(b"x: " + b"y" * 1000 + b"\r\n")


def no_http(connection: Connection) -> None:
    connection.send(b"\x00\xff\x1b[2J" * 1000)


@pytest.mark.parametrize("behave", [megabyte_of_headers, endless_headers, no_http])
def test_what_is_no_http_is_a_failed_connection(behave: Callable[[Connection], None]) -> None:
    with HostileServer(behave) as server:
        said = refusal(server)
    assert "the connection failed (" in said and "base URL is right" in said
    assert all(connection.sent < BUFFERS for connection in server.connections)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b'{"choices": [{"te', id="half an object"),
        pytest.param(b"[" * 200_000, id="nested too deeply"),
        pytest.param(b'{"choices": [{"text": "\xff\xfe"}]}', id="not UTF-8"),
        pytest.param(b"<html><script>alert(1)</script>", id="a page"),
        pytest.param(b"9" * 10_000, id="a number of 10,000 digits"),
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00" * 100, id="NUL"),
        pytest.param(answer(text=5), id="a number as text"),
        pytest.param(answer(text=["4"]), id="a list as text"),
        pytest.param(b'{"choices": {"0": {}}}', id="no list"),
    ],
)
def test_nonsense_is_a_counted_retry_with_a_line(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def behave(connection: Connection) -> None:
        connection.send(whole(content if len(server.connections) == 1 else answer()))

    with HostileServer(behave) as server, caplog.at_level(logging.WARNING):
        (completion,), engine = ask(server)
    assert completion.text == " 4"
    assert engine.stats.retries == {"malformed": 1}
    line, total, _ = (record.getMessage() for record in caplog.records)
    assert line.startswith("problem p1: the server's answer has no completion: ")
    assert "; asking again in 0.0 s" in line and len(line) < 500
    assert total == "openai engine: asked again 1 times (malformed 1)"


@pytest.mark.parametrize(
    "usage",
    [
        [1],
        "many",
        {"completion_tokens": 10**12, "prompt_tokens": -1},
        {"completion_tokens": "3", "prompt_tokens": None},
        {"completion_tokens": True, "prompt_tokens": 1.5},
    ],
)
def test_a_count_that_cannot_be_true_is_no_count(usage: Any) -> None:
    content = json.dumps({"choices": [{"text": " 4", "finish_reason": "stop"}], "usage": usage})
    with HostileServer(lambda c: c.send(whole(content.encode()))) as server:
        (completion,), engine = ask(server)
    assert completion.ids == ()
    assert (engine.stats.uncounted, engine.stats.new_tokens, engine.stats.prompt_tokens) == (
        1,
        0,
        0,
    )


def test_a_key_that_is_sent_back_is_not_kept() -> None:
    content = answer(text=f"Your key is {KEY}.", finish_reason=f"no {KEY}")
    with HostileServer(lambda c: c.send(whole(content))) as server:
        (completion,), engine = ask(server)
    assert completion.text == "Your key is ***."
    assert KEY not in str(engine.stats)
    assert f"Bearer {KEY}".encode() in server.connections[0].request


def test_lines_for_one_cause_are_spaced_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 1.0, 2.0, 3.0, 11.0, 12.0])
    monkeypatch.setattr(pacing.time, "monotonic", lambda: next(now))
    lines = pacing.Lines()
    assert [lines.due(c) for c in ("500", "500", "429", "500", "500", "500")] == [
        0,
        None,
        0,
        None,
        2,
        None,
    ]


def test_the_chat_endpoint_is_bounded_alike() -> None:
    with HostileServer(endless) as server:
        said = refusal(server, endpoint=Endpoint.CHAT)
    assert "larger than 16 MB" in said


def test_a_hub_that_drips_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    from mathtune import hub

    def drip(connection: Connection) -> None:
        for byte in forever(b"H"):
            connection.send(byte)
            connection.pause(0.05)

    with HostileServer(drip) as server:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(hub, "REACH_SECONDS", 0.5)
        said = hub.why_unreachable.__wrapped__()
        assert said == f"{server.url}: no complete answer within 1 seconds"
