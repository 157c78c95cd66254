"""The engine for vLLM's offline mode: many NVIDIA or AMD GPUs, driven from one process.

Written against vLLM's documented interface (``LLM``, ``SamplingParams``, ``TokensPrompt``). The
package needs a GPU, so no test of this project runs it: check a first run against the ``hf`` engine
on a few problems.

Left out on purpose: the calculator, and LoRA adapters (merge them first).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from mathtune.errors import ConfigError, ModelError
from mathtune.generation.engine import Decoding
from mathtune.generation.seeds import sample_seed
from mathtune.records import Completion, Prompt, StopReason

CHUNK = 512
"""Completions requested at once: enough to fill the GPUs, and the most an interruption loses."""


class VLLMEngine:
    """Decodes with vLLM in this process; prompts are passed as ids, so they are exactly mathtune's.

    Args:
        model: Folder or hub id of a merged model.
        tensor_parallel_size: Number of GPUs that each layer is split over.
        dtype: vLLM's name for the weights' dtype; ``auto`` is that of the file.
        options: Further arguments of ``vllm.LLM``, such as ``max_model_len`` or
            ``gpu_memory_utilization``.

    Raises:
        ModelError: vLLM is not installed, or cannot load the model.
    """

    name = "vllm"

    def __init__(
        self, model: str, *, tensor_parallel_size: int = 1, dtype: str = "auto", **options: Any
    ) -> None:
        try:
            import vllm
        except ImportError as error:
            raise ModelError(
                f"the vllm engine needs the vllm package, which cannot be imported ({error}); "
                "'pip install vllm' on a machine with a GPU, or use the hf engine"
            ) from error
        self._vllm: Any = vllm
        try:
            self._llm = vllm.LLM(
                model=model, tensor_parallel_size=tensor_parallel_size, dtype=dtype, **options
            )
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"vLLM cannot load model {model!r}: {error}") from error

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield ``len(prompts) * decoding.samples`` completions, ``CHUNK`` at a time.

        A sample is a request with a seed of its own, so that it does not depend on what is decoded
        with it; the prompt they share is computed once by vLLM's prefix cache.

        Raises:
            ConfigError: The calculator is requested.
        """
        if decoding.calculator:
            raise ConfigError(
                "the vllm engine has no calculator; set eval.calculator=false, or use the hf engine"
            )
        return self._run(prompts, decoding)

    def _run(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        tasks = [(prompt, sample) for prompt in prompts for sample in range(decoding.samples)]
        for start in range(0, len(tasks), CHUNK):
            chunk = tasks[start : start + CHUNK]
            began = time.perf_counter()
            outputs = self._llm.generate(
                [self._vllm.TokensPrompt(prompt_token_ids=list(prompt.ids)) for prompt, _ in chunk],
                [self._sampling(prompt, sample, decoding) for prompt, sample in chunk],
                use_tqdm=False,
            )
            seconds = time.perf_counter() - began
            for (prompt, sample), output in zip(chunk, outputs, strict=True):
                yield _completion(prompt, sample, output.outputs[0], seconds)

    def _sampling(self, prompt: Prompt, sample: int, decoding: Decoding) -> Any:
        greedy = decoding.temperature == 0
        return self._vllm.SamplingParams(
            max_tokens=decoding.max_new_tokens,
            temperature=decoding.temperature,
            top_p=1.0 if greedy else decoding.top_p,
            seed=None if greedy else sample_seed(decoding.seed, prompt.problem_id, sample),
            stop=list(decoding.stop),
            logprobs=0 if decoding.logprobs else None,  # of the chosen token only
        )


def _completion(prompt: Prompt, sample: int, output: Any, seconds: float) -> Completion:
    """Return one of vLLM's ``CompletionOutput`` objects as a completion.

    Its ``stop_reason`` is the stop string, or None if the model ended by itself.
    """
    if output.finish_reason != "stop":
        reason = StopReason.LENGTH
    elif isinstance(output.stop_reason, str):
        reason = StopReason.STOP_STRING
    else:
        reason = StopReason.EOS
    ids = tuple(output.token_ids)
    logprobs = None
    if output.logprobs is not None:
        steps = zip(ids, output.logprobs, strict=True)
        logprobs = tuple(float(step[token].logprob) for token, step in steps)
    return Completion(
        prompt.problem_id, sample, output.text, ids, reason, seconds=seconds, logprobs=logprobs
    )
