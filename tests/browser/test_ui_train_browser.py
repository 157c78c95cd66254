"""A training started, watched, stopped and continued from the page, in a real browser."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from chromium_pipe import Page, browser, executable
from ui_browser import click, fill, text, wait, wait_until
from ui_for_tests import served

pytestmark = pytest.mark.skipif(
    executable() is None, reason="no chromium, chromium-browser, google-chrome or chrome on PATH"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def steps(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    if not path.exists():
        return []
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


KNOBS = {
    "data.max_train_samples": "64",
    "data.max_validation_samples": "2",
    "train.max_steps": "1000",
    "train.per_device_train_batch_size": "1",
    "train.eval_steps": "100",
}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "runs"
    yield root
    for job in root.glob("*/.job.json"):  # after a failure
        with suppress(psutil.NoSuchProcess):
            found = json.loads(job.read_text())
            process = psutil.Process(found["pid"])
            if process.create_time() == found["began"]:
                process.kill()


def test_a_training_is_started_watched_stopped_and_continued(page: Page, root: Path) -> None:
    with served(root) as start:
        base = start.partition("/?")[0]
        page.open(start)
        page.open(f"{base}/train")
        wait(page, "document.querySelectorAll('.knob').length > 10")
        page.run("document.getElementById('action').value = 'train'")
        for key, value in KNOBS.items():
            fill(page, f"[id='knob-{key}']", value)
        fill(page, "#more", "train.logging_steps=1\ntrain.save_steps=100")
        wait(page, "document.getElementById('command').textContent.includes('save_steps=100')")
        command = text(page, "#command")
        assert command.startswith("mathtune train demo ")
        assert "train.max_steps=1000" in command and "--run-dir runs/demo-" in command
        wait(page, "!document.getElementById('start').disabled")
        click(page, "#start")
        wait(page, "location.pathname.startsWith('/run/')")
        folder = root / str(page.run("location.pathname")).removeprefix("/run/")
        job = json.loads((folder / ".job.json").read_text())
        process = psutil.Process(job["pid"])
        assert os.getsid(job["pid"]) == job["pid"]  # a terminal that closes does not end it
        wait(page, "document.querySelector('#state')?.textContent.includes('training, step')")
        wait(page, "document.querySelectorAll('#live-charts svg').length > 0")
        before = text(page, "#live-charts desc")
        grown = "document.querySelector('#live-charts desc').textContent"
        wait(page, f"{grown} !== {json.dumps(before)}")
    # The server has ended; the training has not.
    seen = max(steps(folder))
    wait_until(lambda: max(steps(folder)) > seen, "it did not go on without the server")
    assert process.is_running()
    with served(root) as start:
        base = start.partition("/?")[0]
        page.open(start)
        wait(page, "document.querySelector('#list .doing')?.textContent.includes('training')")
        page.open(f"{base}/run/{folder.name}")
        wait(page, "document.querySelector('#stop')?.hidden === false")
        click(page, "#stop")
        state = "(document.querySelector('#state')?.textContent ?? '')"
        wait(page, f"{state}.includes('stopped while training')")
        stopped = max(steps(folder))
        assert 0 < stopped < 1000
        assert "SIGTERM" in text(page, "#console") or "stopped" in text(page, "#console")
        assert list((folder / "checkpoints").glob("checkpoint-*"))
        wait(page, "document.querySelector('#continue')?.hidden === false")
        click(page, "#continue")
        wait_until(lambda: max(steps(folder)) > stopped, "it did not continue")
        wait(page, "document.querySelector('#stop')?.hidden === false")
        click(page, "#stop")
        wait(page, f"{state}.includes('stopped while training')")
        assert page.errors == []
        assert all(address.startswith(base) for address in page.requests), page.requests
        manifest = json.loads((folder / "manifest.json").read_text())
        assert manifest["changes"] == []  # continued with its own recipe
