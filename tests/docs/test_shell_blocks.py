"""Every shell block of README and tutorial, as a reader would type it, one after the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs_blocks import ROOT, Block, Shell, blocks

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


def test_no_block_is_overlooked() -> None:
    for page, least in (("README.md", 3), ("docs/tutorial.md", 12)):
        text = (ROOT / page).read_text("utf-8")
        assert len(blocks(ROOT / page)) == text.count("```sh\n") >= least
