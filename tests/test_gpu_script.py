"""``benchmarks/gpu.sh``: each section has its limit, and one that fails does not end the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from command_for_tests import SHELLCHECK

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"

STAND_IN = """#!/bin/sh
case "$*" in
  *"-m pip"*) case "$*" in *broken*) exit 1 ;; esac; exit 0 ;;
  *card.py*) echo '{"section": "card"}' ;;
  *cuda_tests.py*) echo '{"section": "tests", "error": "one failed"}'; exit 1 ;;
  *"train.py prepare"*) echo "no JSON line" >&2; exit 3 ;;
  *"train.py gemma --seconds"*) sleep 60 ;;
  *) echo "{\\"section\\": \\"$2 $4\\"}" ;;
esac
"""


def run(*options: str, python: Path, tmp_path: Path) -> tuple[list[dict], str]:
    done = subprocess.run(
        ["bash", str(SCRIPT), *options],
        env={**os.environ, "PYTHON": str(python), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A command in Python's place, whose sections succeed, fail and hang."""
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return path


def test_sections_fail_on_their_own(python: Path, tmp_path: Path) -> None:
    """14 seconds are enough for every section but the one that hangs."""
    out = tmp_path / "out.jsonl"
    options = ("--dry-run", "--seconds", "14", "--out", str(out))
    lines, _ = run(*options, python=python, tmp_path=tmp_path)
    assert out.read_text().splitlines() == [json.dumps(line) for line in lines]
    found = {line["section"]: line.get("error") for line in lines}
    assert found["card"] is None
    assert found["tests"] == "one failed"  # its own line, not two
    assert found["prepare"] == "ended with code 3"
    assert found["gemma"].startswith("ended after its ")
    assert found["trl"].startswith("left out: ")
    assert [line["section"] for line in lines].count("tests") == 1
    assert lines[-1]["section"] == "end" and lines[-1]["seconds"] <= 14
    assert not list(tmp_path.glob("mathtune-gpu.*"))


def test_wheels_that_do_not_fit_are_named(python: Path, tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("good-1-py3-none-any.whl", "broken-1-cp39-none-any.whl"):
        (wheels / name).touch()
    options = ("--dry-run", "--seconds", "5", "--wheels", str(wheels))
    lines, _ = run(*options, python=python, tmp_path=tmp_path)
    assert lines[0]["failed"] == ["broken-1-cp39-none-any.whl"]


@pytest.mark.parametrize(
    ("options", "fault"),
    [(["--wheel", "x"], "unknown option --wheel"), (["--wheels", "/nowhere"], "not a folder")],
)
def test_wrong_options(options: list[str], fault: str) -> None:
    done = subprocess.run(["bash", str(SCRIPT), *options], capture_output=True, text=True)
    assert done.returncode == 2 and fault in done.stderr


def test_shell_syntax() -> None:
    command = [SHELLCHECK] if SHELLCHECK else ["bash", "-n"]
    done = subprocess.run([*command, str(SCRIPT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_work_is_counted_as_the_maths_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against ``plan``'s own count for Llama-2-7B's layers: 6 operations a weight and token."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    monkeypatch.delitem(sys.modules, "train", raising=False)
    monkeypatch.delitem(sys.modules, "shared", raising=False)
    import train

    from mathtune.records import Example

    example = Example("", (1,) * 101, (False,) * 61 + (True,) * 40, 61)
    shape = train.SHAPES["llama-2-7b"]
    layers = 32 * (4 * 4096**2 + 3 * 4096 * 11_008)
    attention = 6 * 32 * 4096 * 100**2
    whole = 6 * (layers * 100 + 32_000 * 4096 * 40) + attention
    assert train.work_of(shape, [example], trained=True) == whole
    frozen = 4 * (layers * 100 + 32_000 * 4096 * 40) + attention
    assert train.work_of(shape, [example], trained=False) == frozen
