"""``mathtune eval`` with a model behind a server, and in vLLM's place a stand-in of its interface.

The command runs in a process of its own that can import neither Torch nor Transformers, so it has
no weights and no tokenizer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from command_for_tests import faults_of, jsonl, mathtune, solved
from mathtune.cli.main import cli
from mathtune.prompts import Renderer, named_shots
from model_server import FaultyProxy, Misbehaviour, TransformersServer
from models_for_tests import saved_model

KEY = "sk-proj-abc123-secret-xyz789"
ALONE = (
    "import sys; sys.modules['torch'] = sys.modules['transformers'] = None; "
    "from mathtune.cli.main import main; main()"
)


class Scripted(FaultyProxy):
    """A server that answers by itself, right for even numbers, and counts no tokens."""

    pause = 0.0

    def forward(self, path: str, content: bytes) -> bytes:
        time.sleep(self.pause)
        body = json.loads(content)
        said = body["messages"][-1]["content"] if "messages" in body else body["prompt"]
        words = said.rpartition("Ann has ")[2].split()
        number = int(words[0]) if words and words[0].isdecimal() else 1
        text = f" That is {2 * number + number % 2}.\n#### {2 * number + number % 2}"
        choice = {"finish_reason": "stop"}
        if path.endswith("/chat/completions"):
            choice |= {"message": {"role": "assistant", "content": text}}
        else:
            choice |= {"text": text}
        return json.dumps({"choices": [choice]}).encode()


def start(*arguments: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    """Start ``mathtune eval`` without Torch."""
    return subprocess.Popen(
        [sys.executable, "-c", ALONE, "eval", *arguments],
        cwd=cwd,
        env={**os.environ, "MATHTUNE_DATA_DIR": "", "NO_PROXY": "127.0.0.1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(*arguments: str, cwd: Path, **environment: str) -> tuple[str, str]:
    """Run it to its end and return what it said on both outputs."""
    process = start(*arguments, cwd=cwd, **environment)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    return out, error


def on(server: FaultyProxy, name: str = "m") -> list[str]:
    return [name, "--engine", "openai", "--base-url", server.url]


def rows_of(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "predictions" / "base.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]  # not a line cut off by a kill


def evaluations(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "results.json").read_text("utf-8"))["evaluations"])


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "problems.jsonl", [solved(number) for number in range(1, 41)])


def test_a_misbehaving_server_gives_the_figures_of_the_local_engine(
    tmp_path: Path, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = saved_model(tmp_path / "model", "llama", seed=2)
    plan = {
        3: Misbehaviour.RATE_LIMIT,
        6: Misbehaviour.SERVER_ERROR,
        9: Misbehaviour.HANG,
        12: Misbehaviour.DROP_BEFORE,
        15: Misbehaviour.DROP_WITHIN,
    }
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = ["--data", str(problems), "--shots", "2", "--shot-source", "word-problems"]
    asked += ["--max-new-tokens", "16"]
    with (
        TransformersServer(model) as server,
        FaultyProxy(server.url, lambda seen: plan.get(seen.number)) as proxy,
    ):
        options = ["--timeout-seconds", "8", "--concurrency", "16", "--run-dir", "served", "--json"]
        out, error = run(*on(proxy, str(model)), *asked, *options, cwd=tmp_path, OPENAI_API_KEY=KEY)
    local = ["eval", str(model), *asked, "--run-dir", str(tmp_path / "local"), "--batch-size", "8"]
    local.append("eval.stop_repetition=false")  # which no server has
    done = CliRunner().invoke(cli, local)
    assert done.exit_code == 0, done.output

    served, here = (tmp_path / name / "predictions/base.jsonl" for name in ("served", "local"))
    assert served.read_bytes() == here.read_bytes()
    assert len({row["problem_id"] for row in rows_of(tmp_path / "served")}) == 40
    (found,), (wanted, _) = evaluations(tmp_path / "served"), evaluations(tmp_path / "local")
    own = {"seconds_per_problem", "tokens_per_second", "perplexity"}
    assert {k: v for k, v in found.items() if k not in own} == {
        k: v for k, v in wanted.items() if k not in own
    }
    assert found["perplexity"] is None and wanted["perplexity"]
    assert json.loads(out.splitlines()[-1])["base.exact_match"] == found["exact_match"]["value"]

    # What went wrong, and what is not measured, is said; the key is sent and nowhere else.
    for cause in ("429 1", "500 1", "timeout ", "connection "):
        assert cause in error
    assert "no calculator: measured without it" in error
    assert "computes no perplexity: not measured" in error
    assert {seen.headers["authorization"] for seen in proxy.seen} == {f"Bearer {KEY}"}
    files = [path for path in (tmp_path / "served").rglob("*") if path.is_file()]
    assert {"recipe.yaml", "manifest.json", "report.html"} <= {path.name for path in files}
    assert not [path for path in files if KEY.encode() in path.read_bytes()]
    assert KEY not in out + error

    # One calculator setting each side is compared with what fits it.
    done = CliRunner().invoke(cli, ["compare", str(here), str(served)])
    assert done.exit_code == 0, done.output
    assert "No difference" in done.output


def test_killed_in_the_middle_it_asks_only_for_what_is_missing(
    tmp_path: Path, problems: Path
) -> None:
    asked = ["--data", str(problems), "--concurrency", "4"]
    with Scripted("") as server:
        server.pause = 0.05
        given = [*on(server), *asked]
        process = start(*given, "--run-dir", "killed", cwd=tmp_path)
        file = tmp_path / "killed" / "predictions" / "base.jsonl"
        while not file.exists() or file.read_bytes().count(b"\n") < 15:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.communicate()
        time.sleep(0.2)  # what was in flight has come to the server
        saved = {row["problem_id"] for row in rows_of(tmp_path / "killed")}
        assert 15 <= len(saved) < 40
        before = len(server.seen)
        # How the server is reached is not part of what was asked: other values go on.
        other = ["--concurrency", "3", "--timeout-seconds", "20", "--api-key-env", "OTHER_KEY"]
        given[given.index("--concurrency") :] = other
        run(*given, "--run-dir", "killed", cwd=tmp_path, OTHER_KEY=KEY)
        again = [seen.body["prompt"] for seen in server.seen[before:]]
        run(*given, "--run-dir", "whole", cwd=tmp_path, OTHER_KEY=KEY)
    rows = rows_of(tmp_path / "killed")
    missing = [f"Question: {r['question']}\nAnswer:" for r in rows if r["problem_id"] not in saved]
    example = "Question: What is 125 * 45 + 678? Show your work.\nAnswer:"
    assert sorted(again) == sorted([*missing, example])
    whole = (tmp_path / "whole" / "predictions" / "base.jsonl").read_bytes()
    assert file.read_bytes() == whole
    assert "OTHER_KEY" not in (tmp_path / "whole" / "recipe.yaml").read_text("utf-8")


def test_a_chat_model_is_asked_the_bare_question_and_nothing_is_made_up(
    tmp_path: Path, problems: Path
) -> None:
    asked = ["--data", str(problems), "--endpoint", "chat", "--limit", "12"]
    asked += ["--shots", "1", "--shot-source", "word-problems", "prompt.system=Be brief."]
    with Scripted("") as server:
        given = [*on(server, "some/chat-model"), *asked, "--run-dir", "run"]
        previewed, _ = run(*given, "--preview", cwd=tmp_path)
        assert not server.seen and not (tmp_path / "run").exists()
        out, error = run(*given, cwd=tmp_path)
    (shot,) = named_shots("word-problems", 1)
    rows = rows_of(tmp_path / "run")
    shown = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": shot.question},
        {"role": "assistant", "content": shot.answer},
    ]
    by_question = {seen.body["messages"][-1]["content"]: seen.body for seen in server.seen}
    for row in rows:
        body = by_question[row["question"]]
        assert body["messages"] == [*shown, {"role": "user", "content": row["question"]}]
        assert body["model"] == "some/chat-model"
    text = f"[system]\nBe brief.\n\n[user]\n{shot.question}\n\n[assistant]\n{shot.answer}\n\n"
    assert f"\n{text}[user]\n{rows[0]['question']}\n" in previewed
    assert "the server counts tokens" in previewed

    # The server counted no tokens: no figure is made of that.
    assert [row["tokens"] for row in rows] == [None] * 12
    (found,) = evaluations(tmp_path / "run")
    assert found["mean_tokens"] is found["tokens_per_second"] is None
    assert found["exact_match"]["correct"] == sum(
        int(row["question"].split()[2]) % 2 == 0 for row in rows
    )
    assert "the server did not count the tokens of 12 completions" in error
    (line,) = (line for line in out.splitlines() if "tokens per problem" in line)
    assert line.split()[-1] == "—"
    report = (tmp_path / "run" / "report.html").read_text("utf-8")
    card = (tmp_path / "run" / "README.md").read_text("utf-8")
    for page in (report, card):
        assert "Measured with the openai engine" in page
    assert f"{server.url}, chat endpoint" in report


def test_a_server_that_goes_away_is_named(tmp_path: Path, problems: Path) -> None:
    with Scripted("", lambda seen: Misbehaviour.NOT_FOUND if seen.number > 5 else None) as server:
        done = start(
            *on(server), "--data", str(problems), "--concurrency", "1", "--run-dir", "r",
            cwd=tmp_path,
        )  # fmt: skip
        _, error = done.communicate(timeout=60)
    assert done.returncode == 2
    assert "Traceback" not in error
    assert "check the base URL" in error
    assert len(rows_of(tmp_path / "r")) == 6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--engine", "hf", "--base-url", "http://u:hunter2@h/v1", "--concurrency", "3"],
            ["eval.base_url with eval.engine=hf: only", "eval.concurrency=3 with eval.engine=hf"],
        ),
        (
            ["--engine", "openai", "--calculator", "--tensor-parallel-size", "2"],
            [
                "eval.calculator=true with",
                "eval.tensor_parallel_size=2 with",
                "eval.base_url empty",
            ],
        ),
        (
            ["--engine", "openai", "--base-url", "http://u:hunter2@h/v1", "--style", "chat"],
            ["prompt.style=chat with eval.endpoint=completions", "holds a user name or password"],
        ),
        (
            ["--engine", "openai", "--base-url", "http://h/v1", "--api-key-env", KEY],
            ["api_key_env is not the name of an environment variable"],
        ),
        (
            ["--engine", "openai", "--base-url", "http://h/v1", "--api-key-env", "NOT_SET_HERE"],
            ["NOT_SET_HERE is not set"],
        ),
        (
            ["--engine", "openai", "--base-url", "http://h/v1", "eval.endpoint=chat"],
            ["eval.endpoint=chat with prompt.style=qa"],
        ),
        (
            ["--engine", "openai", "--base-url", "http://h/v1", "eval.timeout_seconds=0"],
            ["eval.timeout_seconds"],
        ),
    ],
)
def test_what_does_not_fit_is_told_before_a_folder_is_made(
    tmp_path: Path, problems: Path, options: list[str], said: list[str]
) -> None:
    model, _ = saved_model(tmp_path / "model", "llama")
    told = faults_of(mathtune("eval", str(model), *options, "--data", str(problems), cwd=tmp_path))
    assert len(told) == len(said), told
    for fault, words in zip(told, said, strict=True):
        assert words in fault
    assert "hunter2" not in str(told) and KEY not in str(told)
    assert not (tmp_path / "runs").exists()


def test_a_recipe_that_trains_measures_in_its_own_process(tmp_path: Path) -> None:
    for options, words in (
        (["eval.engine=vllm"], "mathtune eval RUN_DIR/model --engine vllm"),
        (["eval.engine=openai", "eval.base_url=http://h/v1"], "serve RUN_DIR/model"),
    ):
        done = mathtune("run", "demo", "eval.calculator=false", *options, cwd=tmp_path)
        (fault,) = faults_of(done)
        assert words in fault
    assert not list(tmp_path.iterdir())


STAND_IN = '''
"""The part of vLLM's interface that is used, answering by a rule; calls are noted in a file."""
import json
from types import SimpleNamespace

def note(**what):
    with open("calls.jsonl", "a") as file:
        print(json.dumps(what), file=file)

class LLM:
    def __init__(self, **options):
        note(options=options)
    def generate(self, prompts, sampling, use_tqdm):
        note(prompts=prompts, sampling=sampling)
        end = SimpleNamespace(text=" #### 4", token_ids=[5, 6, 1], finish_reason="stop",
                              stop_reason=None, logprobs=None)
        return [SimpleNamespace(outputs=[end]) for _ in prompts]

def TokensPrompt(prompt_token_ids):
    return prompt_token_ids

def SamplingParams(**options):
    return options
'''


def test_vllm_gets_the_ids_of_the_models_own_tokenizer(
    tmp_path: Path, problems: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer = saved_model(tmp_path / "model", "llama")
    (tmp_path / "vllm.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    given = [str(model), "--engine", "vllm", "--tensor-parallel-size", "2", "--run-dir", "run"]
    given += ["--data", str(problems), "--limit", "5", "model.dtype=bfloat16"]
    try:
        done = CliRunner().invoke(cli, ["eval", *given])
    finally:
        sys.modules.pop("vllm", None)
    assert done.exit_code == 0, done.output
    loaded, asked, example = map(json.loads, Path("calls.jsonl").read_text().splitlines())
    assert loaded["options"] == {
        "model": str(model),
        "tensor_parallel_size": 2,
        "dtype": "bfloat16",
        "revision": None,
        "tokenizer_revision": None,
        "trust_remote_code": False,
    }
    renderer = Renderer(tokenizer, "qa")
    rows = rows_of(Path("run"))
    assert asked["prompts"] == [list(renderer.prompt(row["question"]).ids) for row in rows]
    assert len(example["prompts"]) == 1
    (found,) = evaluations(Path("run"))
    assert found["mean_tokens"] == 3
    assert found["perplexity"] is None


def test_vllm_and_an_adapter(tmp_path: Path, problems: Path) -> None:
    model, _ = saved_model(tmp_path / "model", "llama")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"base_model_name_or_path": str(model)})
    )
    (adapter / "adapter_model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    told = faults_of(
        mathtune("eval", str(adapter), "--engine", "vllm", "--data", str(problems), cwd=tmp_path)
    )
    assert "merge it into its base first (mathtune merge)" in told[0]
    assert "needs the package vllm" in told[1]
