"""Secrets are blanked wherever text is written, and ordinary text is not."""

from __future__ import annotations

import html
import io
import json
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from mathtune import storage
from mathtune.text.redaction import keep_out_of, redact, redact_command, redacted_values, remember
from timing_for_tests import least_seconds

CANARY = 'canary"7<&é/9x'


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_API_KEY", CANARY)


@pytest.mark.parametrize(
    "form",
    [CANARY, json.dumps(CANARY)[1:-1], quote(CANARY), quote(CANARY, ""), html.escape(CANARY)],
)
def test_the_value_of_a_secret_variable_is_blanked_in_every_form(form: str) -> None:
    assert redact(f"it is {form}.") == "it is ***."


@pytest.mark.parametrize(
    "name",
    ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "X_PASSWORD"],
)
def test_variables_go_by_their_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "v4lue-of-it")
    assert redact("v4lue-of-it") == "***"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOKENIZERS_PARALLELISM", "v4lue-of-it"),  # no secret by its name
        ("HF_TOKEN", "short"),  # would blank ordinary text everywhere
        ("HF_TOKEN", "mathtune"),
        ("SSH_PASSWORD", "/etc/hostname"),
    ],
)
def test_ordinary_values_are_left(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    assert redact(f"say {value} again") == f"say {value} again"


@pytest.mark.parametrize(
    ("text", "blanked"),
    [
        ("hf_" + "AbCd1234" * 4, "***"),
        ("sk-proj-" + "a1" * 12, "***"),
        ("ghp_" + "a1" * 18, "***"),
        ("https://me:pass@host/x", "https://***@host/x"),
        ("https://longtoken12@host/x", "https://***@host/x"),
        ("http://h/v1?api_key=zz&n=1", "http://h/v1?api_key=***&n=1"),
        ("model.revision=" + "0123456789abcdef0123456789abcdef01234567", None),  # a commit
        ("sk-learn and hf_transfer", None),
        ("eos_token=</s> max_new_tokens=160", None),
        ("https://host/a@b me@host.org", None),
    ],
)
def test_what_looks_like_a_secret(text: str, blanked: str | None) -> None:
    assert redact(text) == (text if blanked is None else blanked)


def test_a_command_line_loses_what_its_names_give_away() -> None:
    assert redact_command(
        "HF_TOKEN=x1 m --api-key k1 --password=p1 --max-new-tokens 9 a.secret=s"
    ) == ("HF_TOKEN=*** m --api-key *** --password=*** --max-new-tokens 9 a.secret=***")
    assert redacted_values({"hf_token": "abc", "a": [{"b": CANARY}], "token": None}) == {
        "hf_token": "***",
        "a": [{"b": "***"}],
        "token": None,
    }


def test_a_key_from_elsewhere_can_be_added() -> None:
    remember("added-by-hand-1")
    assert redact("added-by-hand-1") == "***"


def test_files_and_streams_are_written_without(tmp_path: Path) -> None:
    storage.write_json(tmp_path / "a.json", {"said": CANARY})
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == {"said": "***"}
    stream = io.StringIO()
    keep_out_of(stream)
    print("key", CANARY, file=stream)
    assert stream.getvalue() == "key ***\n"


def test_hostile_text_costs_no_more_than_ordinary_text() -> None:
    for part in ("a", ".", "-", "://:", "hf_", "?token=", "a.token=", "--token "):
        text = part * (2**20 // len(part))
        assert least_seconds(partial(redact_command, text), enough=1) < 3
