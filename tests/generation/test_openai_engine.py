from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mathtune.errors import ConfigError, ModelError
from mathtune.evaluation.evaluate import evaluate
from mathtune.evaluation.predictions.rows import read_rows
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.generation.openai import Endpoint, OpenAIEngine, pacing, requests
from mathtune.generation.openai.engine import api_key
from mathtune.generation.openai.pacing import backoff_seconds, retry_after_seconds
from mathtune.generation.openai.wire import Fault, Remedy, completion_of, read_answer
from mathtune.prompts import Renderer, TextRenderer
from mathtune.records import Completion, Problem, ProblemSet, Prompt, StopReason, content_id
from model_server import FaultyProxy, Misbehaviour, Seen, TransformersServer
from models_for_tests import saved_model

KEY = "sk-proj-abc123-secret-xyz789"
DECODING = Decoding(max_new_tokens=8)


def problem(number: int) -> Problem:
    question = f"Tom has {number} apples and buys {3 * number} more. How many has he?"
    return Problem(content_id(question), question, f"#### {4 * number}", str(4 * number))


PROBLEMS = ProblemSet("apples", tuple(problem(number) for number in range(1, 25)))


class Served:
    """A saved model, the server that serves it, and the same model in this process."""

    def __init__(self, folder: Path, tokenizer: Any, url: str) -> None:
        from transformers import AutoModelForCausalLM

        self.name = str(folder)
        self.url = url
        self.tokenizer = tokenizer
        self.local = HFEngine(AutoModelForCausalLM.from_pretrained(folder), tokenizer)

    def prompts(self, problems: ProblemSet = PROBLEMS) -> list[Prompt]:
        texts = {p.id: f"Question: {p.question}\nAnswer:" for p in problems.problems}
        return [
            Prompt(id_, text, tuple(self.tokenizer(text)["input_ids"]))
            for id_, text in texts.items()
        ]

    def wanted(self, decoding: Decoding = DECODING) -> dict[str, Completion]:
        return {c.problem_id: c for c in self.local.generate(self.prompts(), decoding)}

    def engine(self, url: str, **options: Any) -> OpenAIEngine:
        return OpenAIEngine(self.name, url, **{"timeout_seconds": 20.0, **options})


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder, tokenizer = saved_model(tmp_path_factory.mktemp("model"), "llama")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.delenv("OPENAI_API_KEY", raising=False)
        with TransformersServer(folder) as server:
            yield Served(folder, tokenizer, server.url)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off of milliseconds, for tests of what comes after it."""
    monkeypatch.setattr(pacing, "FIRST_BACKOFF_SECONDS", 0.01)


def numbered(plan: dict[int, Misbehaviour]) -> Callable[[Seen], Misbehaviour | None]:
    return lambda seen: plan.get(seen.number)


def always(did: Misbehaviour) -> Callable[[Seen], Misbehaviour | None]:
    return lambda seen: did


# --- Against the real server ---------------------------------------------------------------------


def test_right_answers_once_each_through_everything_a_server_may_do(
    served: Served, tmp_path: Path
) -> None:
    plan = {
        3: Misbehaviour.RATE_LIMIT,
        5: Misbehaviour.SERVER_ERROR,
        7: Misbehaviour.HANG,
        9: Misbehaviour.DROP_BEFORE,
        11: Misbehaviour.DROP_WITHIN,
        13: Misbehaviour.BAD_GATEWAY,
        20: Misbehaviour.GARBAGE,
    }
    graded: list[tuple[str, int]] = []
    with FaultyProxy(served.url, numbered(plan), retry_after=1.5) as proxy:
        engine = served.engine(proxy.url, timeout_seconds=5.0)
        evaluation = evaluate(
            engine,
            PROBLEMS,
            served.prompts(),
            DECODING,
            path=tmp_path / "rows.jsonl",
            style="qa",
            on_row=lambda row: graded.append((row["problem_id"], row["sample"])),
        )
    wanted = served.wanted()
    rows = read_rows(tmp_path / "rows.jsonl")
    assert [row["problem_id"] for row in rows] == [p.id for p in PROBLEMS.problems]
    assert sorted(graded) == sorted((p.id, 0) for p in PROBLEMS.problems)
    for row in rows:
        local = wanted[row["problem_id"]]
        assert row["completion"] == local.text
        assert row["tokens"] == len(local.ids)
        assert row["stop_reason"] == local.stop_reason.value
    assert evaluation.counts.generated == 24
    # Every fault was met, and answered by exactly one more request.
    retries = engine.stats.retries
    expected = {"429": 1, "500": 1, "502": 1, "malformed": 1}
    assert {cause: retries[cause] for cause in expected} == expected
    # A busy machine may drop or delay a connection besides those that the proxy does.
    assert retries["connection"] >= 2
    assert retries["timeout"] >= 1
    assert engine.stats.requests == 24 + retries.total()
    assert len(proxy.seen) <= engine.stats.requests
    assert engine.stats.new_tokens == sum(len(c.ids) for c in wanted.values())
    # While the 429 asked for a pause nobody sent anything; what was under way then may still come.
    limited = next(seen for seen in proxy.seen if seen.did is Misbehaviour.RATE_LIMIT)
    pause = (limited.answered + 0.5, limited.answered + 1.4)
    assert not [seen for seen in proxy.seen[16:] if pause[0] < seen.came < pause[1]]
    # Many in flight, never more than 16.
    moments = [(seen.came, 1) for seen in proxy.seen] + [(s.answered, -1) for s in proxy.seen]
    hung = next(seen for seen in proxy.seen if seen.did is Misbehaviour.HANG)
    moments = sorted(m for m in moments if m[0] not in (hung.came, hung.answered))
    in_flight = [sum(change for _, change in moments[: i + 1]) for i in range(len(moments))]
    assert 1 < max(in_flight) <= 16


def test_an_evaluation_goes_on_where_a_server_gave_up(
    served: Served, tmp_path: Path, quick: None
) -> None:
    def run(url: str, path: Path, **options: Any) -> None:
        engine = served.engine(url, **options)
        evaluate(engine, PROBLEMS, served.prompts(), DECODING, path=path, style="qa")

    whole, path = tmp_path / "whole.jsonl", tmp_path / "rows.jsonl"
    with FaultyProxy(served.url) as proxy:
        run(proxy.url, whole)
    dies = FaultyProxy(
        served.url, lambda seen: Misbehaviour.SERVER_ERROR if seen.number >= 10 else None
    )
    with dies as proxy, pytest.raises(ModelError, match=r"500: out of memory, after 1 retries"):
        run(proxy.url, path, concurrency=4, max_retries=1)
    saved = {row["problem_id"] for row in read_rows(path)}
    assert 6 <= len(saved) <= 10
    with FaultyProxy(served.url) as proxy:
        run(proxy.url, path)
    asked = [seen.body["prompt"] for seen in proxy.seen]
    missing = [p.text for p in served.prompts() if p.problem_id not in saved]
    assert sorted(asked) == sorted(missing)
    assert path.read_bytes() == whole.read_bytes()


def test_one_refused_problem_does_not_keep_the_others_back(served: Served) -> None:
    prompts = served.prompts()[:12]
    bad = prompts[4]
    proxy = FaultyProxy(
        served.url,
        lambda seen: Misbehaviour.REFUSE if seen.body["prompt"] == bad.text else None,
    )
    came = []
    with proxy, pytest.raises(ModelError) as caught:
        for completion in served.engine(proxy.url).generate(prompts, DECODING):
            came.append(completion.problem_id)
    assert sorted(came) == sorted(p.problem_id for p in prompts if p is not bad)
    assert bad.problem_id in str(caught.value)
    assert "the prompt is too long" in str(caught.value)
    assert len(proxy.seen) == 12  # a refusal is not asked again


def test_the_chat_endpoint_uses_the_servers_template(served: Served) -> None:
    text = "What is 7 * 8?"
    shots = (Problem("shot", "What is 1 + 1?", "#### 2", "2"),)
    local = Renderer(served.tokenizer, "chat", system="Be short.", shots=shots).prompt(text, "p")
    (wanted,) = served.local.generate([local], DECODING)
    engine = served.engine(f"{served.url}/v1/", endpoint=Endpoint.CHAT)
    asked = TextRenderer("chat", system="Be short.", shots=shots).prompt(text, "p")
    (found,) = engine.generate([asked], DECODING)
    assert (found.text, found.stop_reason) == (wanted.text, wanted.stop_reason)
    assert len(found.ids) == len(wanted.ids)


def test_text_is_cut_at_every_stop_string_though_a_server_takes_four(served: Served) -> None:
    prompts = served.prompts()[:8]
    free = served.wanted()
    # What the first answer says in its middle ends it; the four before never come up.
    middle = free[prompts[0].problem_id].text[6:9]
    stop = ("never one", "never two", "never three", "never four", middle)
    decoding = Decoding(max_new_tokens=8, stop=stop)
    wanted = served.wanted(decoding)
    with FaultyProxy(served.url) as proxy:
        found = list(served.engine(proxy.url).generate(prompts, decoding))
    assert {seen.body["stop"][-1] for seen in proxy.seen} == {"never four"}
    assert {len(seen.body["stop"]) for seen in proxy.seen} == {4}
    for completion in found:
        local = wanted[completion.problem_id]
        assert (completion.text, completion.stop_reason) == (local.text, local.stop_reason)
        whole = free[completion.problem_id].text
        assert whole.startswith(completion.text)
        assert (completion.stop_reason is StopReason.STOP_STRING) == (middle in whole)
    assert middle in free[prompts[0].problem_id].text


def test_samples_are_requests_with_seeds_of_their_own(served: Served) -> None:
    decoding = Decoding(max_new_tokens=4, temperature=0.7, top_p=0.9, samples=3, seed=5)
    prompts = served.prompts()[:4]

    def run(prompts: list[Prompt]) -> tuple[list[tuple[str, int]], set[tuple[str, int]]]:
        with FaultyProxy(served.url) as proxy:
            found = list(served.engine(proxy.url).generate(prompts, decoding))
        assert {(s.body["temperature"], s.body["top_p"]) for s in proxy.seen} == {(0.7, 0.9)}
        keys = [(completion.problem_id, completion.sample) for completion in found]
        return keys, {(seen.body["prompt"], seen.body["seed"]) for seen in proxy.seen}

    keys, seeds = run(prompts)
    assert sorted(keys) == sorted((p.problem_id, sample) for p in prompts for sample in range(3))
    assert len({seed for _, seed in seeds}) == 12
    # A problem's seeds do not depend on what else is asked.
    assert run(prompts[2:3])[1] == {pair for pair in seeds if pair[0] == prompts[2].text}


def test_requests_a_minute_are_spaced(served: Served) -> None:
    with FaultyProxy(served.url) as proxy:
        engine = served.engine(proxy.url, requests_per_minute=300)
        assert len(list(engine.generate(served.prompts()[:6], DECODING))) == 6
    came = sorted(seen.came for seen in proxy.seen)
    # 300 a minute is one every 0.2 s: six take five intervals.
    assert came[-1] - came[0] > 0.95
    assert all(later - earlier > 0.1 for earlier, later in pairwise(came))


def test_fields_can_be_added_and_removed(served: Served) -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 9}
    with FaultyProxy(served.url, always(Misbehaviour.REFUSE)) as proxy:
        engine = served.engine(proxy.url, extra=extra)
        with pytest.raises(ModelError):
            list(engine.generate(served.prompts()[:1], DECODING))
    (seen,) = proxy.seen
    assert "max_tokens" not in seen.body
    assert seen.body["max_completion_tokens"] == 9


# --- Giving up -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("did", "said"),
    [
        (Misbehaviour.NOT_FOUND, "no such model; check the base URL"),
        (Misbehaviour.NO_ACCESS, "set the key in the environment variable OPENAI_API_KEY"),
        (Misbehaviour.NO_CREDIT, "no credit left"),
    ],
)
def test_what_a_person_must_mend_stops_at_once(
    served: Served, did: Misbehaviour, said: str
) -> None:
    with FaultyProxy(served.url, always(did)) as proxy:
        engine = served.engine(proxy.url, concurrency=2)
        with pytest.raises(ModelError, match=said):
            list(engine.generate(served.prompts(), DECODING))
    assert len(proxy.seen) <= 3


def test_a_pause_of_hours_is_not_waited_for(served: Served) -> None:
    with (
        FaultyProxy(served.url, always(Misbehaviour.RATE_LIMIT), retry_after=7200) as proxy,
        pytest.raises(ModelError, match="asks to wait 7,200 seconds"),
    ):
        list(served.engine(proxy.url).generate(served.prompts()[:3], DECODING))


def test_a_server_that_is_not_there(quick: None) -> None:
    engine = OpenAIEngine("m", "http://127.0.0.1:9/v1")
    with pytest.raises(ModelError, match=r"127\.0\.0\.1:9/v1/completions .*server is up"):
        list(engine.generate([Prompt("p", "text", ())], DECODING))
    assert engine.stats.requests <= requests.FIRST_CONTACT_TRIES


def test_closing_the_iterator_ends_what_is_in_flight(served: Served) -> None:
    hangs = FaultyProxy(served.url, lambda seen: Misbehaviour.HANG if seen.number else None)
    with hangs as proxy:
        # Waiting for these answers would be longer than any test may take.
        completions = served.engine(proxy.url, timeout_seconds=3600.0).generate(
            served.prompts(), DECODING
        )
        next(completions)
        completions.close()  # type: ignore[attr-defined]


def test_it_works_where_an_event_loop_is_running(served: Served) -> None:
    async def cell_of_a_notebook() -> list[Completion]:
        engine = served.engine(f"{served.url}/v1")
        return list(engine.generate(served.prompts()[:2], DECODING))

    assert len(asyncio.run(cell_of_a_notebook())) == 2


# --- The key -------------------------------------------------------------------------------------


def test_the_key_is_sent_and_shown_nowhere(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    quick: None,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OTHER_KEY", KEY)
    path = tmp_path / "rows.jsonl"
    few = ProblemSet("apples", PROBLEMS.problems[:3])
    with FaultyProxy(served.url, numbered({0: Misbehaviour.SERVER_ERROR})) as proxy:
        engine = served.engine(proxy.url, api_key_env="OTHER_KEY")
        evaluate(engine, few, served.prompts(few), DECODING, path=path, style="qa")
    assert {seen.headers["authorization"] for seen in proxy.seen} == {f"Bearer {KEY}"}
    shown = [caplog.text, path.read_text(), repr(vars(engine)), repr(engine.stats)]
    for did in (Misbehaviour.NO_ACCESS, Misbehaviour.FORBIDDEN):
        with FaultyProxy(served.url, always(did)) as proxy:
            engine = served.engine(proxy.url, api_key_env="OTHER_KEY")
            with pytest.raises(ModelError) as caught:
                list(engine.generate(served.prompts(), DECODING))
        shown.append(str(caught.value))
    assert "may not use this model" in shown[-1]
    assert "again in" in caplog.text  # the log does hold the retry
    assert not [text for text in [*shown, caplog.text] if KEY in text or "secret" in text]


def test_without_a_key_none_is_sent(served: Served) -> None:
    with FaultyProxy(served.url) as proxy:
        list(served.engine(proxy.url).generate(served.prompts()[:1], DECODING))
    assert "authorization" not in proxy.seen[0].headers


@pytest.mark.parametrize("key", [f"{KEY}\nsecond line", f"{KEY}é"])
def test_a_key_that_no_header_can_carry(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    engine = OpenAIEngine("m", "http://localhost:1/v1")
    with pytest.raises(ConfigError, match="OPENAI_API_KEY") as caught:
        engine.generate([], DECODING)
    assert "secret" not in str(caught.value)


def test_a_key_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    engine = OpenAIEngine("m", "http://localhost:1/v1", api_key_env="MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        engine.generate([], DECODING)


@pytest.mark.parametrize("name", [KEY, "hf_" + "aB3" * 11, "9f" * 20, "k3Yx" * 8, "MY KEY", ""])
def test_a_key_in_place_of_its_variables_name_is_not_repeated(name: str) -> None:
    with pytest.raises(ConfigError, match="may be the API key itself") as caught:
        api_key(name)
    assert not name or name not in str(caught.value)


# --- What it refuses -----------------------------------------------------------------------------


def test_calculator_and_logprobs_are_refused() -> None:
    engine = OpenAIEngine("m", "http://localhost:1/v1")
    with pytest.raises(ConfigError) as caught:
        engine.generate([], Decoding(calculator=True, logprobs=True))
    calculator, logprobs = caught.value.faults
    assert "eval.calculator=false" in calculator
    assert "log-probabilities" in logprobs


def test_all_bad_arguments_are_named_and_a_password_is_not() -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIEngine(
            "m",
            "http://user:hunter2@host/v1",
            concurrency=0,
            requests_per_minute=0,
            timeout_seconds=-1,
            max_retries=-1,
        )
    assert len(caught.value.faults) == 5
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000/v1", "ftp://host/v1", "http:///v1", "/v1", "http://[x]/v1"]
)
def test_a_base_url_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="not a web address"):
        OpenAIEngine("m", url)


# --- Parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("finish", "extra", "text", "reason"),
    [
        ("stop", {}, "18", StopReason.EOS),
        ("length", {}, "18", StopReason.LENGTH),
        ("stop", {}, "18\nQuestion: and", StopReason.STOP_STRING),
        ("length", {}, "18\nQuestion: and", StopReason.STOP_STRING),
        ("stop", {"stop_reason": "Question:"}, "18\n", StopReason.STOP_STRING),  # as vLLM says it
        ("stop", {"stop_reason": 128009}, "18", StopReason.EOS),
        ("content_filter", {}, "18", StopReason.LENGTH),
        (None, {}, "18", StopReason.LENGTH),
    ],
)
def test_why_a_completion_ended(
    finish: str | None, extra: dict[str, Any], text: str, reason: StopReason
) -> None:
    content = {"choices": [{"text": text, "finish_reason": finish, **extra}]}
    answer = read_answer(Endpoint.COMPLETIONS, content)
    completion = completion_of(answer, Prompt("p", "", ()), 0, ("Question:",), 1.0)
    assert completion.stop_reason is reason
    assert "Question" not in completion.text
    assert completion.ids == ()
    assert answer.new_tokens is None
    assert answer.is_cut_short == (finish not in ("stop", "length"))


def test_a_chat_model_that_says_nothing_answers_with_empty_text() -> None:
    content = {
        "choices": [{"message": {"content": None}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    answer = read_answer(Endpoint.CHAT, content)
    assert (answer.text, answer.prompt_tokens, answer.new_tokens) == ("", 5, 2)


@pytest.mark.parametrize(
    "content", [{}, [], "text", {"choices": []}, {"choices": [{"text": 5}]}, {"error": "busy"}]
)
def test_an_answer_without_a_completion_is_asked_again(content: Any) -> None:
    with pytest.raises(Fault) as caught:
        read_answer(Endpoint.COMPLETIONS, content)
    assert caught.value.remedy is Remedy.RETRY


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_seconds({"retry-after": "7"}) == 7
    assert retry_after_seconds({"retry-after": "0.5"}) == 0.5
    assert retry_after_seconds({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    assert retry_after_seconds({"retry-after": "-3"}) == 0
    soon = retry_after_seconds({"retry-after": formatdate(time.time() + 30, usegmt=True)})
    assert soon is not None and 27 < soon <= 30
    assert retry_after_seconds({"retry-after": formatdate(0, usegmt=True)}) == 0
    for nothing in ({}, {"retry-after": "soon"}, {"retry-after": "inf"}, {"retry-after": "nan"}):
        assert retry_after_seconds(nothing) is None


def test_back_off_doubles_up_to_a_minute_with_seeded_jitter() -> None:
    waits = [backoff_seconds(failures, Random(1)) for failures in range(1, 12)]
    for wait, longest in zip(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60], strict=True):
        assert longest / 2 <= wait <= longest
    assert waits == [backoff_seconds(failures, Random(1)) for failures in range(1, 12)]
    assert waits != [backoff_seconds(failures, Random(2)) for failures in range(1, 12)]


def test_it_imports_without_torch_and_without_an_http_client() -> None:
    code = (
        "import sys, mathtune.generation.openai, mathtune.generation.vllm; "
        "print({'torch', 'transformers', 'vllm', 'httpx2', 'httpx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_requests_are_balanced_over_several_servers(served: Served) -> None:
    with FaultyProxy(served.url) as one, FaultyProxy(served.url) as other:
        engine = served.engine(f"{one.url}, {other.url}", concurrency=4)
        found = list(engine.generate(served.prompts(), DECODING))
    assert {c.problem_id: c.text for c in found} == {
        id_: c.text for id_, c in served.wanted().items()
    }
    assert len(found) == 24 == engine.stats.requests
    assert min(len(one.seen), len(other.seen)) >= 8


def test_a_dead_server_is_left_out_and_said(
    served: Served, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    with FaultyProxy(served.url) as lives, FaultyProxy(served.url) as dies:
        dies.choose = lambda seen: Misbehaviour.DROP_BEFORE if seen.number >= 2 else None
        engine = served.engine(f"{lives.url},{dies.url}", concurrency=2, max_retries=3)
        with caplog.at_level(logging.WARNING, "mathtune"):
            found = list(engine.generate(served.prompts(), DECODING))
    assert sorted(c.problem_id for c in found) == sorted(served.wanted())
    assert len(dies.seen) <= 2 + 3 + 1  # one may have been on its way
    assert engine.stats.by_server[f"{dies.url}/completions"] == 2
    said = [r.getMessage() for r in caplog.records if "is left out" in r.getMessage()]
    assert len(said) == 1 and dies.url in said[0] and "the other 1 of 2 servers" in said[0]


def test_the_last_server_is_never_left_out(served: Served, quick: None) -> None:
    with FaultyProxy(served.url) as one, FaultyProxy(served.url) as other:
        one.choose = lambda seen: Misbehaviour.SERVER_ERROR
        other.choose = lambda seen: Misbehaviour.SERVER_ERROR if seen.number < 3 else None
        engine = served.engine(f"{one.url},{other.url}", concurrency=1, max_retries=8)
        assert len(list(engine.generate(served.prompts()[:3], DECODING))) == 3


def test_each_of_several_base_urls_is_checked() -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAIEngine("m", "http://a:8000/v1,ftp://b/v1,http://c/v1?key=1")
    assert len(caught.value.faults) == 2
