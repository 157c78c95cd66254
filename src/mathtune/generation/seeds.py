"""One seed per completion, for servers and libraries that do their own sampling."""

from __future__ import annotations

import hashlib


def sample_seed(seed: int, problem_id: str, sample: int) -> int:
    """Return the seed of one completion, 0 to 2**31 - 1.

    It depends on nothing else, so the samples of a problem stay the same whatever else is
    requested, and whichever of them were made before an interruption.
    """
    digest = hashlib.sha256(f"{seed}\x1f{problem_id}\x1f{sample}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
