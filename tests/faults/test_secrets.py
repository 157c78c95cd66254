"""Secrets of the environment, of overrides and of addresses are in nothing that a run writes."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_for_tests import jsonl, mathtune, solved
from hostile_server import Connection, HostileServer, whole
from models_for_tests import saved_model

CANARIES = {
    "HF_TOKEN": "hf_CanaryCanaryCanary0123456789abcd",
    "HUGGING_FACE_HUB_TOKEN": "canary-hub-0123456789",
    "WANDB_API_KEY": "ca9a12e9" * 5,
    "OPENAI_API_KEY": "sk-canary-openai-0123456789abcdef",
    "MY_SERVER_CREDENTIAL": "canary-server-0123456789",  # named by eval.api_key_env
    "MLFLOW_TRACKING_PASSWORD": "canary-mlflow-0123456789",
    "AWS_SECRET_ACCESS_KEY": "canary/aws+0123456789",
}
IN_ADDRESS = "canaryuser:canarypass0123"


def every_content(path: Path) -> Iterator[bytes]:
    """Yield what a file holds, and what is compressed in it."""
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    for start in (i for i in range(len(content) - 1) if content[i : i + 1] == b"\x78"):
        if content[start + 1] in b"\x01\x5e\x9c\xda":
            try:
                yield zlib.decompressobj().decompress(content[start:], 2**20)
            except zlib.error:
                continue


def leaks(folder: Path, *said: str, of: tuple[str, ...] = tuple(CANARIES.values())) -> list[str]:
    """Return every place in which a canary stands: files, their names, what was said."""
    words = [*of, "canarypass"]
    places = [f"said: {word}" for word in words for text in said if word in text]
    for path in folder.rglob("*"):
        places += [f"name {path}" for word in words if word in path.name]
        if path.is_file():
            for content in every_content(path):
                places += [f"{path}: {word}" for word in words if word.encode() in content]
    return places


def test_a_canary_would_be_found(tmp_path: Path) -> None:
    word = CANARIES["HF_TOKEN"].encode()
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"." * 99 + word))
    (tmp_path / "b.bin").write_bytes(b"\x00\xff" + zlib.compress(word * 9) + b"\x00")
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", word * 9)
    assert len({place.split(":")[0] for place in leaks(tmp_path)}) == 3


def test_a_run_with_trackers_writes_none(tmp_path: Path) -> None:
    model, _ = saved_model(tmp_path / "model", "llama")
    overrides = [
        f"model={model}", "data.train.0.n=12", "data.train.1.n=4", "data.train.2.n=4",
        "data.validation.0.n=4", "data.max_test_samples=2", "train.max_steps=2",
        "train.eval_steps=2", "train.per_device_train_batch_size=2", "train.max_length=500",
        "train.exact_match_samples=0", "eval.max_new_tokens=4",
        "tracking.report_to=[wandb,tensorboard]",
    ]  # fmt: skip
    done = mathtune(
        *("run", "demo", *overrides, "--run-dir", "run"),
        cwd=tmp_path,
        WANDB_MODE="offline",
        HTTPS_PROXY=f"http://{IN_ADDRESS}@127.0.0.1:9",
        **CANARIES,
    )
    assert done.returncode == 0, done.stderr
    written = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert {".wandb", ".html", ".md", ".yaml", ".json", ".jsonl", ".safetensors"} <= written
    assert leaks(tmp_path, done.stdout, done.stderr) == []


def talkative(connection: Connection) -> None:
    """Send back the key that came, as a completion to some and as an error to others."""
    head, _, body = connection.request.partition(b"\r\n\r\n")
    key = head.partition(b"uthorization: Bearer ")[2].partition(b"\r\n")[0].decode()
    if b"has 3 pens" in body:
        connection.send(whole(json.dumps({"error": f"bad key {key}"}).encode(), "400 x"))
    text = f"Your key is {key}.\n#### 4"
    said = {"choices": [{"text": text, "finish_reason": f"stop {key}"}], "model": key}
    connection.send(whole(json.dumps(said).encode(), **{"x_key": key}))


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_SERVER_CREDENTIAL"])
def test_a_server_that_sends_the_key_back_has_it_kept_nowhere(
    tmp_path: Path, variable: str
) -> None:
    jsonl(tmp_path / "data.jsonl", [solved(number) for number in range(1, 6)])
    with HostileServer(talkative) as server:
        done = mathtune(
            *("eval", "m", "--engine", "openai", "--base-url", server.url, "--shots", "0"),
            *("--data", "data.jsonl", "--run-dir", "run", "--api-key-env", variable),
            cwd=tmp_path,
            NO_PROXY="127.0.0.1",
            **CANARIES,
        )
    asked = [connection.request for connection in server.connections]
    assert any(CANARIES[variable].encode() in request for request in asked)
    assert done.returncode == 2 and "bad key ***" in done.stderr
    rows = (tmp_path / "run/predictions/base.jsonl").read_text("utf-8").splitlines()
    assert json.loads(rows[0])["completion"].startswith("Your key is ***.")
    assert leaks(tmp_path, done.stdout, done.stderr) == []


@pytest.mark.parametrize(
    "override",
    [
        f"model=https://{IN_ADDRESS}@hub.invalid/m",
        f"model={CANARIES['HF_TOKEN']}",
        f"model.revision={CANARIES['HUGGING_FACE_HUB_TOKEN']}",
        "model=https://hub.invalid/m?api_key=canarypass0123",
        f"data.test=[https://{IN_ADDRESS}@data.invalid/x.jsonl]",
        f"prompt.system=use {CANARIES['OPENAI_API_KEY']}",
        f"tracking.project={CANARIES['WANDB_API_KEY']}",
        f"eval.base_url=http://{IN_ADDRESS}@h/v1",
        f"eval.base_url=http://h/{CANARIES['AWS_SECRET_ACCESS_KEY']}/v1",
        f"eval.api_key_env={CANARIES['OPENAI_API_KEY']}",
        f"hf_token={CANARIES['HF_TOKEN']}",
        f"train.hub_token={CANARIES['HF_TOKEN']}",
        CANARIES["HF_TOKEN"],
    ],
)
def test_an_override_with_a_secret_is_refused_without_showing_it(
    tmp_path: Path, override: str
) -> None:
    engine = ["eval.engine=openai"] if "eval." in override else []
    done = mathtune("eval", "tiny-base", override, *engine, cwd=tmp_path, **CANARIES)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
    assert leaks(tmp_path, done.stdout, done.stderr) == []


def test_a_secret_in_a_recipe_file_is_refused_by_its_key(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(f"name: r\nmodel: https://{IN_ADDRESS}@h/m\ndata: {{train: gsm8k}}\n")
    done = mathtune("train", "r.yaml", cwd=tmp_path)
    assert done.returncode == 2 and "canary" not in done.stderr
    assert "model holds a password, a token or an API key" in done.stderr


def test_a_traceback_and_a_log_line_show_none(tmp_path: Path) -> None:
    script = (
        "import logging, os, sys\n"
        "from mathtune.cli.main import cli, main\n"
        "@cli.command('crash')\n"
        "def crash():\n"
        "    key = os.environ['HF_TOKEN']\n"
        "    logging.getLogger('mathtune.x').warning('log %s', key)\n"
        "    print('print', key, os.environ['WANDB_API_KEY'])\n"
        "    raise ZeroDivisionError('\\x1b[31mat https://u:canarypass@h/ with ' + key)\n"
        "from mathtune.cli import main as module\n"
        "module.COMMANDS['crash'] = ''\n"
        "type(cli).get_command = lambda self, ctx, name: crash\n"
        "sys.argv[1:] = ['crash']\n"
        "main()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, **CANARIES},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == "print *** ***\n"
    assert "log ***" in done.stderr
    assert "ZeroDivisionError: \\x1b[31mat https://***@h/ with ***" in done.stderr
    assert leaks(tmp_path, done.stdout, done.stderr) == []
