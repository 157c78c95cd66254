"""A push to a hub on loopback by the real client: complete, private, continued, without secrets."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from command_for_tests import COMMAND, faults_of, mathtune
from hub_server import HubServer

TOKEN = "hf_" + "a1b2c3d4e5" * 3


@pytest.fixture
def here(run: Path, tmp_path: Path) -> Path:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "model" / ".env").write_text(f"HF_TOKEN={TOKEN}")
    (tmp_path / "run" / "model" / "notes.txt").write_text("mine")
    with (tmp_path / "run" / "README.md").open("a") as card:
        card.write(f"\n{TOKEN}\n")
    return tmp_path


def test_a_run_is_pushed_cut_off_and_continued(here: Path) -> None:
    shutil.copy(here / "run/model/adapter_model.safetensors", here / "run/model/b.safetensors")
    with (here / "run/model/b.safetensors").open("ab") as file:
        file.write(b" ")
    repo = here / "hub" / "models" / "me" / "sums"
    arguments = ["export", "run", "--to", "hub", "--repo", "me/sums", "--json"]
    with HubServer(here / "hub") as hub:
        hub.tokens = {TOKEN}
        online = {**hub.environment(here / "cache"), "HF_TOKEN": TOKEN}
        hub.stalls.set()
        process = subprocess.Popen(
            [COMMAND, *arguments], cwd=here, env={**os.environ, **online}, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        while sum(request.startswith("PUT") for request in hub.requests) < 2:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130 and "the same command continues it" in said
        assert list(repo.iterdir()) == []
        first = list(hub.uploaded)
        hub.stalls.clear()
        hub.requests.clear()
        done = mathtune(*arguments, cwd=here, **online)
        assert done.returncode == 0, done.stderr
        uploads = [r for r in hub.requests if r.startswith("PUT")]
        assert len(first) == len(uploads) == 1 and first[0] not in uploads[0]  # only what is left
        figures = json.loads(done.stdout)
        assert figures["private"] is True and figures["repo"] == "me/sums"
        assert figures["address"] == f"{hub.url}/me/sums/commit/{hub.commit('models', 'me/sums')}"
    names = {path.relative_to(repo).as_posix() for path in repo.rglob("*") if path.is_file()}
    assert names >= {
        "adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "README.md",
        "results.json", "recipe.yaml", "report.html", "predictions/base.jsonl",
        "predictions/tuned.jsonl",
    }  # fmt: skip
    assert not names & {".env", "notes.txt", ".lock", "manifest.json"}
    assert "left out 2 files that are not a model's: .env, notes.txt" in done.stderr
    assert len(names) == figures["files"]
    card = (repo / "README.md").read_text()
    assert "model-index:" in card and "exact_match" in card
    sent = b"".join(path.read_bytes() for path in repo.rglob("*") if path.is_file())
    assert TOKEN.encode() not in sent and TOKEN not in done.stderr + done.stdout


def test_what_stops_a_push_is_told_with_the_page_that_helps(here: Path) -> None:
    def fault(repo: str, *more: str, **environment: str) -> str:
        done = mathtune(
            "export", "run", "--to", "hub", "--repo", repo, *more, cwd=here, **environment
        )
        (only,) = faults_of(done)
        return only

    with HubServer(here / "hub") as hub:
        hub.tokens, hub.read_only = {TOKEN, "hf_reader"}, {"hf_reader"}
        online = hub.environment(here / "cache")
        assert fault("me/sums", **online, HF_TOKEN="") == (
            f"pushing to the hub needs a token, and there is none here; make one at "
            f"{hub.url}/settings/tokens and run `hf auth login`, or set HF_TOKEN"
        )
        assert fault("me/sums", **online, HF_TOKEN="hf_wrongwrongwrongwrong") == (
            f"pushing to me/sums: the hub does not accept the token from HF_TOKEN; make another at "
            f"{hub.url}/settings/tokens and run `hf auth login` after unset HF_TOKEN"
        )
        assert fault("me/sums", **online, HF_TOKEN="hf_reader") == (
            f"this token may not write to me/sums; make one with write access at "
            f"{hub.url}/settings/tokens and run `hf auth login`, or give a --repo of your own"
        )
        assert fault("a b/c", **online, HF_TOKEN=TOKEN) == (
            "--repo a b/c is not a repository's name; give OWNER/NAME, as in me/gemma-gsm8k"
        )
        (here / "hub" / "models" / "me" / "open").mkdir(parents=True)
        hub.public.add("me/open")
        assert fault("me/open", **online, HF_TOKEN=TOKEN) == (
            "repository me/open exists and is public; give --public to push there, or another "
            "--repo"
        )
        assert not hub.uploaded
    gone = fault("me/sums", **online, HF_TOKEN=TOKEN)
    assert gone.startswith("the hub cannot be reached (") and "connect to the network" in gone
