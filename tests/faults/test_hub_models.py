"""Models by hub id: the real client against a hub on loopback, through the real command."""

from __future__ import annotations

import contextlib
import shutil
import socket
from pathlib import Path

import pytest

from command_for_tests import faults_of, jsonl, mathtune, solved
from hub_server import HubServer
from models_for_tests import saved_model

MODEL = "someone/tiny-llama"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three test problems, and a hub that has one model below ``hub``."""
    folder = tmp_path_factory.mktemp("work")
    saved_model(folder / "hub" / "models" / MODEL, "llama")
    (folder / "hub" / "models" / "someone" / "half").mkdir()
    (folder / "hub" / "models" / "someone" / "half" / "README.md").write_text("soon")
    jsonl(folder / "test.jsonl", (solved(n) for n in range(3)))
    return folder


def arguments(model: str) -> list[str]:
    return ["eval", model, "--data", "test.jsonl", "--run-dir", "run"]


def test_a_model_is_fetched_by_its_id_and_then_found_in_the_cache(folder: Path) -> None:
    ask = {"cwd": folder, "said": "What is 1 + 1?\n"}
    with HubServer(folder / "hub") as hub:
        online = hub.environment(folder / "cache")
        fetched = mathtune("chat", MODEL, "--max-new-tokens", "5", **ask, **online)
    assert fetched.returncode == 0, fetched.stderr
    fetches = [request for request in hub.requests if request.startswith("GET")]
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert sum(request.endswith(f"/{name}") for request in fetches) >= 1, hub.requests
    assert fetched.stdout.strip()

    # The hub is gone now: its cache answers, and nothing is tried again and again.
    cached = mathtune("chat", MODEL, "--max-new-tokens", "5", **ask, **online)
    assert cached.returncode == 0, cached.stderr
    assert cached.stdout == fetched.stdout
    assert "Retrying" not in cached.stderr


def test_what_the_hub_has_not_is_told_in_a_sentence(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "test.jsonl", tmp_path)
    with HubServer(folder / "hub") as hub:
        online = hub.environment(tmp_path / "cache")

        def fault(model: str, *more: str) -> str:
            done = mathtune(*arguments(model), *more, cwd=tmp_path, **online)
            (only,) = faults_of(done)
            return only

        assert fault("someone/tiny-lama") == (
            f"model 'someone/tiny-lama' is neither a folder here nor a model at {hub.url}; check "
            "the id, or run `hf auth login` if it is private"
        )
        assert fault(MODEL, "model.revision=v2") == (
            f"model '{MODEL}' has no revision 'v2'; give a branch, tag or commit of it"
        )
        assert fault("someone/half") == (
            "'someone/half' on the hub has neither config.json nor adapter_config.json, so it is "
            "not a Transformers model; give another id"
        )
        assert not (tmp_path / "run").exists()


def test_a_hub_that_never_answers_is_asked_once(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = mathtune(
            *arguments(MODEL),
            cwd=folder,
            HF_ENDPOINT=address,
            HF_HOME=str(tmp_path),
            HF_HUB_OFFLINE="0",
            NO_PROXY="127.0.0.1",
        )
        silent.setblocking(False)
        asked = []
        with contextlib.suppress(BlockingIOError):
            while True:
                with silent.accept()[0] as connection:
                    asked.append(connection.recv(4096).partition(b" HTTP")[0])
    # Whether it answers at all was asked once. The client would ask for each file again and again.
    assert asked.count(b"HEAD /") == 1
    assert not any(MODEL.encode() in request for request in asked)
    (fault,) = faults_of(done)
    assert fault.startswith(f"model '{MODEL}' could not be fetched from the Hugging Face Hub (")
    assert f"({address}: timed out)" in fault
    assert fault.endswith("connect to the network, or download it elsewhere and give its folder")


def test_gated_models_and_tokens_are_told_with_the_page_that_helps(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copy(folder / "test.jsonl", tmp_path)
    with HubServer(folder / "hub") as hub:
        hub.tokens, hub.gated = {"hf_accepted", "hf_other"}, {MODEL: {"hf_accepted"}}
        page = f"{hub.url}/{MODEL}"

        def fault(token: str) -> str:
            environment = hub.environment(tmp_path / f"cache-{token}")
            done = mathtune(*arguments(MODEL), cwd=tmp_path, **environment, HF_TOKEN=token)
            (only,) = faults_of(done)
            assert not token or token not in only
            return only

        assert fault("") == (
            f"model '{MODEL}' is gated, and there is no token here; accept its licence at {page} "
            "and run `hf auth login`"
        )
        assert fault("hf_other") == (
            f"model '{MODEL}' is gated, and the account of this token has no access to it; accept "
            f"its licence at {page} (some makers take a while to answer) and give the same command "
            "again"
        )
        assert fault("hf_wrong") == (
            f"model '{MODEL}': the hub does not accept the token from HF_TOKEN; make another at "
            f"{hub.url}/settings/tokens and run `hf auth login` after unset HF_TOKEN"
        )


def test_a_download_that_is_cut_off_continues(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "test.jsonl", tmp_path)
    with HubServer(folder / "hub") as hub:
        online = {**hub.environment(tmp_path / "cache"), "HF_TOKEN": ""}
        hub.cut_off = "model.safetensors"
        ask = {"cwd": tmp_path, "said": "What is 1 + 1?\n"}
        chat = ["chat", MODEL, "--max-new-tokens", "2"]
        done = mathtune(*chat, **ask, **online)
        assert done.returncode == 2, done.stderr
        said = done.stderr.splitlines()[-1]
        assert said.startswith(f"mathtune: the download of model '{MODEL}' was cut off ("), said
        assert said.endswith("; give the same command again, which continues it")
        assert "Traceback" not in done.stderr
        hub.cut_off = None
        whole = mathtune(*chat, **ask, **online)
        assert whole.returncode == 0, whole.stderr
