"""What models, data and servers write reaches the terminal and the report as text, never obeyed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from command_for_tests import jsonl, mathtune
from hostile_server import Connection, HostileServer, whole
from mathtune.cli.main import cli
from mathtune.generation.scripted import ScriptedEngine
from mathtune.prompts import TextRenderer
from mathtune.text.visible import visible

NASTY = (
    "\x1b[2J\x1b]0;owned\x07\x1b]8;;http://evil.invalid\x1b\\link\x1b]52;c;cm0=\x07\x9b31m"
    "\u202e24\u202c 4\u200b2 \u2028\u2029 \x00\x08\r\x7f \ud83d [red]markup[/red] :smile: "
    "</script><script>alert(1)</script> <img src=x onerror=alert(2)> | {task.total} %s"
)
QUESTION = "How many are {}? " + NASTY.replace("\ud83d", "")
MODEL = "m[bold]\u202e<b>"
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
"""What must not be left in anything that is shown."""


def unharmed(text: str) -> str:
    """Return a text that was shown, having checked that nothing in it is obeyed."""
    found = RAW.search(text)
    assert not found, (found, text[max(0, ((found and found.start()) or 0) - 40) :][:80])
    return text


def answer(connection: Connection) -> None:
    prompt = json.loads(connection.request.partition(b"\r\n\r\n")[2])["prompt"]
    number = re.findall(r"How many are (\d+)", prompt)
    right = number and connection.request.find(b'"m2"') > 0
    text = f"{NASTY}\n#### {number[0] if right else 0}"
    said = {"choices": [{"text": text, "finish_reason": "stop"}]}
    connection.send(whole(json.dumps(said).encode()))


@dataclass
class Made:
    """A run folder of two hostile evaluations, and what the commands said."""

    folder: Path
    shown: list[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("hostile")
    rows = [
        {
            "question": QUESTION.replace("{}", str(number)),
            "answer": f"{NASTY.encode('ascii', 'ignore').decode()}\n#### {number}",
            "type": f"kind {NASTY.replace(chr(0xD83D), '')}"[:90],
            "id": f"id \x1b[31m\u202e{number}",
        }
        for number in range(5, 9)
    ]
    jsonl(folder / "data.jsonl", rows)
    shown = []
    with HostileServer(answer) as server:
        for model, label in ((MODEL, "base"), ("m2", "tuned")):
            done = mathtune(
                *("eval", model, "--engine", "openai", "--base-url", server.url),
                *("--data", "data.jsonl", "--run-dir", label, "--label", label, "--shots", "0"),
                cwd=folder,
                NO_PROXY="127.0.0.1",
            )
            assert done.returncode == 0, done.stderr
            shown += [done.stdout, done.stderr]
    yield Made(folder, shown)


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return unharmed(done.stdout) + unharmed(done.stderr)


def test_an_evaluation_shows_it_as_text(made: Made) -> None:
    for text in made.shown:
        unharmed(text)
    assert "\\x1b[2J" in made.shown[0]  # the type of problem, in the table
    rows = (made.folder / "base/predictions/base.jsonl").read_text("utf-8").split("\n")[:-1]
    assert json.loads(rows[0])["completion"].startswith(NASTY)  # saved as it came


def test_a_preview_shows_it_as_text(made: Made) -> None:
    asked = ["--engine", "openai", "--base-url", "http://h/v1", "--data", "data.jsonl"]
    shown = said(mathtune("eval", MODEL, *asked, "--shots", "0", "--preview", cwd=made.folder))
    assert visible(QUESTION.replace("{}", "5")) in shown
    line = said(
        mathtune("eval", MODEL, *asked, "--shots", "0", "--preview", "--json", cwd=made.folder)
    )
    first = json.loads(line)["preview"][0]["first"][0]
    assert QUESTION.replace("{}", "5").strip() in first["text"]  # as it is, for a program


def test_a_comparison_shows_it_as_text(made: Made) -> None:
    files = ["base/predictions/base.jsonl", "tuned/predictions/tuned.jsonl"]
    shown = said(mathtune("compare", *files, "--examples", "2", cwd=made.folder))
    assert "\\u202e24\\u202c 4\\u200b2 \\u2028\\u2029 \\x00\\x08\\x0d\\x7f \\ud83d [red]" in shown
    assert visible(NASTY) in shown and "4,000" not in shown


def test_an_answer_of_a_megabyte_is_cut_and_says_so(made: Made, tmp_path: Path) -> None:
    for name in ("base", "tuned"):
        path = made.folder / f"{name}/predictions/{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text("utf-8").split("\n")[:-1]]
        jsonl(tmp_path / f"{name}.jsonl", [{**row, "completion": "x" * 2**20} for row in rows])
    shown = said(mathtune("compare", "base.jsonl", "tuned.jsonl", "--examples", "1", cwd=tmp_path))
    assert "x… (1,044,576 characters more)" in shown and len(shown) < 20_000


def test_grading_shows_it_as_text(made: Made, tmp_path: Path) -> None:
    name = "out\x1b[31m\u202e.jsonl"
    source = made.folder / "base/predictions/base.jsonl"
    (tmp_path / name).write_bytes(
        source.read_bytes() + b'{"a\x1b[31m": "\xe2\x80\xae"}\n\x1b]0;x\x07\n'
    )
    shown = said(mathtune("grade", name, cwd=tmp_path))
    assert "out\\x1b[31m\\u202e.jsonl" in shown and "2 lines left out" in shown


def test_a_report_shows_it_as_text(made: Made) -> None:
    for name in ("report.html", "README.md"):
        text = unharmed((made.folder / "tuned" / name).read_text("utf-8"))
        text = re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
        assert "<script>alert" not in text and "<img src=x" not in text
    page = (made.folder / "tuned/report.html").read_text("utf-8")
    assert "\\\\u202e24\\\\u202c" in page  # in the page's JSON
    said(mathtune("report", "tuned", cwd=made.folder))


def test_a_fault_shows_it_as_text(tmp_path: Path) -> None:
    for arguments in (
        ["eval", "no\x1b[31m\u202esuch\nmathtune: done"],
        ["\x1b]0;x\x07"],
        ["grade", "\x1b[31m"],
        ["run", "demo", "train.\x1b[31m=1", "seed=\u202e1"],
    ):
        done = mathtune(*arguments, cwd=tmp_path)
        assert done.returncode == 2 and not done.stdout
        assert "\\x1b" in unharmed(done.stderr) or "\\u202e" in done.stderr
        assert all(re.match(r"mathtune: |  \d+\. ", line) for line in done.stderr.splitlines())


def test_a_server_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    jsonl(tmp_path / "data.jsonl", [{"question": "1?", "answer": "#### 1"}])
    with HostileServer(
        lambda c: c.send(whole(NASTY.encode("utf-8", "replace"), "400 x"))
    ) as server:
        done = mathtune(
            *("eval", "m", "--engine", "openai", "--base-url", server.url, "--data", "data.jsonl"),
            *("--shots", "0"),
            cwd=tmp_path,
            NO_PROXY="127.0.0.1",
        )
    assert done.returncode == 2
    assert "status 400: \\x1b[2J\\x1b]0;owned\\x07" in unharmed(done.stderr)


def test_a_chat_shows_it_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    from mathtune.training.session import Session

    class Hostile:
        def engine(self) -> ScriptedEngine:
            return ScriptedEngine({"chat": NASTY})

        def renderer(self, **_: object) -> TextRenderer:
            return TextRenderer("qa")

        def context(self) -> None:
            return None

    monkeypatch.setattr(Session, "load", lambda *_: Hostile())
    done = CliRunner().invoke(cli, ["chat", "tiny-base"], input="2+2?\n\n")
    assert done.exit_code == 0, done.output
    assert visible(NASTY).strip() in unharmed(done.stdout)
    assert "loading tiny-base" in done.stderr and "tiny-base is ready" in done.stderr
