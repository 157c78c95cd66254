"""Greedy continuations by llama.cpp, in a process of its own.

    python tests/real/llama_cpp.py FILE.gguf < prompts.json > continuations.json

Each continuation is a list of ``[text, logprob, margin]``, one a token: the text it adds, and by
how much it is likelier than the next best, in nats.
"""

from __future__ import annotations

import json
import os
import sys

TOKENS = 20


def main() -> None:
    """Continue each prompt by ``TOKENS`` tokens."""
    import xllamacpp

    out = os.dup(1)
    os.dup2(2, 1)  # llama.cpp writes its log to stdout
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel, params.warmup = 1024, 1, False
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    for cache in ("cache_type_k", "cache_type_v"):  # the default is 16 bits
        setattr(params, cache, xllamacpp.ggml_type.GGML_TYPE_F32)
    server = xllamacpp.Server(params)
    answers = []
    for prompt in json.load(sys.stdin):
        asked = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "logprobs": 2}
        answer = server.handle_completions(asked)
        tokens = answer["choices"][0]["logprobs"]["content"]
        answers.append([[_text(token), _margin(token)] for token in tokens])
    with os.fdopen(out, "w") as stream:
        json.dump(answers, stream)


def _text(token: dict) -> str:
    return bytes(token["bytes"] or ()).decode("utf-8", "replace")


def _margin(token: dict) -> float:
    best, second = (each["logprob"] for each in token["top_logprobs"][:2])
    return best - second


if __name__ == "__main__":
    main()
