from __future__ import annotations

import importlib.util

import pytest

from mathtune.errors import ModelError
from mathtune.generation.vllm import VLLMEngine


@pytest.mark.skipif(importlib.util.find_spec("vllm") is not None, reason="vllm is installed here")
def test_without_vllm_the_message_says_what_to_install() -> None:
    with pytest.raises(ModelError, match=r"needs the vllm package.*pip install vllm.*hf engine"):
        VLLMEngine("m", tensor_parallel_size=2)
