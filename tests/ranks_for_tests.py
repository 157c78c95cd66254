"""Several real processes of one command, as torchrun would start them, without its start-up time.

They are forked from a server that has imported the libraries, and communicate through gloo.
"""

from __future__ import annotations

import socket
from pathlib import Path

from command_for_tests import COMMAND, Started


def in_ranks(count: int, *arguments: object, cwd: Path) -> list[str]:
    """Run ``mathtune`` on several ranks to its end; return what each wrote to standard error."""
    started = start_ranks(count, *arguments, cwd=cwd)
    texts = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * count, "\n".join(texts)
    return texts


def start_ranks(
    count: int,
    *arguments: object,
    cwd: Path,
    before: str = "",
    port: int | None = None,
    **environment: str,
) -> list[Started]:
    """Start ``mathtune`` on several ranks, with Python code to run ``before`` on each.

    ``port`` is that of a store that is there already; without one, rank 0 makes it.
    """
    if port is None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count)}
    common |= {"LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1", **environment}
    started = []
    for rank in range(count):
        own = common | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        code = (
            f"import os; os.environ.update({own!r})\nimport torch; torch.set_num_threads(1)\n"
            f"{before}\nfrom mathtune.cli.main import main; main()"
        )
        started.append(Started(code, [str(COMMAND), *map(str, arguments)], cwd))
    return started
