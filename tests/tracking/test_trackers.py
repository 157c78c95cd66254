"""Trackers get everything, and none can stop or hold up a run: real files and loopback servers."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import wandb
from wandb.proto import wandb_internal_pb2

from log_for_tests import logged
from mathtune import config, pipeline
from mathtune.errors import TrainingStopped
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.tracking.wandb_run import PATIENCE_SECONDS
from mathtune.training.callbacks import VOLATILE_KEYS
from mathtune.training.run import train
from models_for_tests import saved_model, tiny_model
from tokenizers_for_tests import bpe

KEY = "0123456789abcdef" * 2 + "feedbeef"


@pytest.fixture(autouse=True)
def fresh_wandb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Let each test set W&B's environment, which it reads once a process."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_MODE", "WANDB_SILENT", "WANDB_ERROR_REPORTING", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.setenv(name, "")  # so that what the run sets is taken back
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")
    end_of_process()
    yield
    end_of_process()


def end_of_process() -> None:
    """Do what W&B does when a process ends."""
    if wandb.run is not None:
        wandb.finish()
    wandb.teardown()


def records(folder: Path) -> Iterator[wandb_internal_pb2.Record]:
    """Read a ``.wandb`` file: LevelDB's log format, a protocol buffer a record."""
    (path,) = folder.glob("*.wandb")
    data, position, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while position + 7 <= len(data):
        if 32768 - position % 32768 < 7:  # a header never crosses a block
            position += 32768 - position % 32768
            continue
        size, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def history(folder: Path) -> list[dict]:
    return [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in record.history.item
        }
        for record in records(folder)
        if record.HasField("history")
    ]


def test_a_whole_run_in_wandb_and_tensorboard(tmp_path):
    model, _ = saved_model(tmp_path / "model", "llama")
    overrides = [
        f"model={model}", "data.train.0.n=20", "data.train.1.n=6", "data.train.2.n=5",
        "data.validation.0.n=4", "data.max_test_samples=3", "train.max_steps=4",
        "train.eval_steps=2", "train.logging_steps=1", "train.per_device_train_batch_size=2",
        "train.exact_match_samples=2", "train.max_length=500", "eval.max_new_tokens=5",
        "tracking.report_to=[wandb,tensorboard]",
    ]  # fmt: skip
    run = tmp_path / "run"
    with logged() as said:
        for _ in range(2):  # the second time everything is there already
            pipeline.run(config.load("demo", overrides), run)
    assert said.getvalue().count("W&B has no key: recording offline") == 1
    assert "failed" not in said.getvalue()
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").open()]

    (folder,) = (run / "wandb").glob("offline-run-*")
    recorded = history(folder)
    training = [line for line in recorded if "train/loss" in line]
    keys = {
        "train/loss": "loss", "train/perplexity": "perplexity", "train/grad_norm": "grad_norm",
        "train/learning_rate": "learning_rate", "train/tokens_per_second": "tokens_per_second",
        "train/memory_gb": "memory_gb", "train/global_step": "step",
    }  # fmt: skip
    assert [{new: line[old] for old, new in keys.items()} for line in training] == [
        {new: line[new] for new in keys.values()} for line in metrics if "loss" in line
    ]
    validated = [line for line in metrics if "eval_loss" in line]
    assert len(validated) == 3
    for name in ("loss", "perplexity", "exact_match"):
        values = [line[f"eval/{name}"] for line in recorded if f"eval/{name}" in line]
        assert values == [line[f"eval_{name}"] for line in validated]

    last = recorded[-1]
    results = json.loads((run / "results.json").read_text())["headline"]
    assert results == {"set": "new types", "calculator": True}
    assert "test/new-types-calculator/tuned_exact_match" in last
    assert "test/new-types-calculator/difference" in last
    table = json.loads((folder / "files" / last["predictions/path"]).read_text())
    rows = [json.loads(line) for line in (run / "predictions" / "tuned.jsonl").open()]
    column = table["columns"].index("tuned_completion")
    assert [row[column] for row in table["data"]] == [row["completion"] for row in rows]
    assert len(rows) == 3
    artifacts = [r.artifact for r in records(folder) if r.HasField("artifact")]
    artifacts += [
        r.request.log_artifact.artifact
        for r in records(folder)
        if r.request.HasField("log_artifact")
    ]
    report = next(a for a in artifacts if a.type == "report")
    assert {"report.html", "README.md"} <= {entry.path for entry in report.manifest.contents}

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.step for event in events.Scalars("eval/perplexity")] == [0, 2, 4]
    assert events.Scalars("test/new-types/base_exact_match")
    assert "report/text_summary" in events.Tags()["tensors"]


TOKENIZER = bpe()


def small_run(folder: Path, *, spoil=None, trackers: str = "[wandb]") -> str:
    """Train 6 steps; ``spoil`` is called at each forward pass of training with its number."""
    made = [(f"What is {n}?", f"It is {n}. #### {n}") for n in range(10, 24)]
    renderer = Renderer(TOKENIZER, "qa")
    examples = [renderer.example(Problem(content_id(q, a), q, a, "1")) for q, a in made]
    model, passes = tiny_model("llama", len(TOKENIZER)), 0

    def forward(*_: object) -> None:
        nonlocal passes
        passes += model.training
        if spoil and model.training:
            spoil(passes)

    model.get_input_embeddings().register_forward_hook(forward)
    folder.mkdir(exist_ok=True)
    with logged() as said:
        train(
            config.load(
                "smollm2-135m-gsm8k",
                [
                    "train.max_steps=6", "train.logging_steps=1", f"tracking.report_to={trackers}",
                    "train.per_device_train_batch_size=2", "train.gradient_accumulation_steps=1",
                ],
            ),
            model=model,
            tokenizer=TOKENIZER,
            compute=Compute("cpu", "CPU", torch.float32, False, "a test"),
            train_examples=examples[:12],
            validation_examples=examples[12:],
            run_dir=folder,
        )  # fmt: skip
    return said.getvalue()


def stable(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in lines]


class Server:
    """Accepts and never answers, answers 500 to everything, or refuses every connection."""

    def __init__(self, kind: str) -> None:
        self._kind, self._socket, self._open = kind, socket.create_server(("127.0.0.1", 0)), []
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.asked = 0
        if kind == "refuses":
            self._socket.close()
        else:
            threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            self.asked += 1
            self._open.append(connection)
            if self._kind == "500":
                connection.recv(65536)
                answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n"
                connection.sendall(answer + b"Connection: close\r\n\r\n")
                connection.close()


@pytest.mark.parametrize("kind", ["hangs", "refuses", "500"])
def test_a_server_that_cannot_be_used_costs_little_and_loses_nothing(tmp_path, monkeypatch, kind):
    """Once interrupted and once resumed: one W&B run, offline, one line each; the key nowhere."""
    server = Server(kind)
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)

    limits = []

    def stop(passes: int) -> None:
        if passes == 3:
            limits.append((wandb.run.settings.init_timeout, wandb.run.settings.finish_timeout))
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped, match="step 3, checkpoint saved"):
        small_run(tmp_path / "run", spoil=stop)
    end_of_process()
    monkeypatch.delenv("WANDB_MODE")
    said = small_run(tmp_path / "run")
    end_of_process()
    assert said.count("\n") == len(said.splitlines())
    assert sum("W&B could not be reached" in line for line in said.splitlines()) == 1
    assert "recording offline; `wandb sync` uploads it later" in said
    assert server.asked > 0 or kind == "refuses"
    assert limits == [(1.0, PATIENCE_SECONDS)]  # W&B's own are 90 seconds and none
    parts = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    kept = json.loads((tmp_path / "run" / "tracking.json").read_text())["wandb"]
    assert kept["mode"] == "offline" and kept["failures"] == 2
    assert [part.name.rpartition("-")[2] for part in parts] == [kept["id"]] * 2
    losses = [
        line["train/loss"] for part in parts for line in history(part) if "train/loss" in line
    ]
    assert losses == [line["loss"] for line in stable(tmp_path / "run") if "loss" in line]
    assert len(losses) == 6
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_a_tracker_that_fails_is_said_once_counted_and_left_out(tmp_path):
    """W&B ended by other code in mid-run, and a TensorBoard folder that is a file."""

    def end(passes: int) -> None:
        if passes == 2:
            wandb.finish()

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "tensorboard").write_text("in the way")
    said = small_run(tmp_path / "run", spoil=end, trackers="[wandb,tensorboard]")
    assert said.count("wandb failed; the run goes on without it: ") == 1
    assert said.count("tensorboard failed; the run goes on without it: ") == 1
    kept = json.loads((tmp_path / "run" / "tracking.json").read_text())
    assert kept["wandb"]["failures"] == 3  # not called again after three in a row
    assert kept["tensorboard"]["failures"] == 1
    small_run(tmp_path / "other", trackers="[]")
    assert stable(tmp_path / "run") == stable(tmp_path / "other")
    assert not (tmp_path / "other" / "tracking.json").exists()
