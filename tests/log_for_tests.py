"""What mathtune says while it works, caught."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Catch what is logged inside the block, a line a message."""
    logger, said = logging.getLogger("mathtune"), io.StringIO()
    before, handler = logger.level, logging.StreamHandler(said)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
