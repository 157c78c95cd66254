"""``mathtune chat``: piped, as JSON lines, and on a real terminal."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cli.test_hostile_text import NASTY, unharmed
from command_for_tests import faults_of, mathtune
from mathtune.cli.chat_display import marked_text, remarks
from mathtune.conversation import check
from mathtune.generation.engine import StreamedCompletion
from mathtune.records import Completion, StopReason
from mathtune.text.visible import visible
from models_for_tests import saved_model
from terminal_for_tests import Terminal

LINES = "/gold 6303\nWhat is 125 * 45 + 678? Show your work.\n\n/calculator off\n/nonsense\n"


def test_piped_questions_get_answers_alone_on_standard_output(tmp_path: Path) -> None:
    done = mathtune("chat", "tiny-base", "--calculator", cwd=tmp_path, said=LINES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "#### 6303"  # the toy has learned this
    assert "<<125*45=5625>>5625" in done.stdout and "[" not in done.stdout
    for remark in (
        "prompt style qa: each question stands alone; calculator on\n",
        "right: 6303 equals the gold answer 6303; 2 equations checked, none false; the calculator "
        "wrote 2 results",
        "calculator off\n",
        "no command is called /nonsense; /help lists them\n",
    ):
        assert remark in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_models_answer_in_labelled_blocks_or_json_lines(tmp_path: Path) -> None:
    other, _ = saved_model(tmp_path / "other", "llama")
    asked = ("chat", "tiny-base", "--against", str(other), "--max-new-tokens", "7")
    done = mathtune(*asked, cwd=tmp_path, said="What is 1 + 1?\nWhat is 2 + 2?\n")
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if line in ("[tiny-base]", "[other]")]
    assert heads == ["[tiny-base]", "[other]"] * 2
    assert re.search(r"^other: (answer|no answer)", done.stderr, re.MULTILINE)

    as_json = mathtune(*asked, "--json", cwd=tmp_path, said="What is 1 + 1?\n/gold 2\n")
    (line,) = as_json.stdout.splitlines()
    found = json.loads(line)
    assert found["question"] == "What is 1 + 1?"
    first, second = found["answers"]
    assert [first["label"], second["label"]] == ["tiny-base", "other"]
    assert second["tokens"] == 7 and second["stop_reason"] == "length"
    assert {*first} == {
        "label", "text", "stop_reason", "tokens", "inserted_tokens", "seconds", "answer",
        "equations", "false_equations", "outcome", "reason",
    }  # fmt: skip
    assert f"[tiny-base]\n{first['text']}\n[other]\n{second['text']}\n" in done.stdout


def test_wrong_use_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    (fault,) = faults_of(mathtune("chat", "tiny-base", "--against", "base", cwd=tmp_path))
    assert fault.startswith("--against base: tiny-base is neither a run folder nor an adapter")
    faults = faults_of(
        mathtune("chat", "tiny-base", "prompt.stile=x", "--style", "y", cwd=tmp_path)
    )
    assert any("prompt.stile" in each for each in faults)
    assert any("prompt.style='y' is unknown" in each for each in faults)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that writes until it is stopped: its end token is never the likeliest."""
    folder, tokenizer = saved_model(
        tmp_path_factory.mktemp("endless"), "llama", max_position_embeddings=100_000
    )
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"][tokenizer.eos_token_id] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_on_a_terminal_ctrl_c_stops_the_answer_and_not_the_chat(endless: Path) -> None:
    terminal = Terminal(
        "chat", str(endless), "--against", "tiny-base", "eval.max_new_tokens=50000",
        "eval.stop=[]", "eval.stop_repetition=false",
    )  # fmt: skip
    assert "each question stands alone" in terminal.wait_for(r"\? $")
    terminal.type("/help\n")
    assert "/gold ANSWER" in terminal.wait_for(r"/quit .*\? $")
    terminal.type("What is 3 + 4?\n")
    terminal.wait_for(r"#### 7")  # the toy's column, redrawn while the other goes on
    terminal.type("\x03")
    assert "stopped" in terminal.wait_for(r"stopped.*\? $")
    time.sleep(0.5)  # the prompt is on the screen a moment before it listens to Ctrl-C
    terminal.type("\x03")
    terminal.wait_for(r"/quit or Ctrl-D ends the chat.*\? $")
    terminal.type("/gold 7\n")
    assert "tiny-base: right: 7 equals the gold answer 7" in terminal.wait_for(r"answer 7\D.*\? $")
    terminal.type("/quit\n")
    assert terminal.close() == 0


def test_marks_are_where_they_belong_and_escapes_are_inert() -> None:
    text = f" 48/2=<<48/2=25>>25 {NASTY}"
    start = text.index("25>>")
    completion = Completion(
        "chat", 0, text, (1,), StopReason.EOS, inserted_at=(3,), corrected_tokens=1
    )
    item = StreamedCompletion(text, ((start, start + 4),), completion)
    shown = marked_text(item, check(completion, "24"))
    assert unharmed(shown.plain) and visible(NASTY).strip() in shown.plain
    assert shown.plain.startswith("48/2=<<48/2=25>>25 ✗ 24")
    red = [span for span in shown.spans if "red" in str(span.style) and span.end <= 21]
    assert "".join(shown.plain[each.start : each.end] for each in red) == "48/2=<<48/2=25>>25"
    (written,) = (span for span in marked_text(item).spans if span.style == "cyan")
    assert marked_text(item).plain[written.start : written.end] == "25>>"
    said = remarks(item, check(completion, "24"))
    assert said[0].startswith("wrong: ")
    assert "false: 48/2=<<48/2=25>>25 (is 24)" in said[1]
    assert said[-1] == "the calculator wrote 1 result, 1 token other than the model's"
