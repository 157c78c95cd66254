"""Every shell block of README and tutorial, as a reader would type it, one after the other."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from command_for_tests import faults_of, mathtune
from docs_blocks import ROOT, Block, Shell, blocks
from hub_server import HubServer
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

BLOCKS = [
    pytest.param(page, block, id=f"{Path(page).stem}-{number}-{block.text.split()[0]}")
    for page in ("README.md", "docs/tutorial.md")
    for number, block in enumerate(blocks(ROOT / page), 1)
]


@pytest.fixture(scope="module")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Shell]]:
    """A shell for each page, in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="docs-") as bin_folder:  # short, for a socket's name
        found = {}
        for name in ("README.md", "docs/tutorial.md"):
            own = Path(bin_folder) / Path(name).stem
            own.mkdir()
            found[name] = Shell(tmp_path_factory.mktemp("page"), own)
        yield found


@pytest.mark.parametrize(("page", "block"), BLOCKS)
def test_the_block_runs(page: str, block: Block, shells: dict[str, Shell]) -> None:
    if block.not_run:
        pytest.skip(f"{page}: {block.not_run}")
    done = shells[page].run(block)
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"


def test_the_tutorials_model_from_the_hub_is_trained(tmp_path: Path) -> None:
    tutorial = blocks(ROOT / "docs" / "tutorial.md")
    (line,) = (
        line
        for block in tutorial
        for line in block.text.splitlines()
        if line.startswith("mathtune run mine.yaml model=Qwen/")
    )
    (tmp_path / "bin").mkdir()
    shell = Shell(tmp_path, tmp_path / "bin")
    for block in tutorial:
        if "<<'END'" in block.text:  # writes the problems, the recipe
            assert shell.run(block).returncode == 0
    model = line.partition("model=")[2].split()[0]
    repository = tmp_path / "hub" / "models" / model
    bpe().save_pretrained(repository)
    tiny_model("qwen2", 512).save_pretrained(repository)  # more rows than tokens, as Qwen has
    small = ["train.max_steps=1", "data.max_validation_samples=2", "data.max_test_samples=2"]
    small += ["eval.max_new_tokens=8", "--run-dir", "run"]
    words = [*shlex.split(line)[1:], *small]

    with HubServer(tmp_path / "hub") as hub:
        online = hub.environment(tmp_path / "cache")
        done = mathtune(*words, cwd=tmp_path, **online)
    assert done.returncode == 0, done.stderr
    assert f"GET /{model}/resolve" in " ".join(hub.requests)
    assert (tmp_path / "run" / "report.html").is_file()

    gone = {**online, "HF_HOME": str(tmp_path / "empty")}  # the hub, and what it was asked for
    done = mathtune(*words[:-1], "other", cwd=tmp_path, **gone)
    (fault,) = faults_of(done)
    assert fault.startswith(f"model '{model}' could not be fetched from the Hugging Face Hub (")
    assert not (tmp_path / "other").exists()


def test_no_block_is_overlooked() -> None:
    for page, least in (("README.md", 3), ("docs/tutorial.md", 12)):
        text = (ROOT / page).read_text("utf-8")
        assert len(blocks(ROOT / page)) == text.count("```sh\n") >= least
