"""Limits that keep the code readable: the length of functions and modules, the size of folders."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "mathtune"
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_A_MODULE = 320
MOST_LINES_OF_THE_LOOP = 250
MOST_MODULES_IN_A_FOLDER = 14
ONE_MODULE_A_COMMAND = SOURCE / "cli" / "commands"


def test_functions_modules_and_folders_stay_small() -> None:
    faults = []
    modules = sorted(SOURCE.rglob("*.py"))
    assert len(modules) > 200
    for path in modules:
        text = path.read_text("utf-8")
        name = path.relative_to(SOURCE)
        loop = name == Path("training/loop.py")
        most = MOST_LINES_OF_THE_LOOP if loop else MOST_LINES_OF_A_MODULE
        if (lines := len(text.splitlines())) > most:
            faults.append(f"{name} has {lines} lines, at most {most}")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                lines = node.end_lineno - node.lineno + 1
                if lines > MOST_LINES_OF_A_FUNCTION:
                    faults.append(f"{name}: {node.name} has {lines} lines")
    for folder in {path.parent for path in modules} - {ONE_MODULE_A_COMMAND}:
        found = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        if len(found) > MOST_MODULES_IN_A_FOLDER and folder != SOURCE:
            faults.append(f"{folder.relative_to(SOURCE)} has {len(found)} modules")
    assert not faults, "\n".join(faults)
