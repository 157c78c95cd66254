"""The example in README, to the letter."""

from __future__ import annotations

import re
from pathlib import Path

from command_for_tests import python

README = Path(__file__).parents[2] / "README.md"


def test_the_example_in_the_readme_runs_and_has_ten_lines(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 10
    done = python(code, cwd=tmp_path)
    said, errors = done.stdout, done.stderr
    assert done.returncode == 0, errors
    verdict, rate, *_ = said.splitlines()
    assert (tmp_path / verdict.split()[-1]).name == "report.html" and "new types" in verdict
    assert (tmp_path / verdict.split()[-1]).is_file()
    assert rate.partition(" ")[0] in ("0.0", "1.0")
    assert "5625" in said  # 125 * 45, by the calculator, if only in a wrong answer
    assert "base on new types, calculator on" in errors  # progress is shown without being asked for
    assert len(list(tmp_path.glob("runs/*/problems.jsonl"))) == 1
