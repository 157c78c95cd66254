"""Every loss, gradient norm and validation loss is what it was when it was recorded."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trajectories import CASES, RECORDED, trained

TOLERANCE = 1e-4
"""Relative. On the processor that recorded them the figures are equal to 1e-6. Others sum products
in another order (AVX2, AVX-512, AMX), which differs by 1e-7 in a sum and grows with each step."""


@pytest.mark.parametrize("case", CASES)
def test_trajectory(case: str, tmp_path: Path) -> None:
    recorded = json.loads((RECORDED / f"{case}.json").read_text(encoding="utf-8"))
    found = trained(case, tmp_path)
    assert [line.keys() for line in found] == [line.keys() for line in recorded]
    for then, now in zip(recorded, found, strict=True):
        for key, value in then.items():
            assert math.isclose(now[key], value, rel_tol=TOLERANCE), (case, then["step"], key)
