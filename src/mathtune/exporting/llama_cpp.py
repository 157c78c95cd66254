"""A llama.cpp runtime in a process of its own, which answers a line of JSON for each it reads.

    python -m mathtune.exporting.llama_cpp FILE.gguf CONTEXT

``{"text": …}`` → ``{"ids": […]}``; ``{"ids": […], "n": 20}`` → ``{"ids": […]}``, the greedy
continuation. The first line says ``{"ready": true}``. A process, because llama.cpp writes its log
to standard output and ends the process where a file is not as it should be; it also ends when its
standard input does. Its server listens on loopback, with a key that only this process knows.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import urllib.request
from typing import Any


def main() -> None:
    """Load the file named on the command line and answer until standard input ends."""
    import xllamacpp

    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    key = secrets.token_hex(16)
    params = xllamacpp.CommonParams()
    params.model.path = sys.argv[1]
    params.n_ctx, params.n_parallel, params.warmup = int(sys.argv[2]), 1, False
    params.cpuparams.n_threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    params.n_gpu_layers, params.ui, params.api_keys = 0, False, [key]
    # The file is compared, not the cache, which by default has 16 bits.
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    server = xllamacpp.Server(params)
    _say(out, {"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        if "text" in asked:
            body = {"content": asked["text"], "add_special": True, "parse_special": True}
            path = "tokenize"
        else:
            body = {"prompt": asked["ids"], "n_predict": asked["n"], "return_tokens": True}
            body |= {"temperature": 0}
            path = "completion"
        _say(out, {"ids": _post(f"{server.listening_address}/{path}", key, body)["tokens"]})


def _post(address: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(address, json.dumps(body).encode(), headers)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is on loopback
    with opener.open(request, timeout=600) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


def _say(out: Any, value: dict[str, Any]) -> None:
    out.write(json.dumps(value) + "\n")
    out.flush()


if __name__ == "__main__":
    main()
