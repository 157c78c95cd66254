"""The real hub client against a hub on loopback, in subprocesses: its address is set at import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from problem_rows import solved

from hub_server import HubServer

READ = """
import json, sys
from mathtune.config.schema import SourceConfig
from mathtune.errors import DataError
from mathtune import hub
from mathtune.problems.reading import Role
from mathtune.problems.sources import read_source
assert "datasets" not in sys.modules
hub.REACH_SECONDS = 0.5
found = []
for config in json.loads(sys.argv[1]):
    try:
        problems = read_source(SourceConfig(**config), Role.TEST, 0).problems
        result = {"golds": [p.gold for p in problems], "source": problems[0].source}
    except DataError as error:
        result = {"error": str(error)}
    found.append(result)
print(json.dumps(found))
"""

CARD = """---
configs:
- config_name: main
  data_files: [{split: train, path: main/train-*}, {split: test, path: main/test-*}]
- config_name: socratic
  data_files: [{split: train, path: socratic/train-*}, {split: test, path: socratic/test-*}]
---
"""


def read(environment: dict[str, str], *configs: dict[str, Any]) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(configs)],
        env={**os.environ, "MATHTUNE_DATA_DIR": "", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hub with GSM8K's layout (Parquet, two subsets) and a set of someone else's (JSONL)."""
    import pyarrow
    from pyarrow import parquet

    root = tmp_path_factory.mktemp("hub")
    gsm8k = root / "datasets" / "openai" / "gsm8k"
    for base, subset in ((0, "main"), (50, "socratic")):
        (gsm8k / subset).mkdir(parents=True)
        for offset, split in ((0, "train"), (10, "test")):
            table = pyarrow.Table.from_pylist([solved(base + offset + i) for i in range(3)])
            parquet.write_table(table, gsm8k / subset / f"{split}-00000-of-00001.parquet")
    (gsm8k / "README.md").write_text(CARD)
    other = root / "datasets" / "someone" / "sums"
    other.mkdir(parents=True)
    rows = [{"prompt": f"q{i}", "response": f"#### {i}"} for i in (1, 2)] + [
        {"prompt": "q", "response": "no idea"}
    ]
    (other / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_the_hub_and_then_its_cache(root: Path, tmp_path: Path) -> None:
    with HubServer(root) as hub:
        commit = hub.commit("datasets", "openai/gsm8k")
        online = hub.environment(tmp_path / "cache")
        found = read(
            online,
            {"name": "gsm8k"},
            {"name": "openai/gsm8k", "subset": "socratic"},
            {"name": f"openai/gsm8k@{commit}", "split": "train"},
            {"name": "someone/sums", "fields": {"question": "prompt", "answer": "response"}},
            {"name": "openai/gsm8k", "subset": "socratc"},
            {"name": "someone/sums", "split": "tests"},
            {"name": "someone/sum"},
            {"name": "someone/sums"},
        )
        downloads = [r for r in hub.requests if r.startswith("GET") and r.endswith(".parquet")]
    main, socratic, pinned, other, subset, split, repository, columns = found
    assert main["golds"] == ["10", "11", "12"]
    assert main["source"] == f"gsm8k/main:test (hub {commit[:8]})"
    assert (socratic["golds"], pinned["golds"]) == (["60", "61", "62"], ["0", "1", "2"])
    assert other["golds"] == ["1", "2"]
    assert "no subset 'socratc'; did you mean 'socratic'?" in subset["error"]
    assert "no split 'tests'; did you mean 'test'?" in split["error"]
    assert "'someone/sum' doesn't exist on the Hub" in repository["error"]
    assert (
        "no column 'question' and no column 'answer'. Its columns: prompt, response"
        in columns["error"]
    )
    assert len(downloads) == 4  # each file of the two subsets once

    # The server is gone now: the cache answers, and what it does not hold is refused.
    main, pinned, pinned_elsewhere, missing = read(
        online,
        {"name": "gsm8k"},
        {"name": f"gsm8k@{commit[:10]}"},
        {"name": "gsm8k@v2"},
        {"name": "svamp"},
    )
    assert main["golds"] == ["10", "11", "12"] == pinned["golds"]
    assert main["source"] == f"gsm8k/main:test (hub cache {commit[:8]})"
    assert f"holds openai/gsm8k at {commit[:8]}, not at v2" in pinned_elsewhere["error"]
    assert "ChilleD/SVAMP could not be fetched from the Hugging Face Hub" in missing["error"]
    assert "MATHTUNE_DATA_DIR to a folder with svamp/SVAMP.json" in missing["error"]
    assert "\n" not in missing["error"]


def test_a_hub_that_never_answers_is_asked_once(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {
            "HF_ENDPOINT": address,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "NO_PROXY": "127.0.0.1",
        }
        (found,) = read(environment, {"name": "gsm8k"})
        silent.accept()[0].close()
        silent.setblocking(False)
        with pytest.raises(BlockingIOError):  # asked once: the client itself goes on trying
            silent.accept()
    assert f"could not be fetched from the Hugging Face Hub ({address}: timed" in found["error"]


def test_offline_mode_is_respected(tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    (found,) = read(offline, {"name": "orca-math", "split": "train"})
    assert "(HF_HUB_OFFLINE is set)" in found["error"]
    assert "microsoft/orca-math-word-problems-200k" in found["error"]
