"""``eval``: how to measure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mathtune.config.schema.section import SAME_RESULT, Positive, Section, Unrecorded

SEED_PROBLEM = "What is 125 * 45 + 678? Show your work."
"""The problem that the Gemma-2B project put to the original and to the fine-tuned model."""


def _stop_strings(value: list[str]) -> list[str]:
    if "" in value:
        raise ValueError("holds an empty string, which would end every answer at once; remove it")
    return value


class EvalConfig(Section):
    """How base and tuned model are measured; the same for both, so that they compare."""

    max_new_tokens: Positive = 256
    """Longest answer in tokens."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0: the likeliest token at each step (greedy); above: sampled, by the recipe's seed."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the likeliest tokens that hold this probability (Holtzman et al. 2020)."""
    samples: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Answers per problem; above 1 the majority's answer (maj@k) and pass@k are reported too."""
    stop: Annotated[list[str], AfterValidator(_stop_strings)] | None = None
    """Strings that end an answer; default: those of the prompt style."""
    stop_repetition: bool = True
    """End a greedy answer that only repeats itself; it counts as one cut off by the limit does."""
    calculator: bool = False
    """Headline figures with the calculator; the other setting is measured and reported too."""
    other_calculator: bool = True
    """Off: measure only the headline's calculator setting, as ``mathtune sample`` does."""
    logprobs: bool = False
    """Record each answer's token ids, and their log-probabilities under the model itself."""
    batch_size: Annotated[Positive | None, SAME_RESULT] = None
    """Rows decoded at once; default: from free memory."""
    engine: Literal["hf", "vllm", "openai", "ray"] = "hf"
    """``hf``: Transformers in this process; ``vllm``: its offline mode; ``openai``: a server;
    ``ray``: workers of a Ray cluster, or of this machine."""
    worker_engine: Literal["hf", "vllm"] = "hf"
    """What each worker of ``ray`` decodes with."""
    workers: Annotated[Positive | None, SAME_RESULT] = None
    """Workers of ``ray``; default: as many as the cluster has room for."""
    num_cpus: Annotated[float, Field(gt=0), SAME_RESULT] = 1.0
    """Processor cores of each worker of ``ray``, and its threads."""
    num_gpus: Annotated[Annotated[float, Field(ge=0)] | None, SAME_RESULT] = None
    """GPUs of each worker of ``ray``; default: ``tensor_parallel_size``, 0 without any GPU."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as ``http://localhost:8000/v1``; several servers
    with the same model are separated by commas."""
    endpoint: Literal["completions", "chat"] = "completions"
    """``chat``: the server's own template renders the messages of ``prompt.style: chat``."""
    concurrency: Annotated[Positive, Unrecorded] = 16
    """Maximum number of requests to the server at a time."""
    requests_per_minute: Annotated[Annotated[float, Field(gt=0)] | None, Unrecorded] = None
    """Maximum requests started per minute; empty: wait only when the server asks for it."""
    timeout_seconds: Annotated[float, Field(gt=0), Unrecorded] = 600.0
    """Longest wait for one answer of the server, after which the request is sent again."""
    api_key_env: Annotated[str, Unrecorded] = "OPENAI_API_KEY"
    """Environment variable with the server's API key, which is never recorded."""
    tensor_parallel_size: Positive = 1
    """GPUs that vLLM splits each layer over."""
    perplexity: bool = True
    """Also measure the perplexity of the gold solutions, with no solved problems before them."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of every interval."""
    example: str = SEED_PROBLEM
    """An example problem that both models answer in the report."""

    @property
    def decoder(self) -> str:
        """What decodes: the engine, or with ``ray`` that of its workers."""
        return self.worker_engine if self.engine == "ray" else self.engine
