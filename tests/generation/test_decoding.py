"""What ``Decoding`` accepts."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mathtune.errors import ConfigError
from mathtune.generation import Decoding


def test_defaults_are_greedy():
    assert Decoding().temperature == 0
    assert Decoding().samples == 1


def test_all_faults_are_reported_at_once():
    with pytest.raises(ConfigError) as caught:
        Decoding(max_new_tokens=0, temperature=-1.0, top_p=0.0, samples=0, stop=("",))
    assert [fault.split()[0] for fault in caught.value.faults] == [
        "max_new_tokens",
        "samples",
        "temperature",
        "top_p",
        "stop",
    ]


def test_one_string_is_no_list_of_stop_strings():
    with pytest.raises(ConfigError, match="tuple"):
        Decoding(stop="Question:")  # type: ignore[arg-type]


def test_everything_but_the_local_engine_imports_without_torch():
    code = (
        "import sys, mathtune.generation.calculator, mathtune.generation.scripted; "
        "print({'torch', 'transformers', 'numpy'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"
