"""Fixtures for every room."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # helpers shared by test modules

# Nothing in the tests may reach for the network, and two cores are shared by the workers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A shell's background jobs ignore Ctrl-C, and so would every command that a test starts from one.
signal.signal(signal.SIGINT, signal.default_int_handler)


HEAVY = (
    "notebooks", "distributed", "docs/test_shell_blocks.py", "faults/test_out_of_memory.py",
    "planning", "invariants", "api", "training/test_overfit.py", "training/test_trainer.py",
    "faults", "training", "cli",
)  # fmt: skip
"""What takes longest begins first, so that no worker is left with it at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent

    def place(item: pytest.Item) -> int:
        path = item.path.relative_to(here).as_posix()
        return next((i for i, name in enumerate(HEAVY) if path.startswith(name)), len(HEAVY))

    items.sort(key=place)  # stable: the order within a file stays


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with real GSM8K and SVAMP; tests that need it skip with a reason without it."""
    folder = os.environ.get("MATHTUNE_DATA_DIR")
    if not folder or not (Path(folder) / "gsm8k" / "train.jsonl").is_file():
        pytest.skip("MATHTUNE_DATA_DIR names no folder with gsm8k/train.jsonl")
    return Path(folder)
