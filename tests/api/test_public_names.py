"""``import mathtune``: instant, without torch, and what editors see is what there is."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mathtune as mt


def test_importing_loads_nothing_and_a_recipe_needs_no_torch() -> None:
    code = (
        "import sys, mathtune as mt\n"
        "print(len([n for n in sys.modules if n.startswith('mathtune')]))\n"
        "mt.load_recipe('demo'), mt.grade('#### 4', '4')\n"
        "print('torch' in sys.modules, 'rich' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["1", "False", "True"], done.stderr


def test_stub_says_what_is_there() -> None:
    tree = ast.parse((Path(mt.__file__).parent / "__init__.pyi").read_text("utf-8"))
    imported = [
        alias.asname
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(imported) == sorted(mt.__all__)
    assert set(mt.__all__) <= set(dir(mt))
    assert all(hasattr(mt, name) for name in mt.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        mt.trian  # noqa: B018


@pytest.mark.parametrize("name", [name for name in mt.__all__ if name[0].islower()])
def test_functions_are_documented_and_show_no_rich_object(name: str) -> None:
    function = getattr(mt, name)
    documentation = inspect.getdoc(function)
    signature = inspect.signature(function)
    given = [each for each in signature.parameters if each != "self"]
    assert documentation and all(each in documentation for each in given)
    assert "Console" not in str(signature) and "rich" not in str(signature)


def test_caches_of_compiled_products_are_small_unless_set() -> None:
    names = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
    code = f"import os, mathtune; print(*(os.environ[name] for name in {names}))"
    environment = {k: v for k, v in os.environ.items() if k not in names}
    for given, wanted in (({}, "64 64"), ({names[0]: "9"}, "9 64")):
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment | given, capture_output=True, text=True
        )
        assert done.stdout.split() == wanted.split(), done.stderr
