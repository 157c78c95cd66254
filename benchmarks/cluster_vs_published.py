"""Published throughputs of sharded training on 8 to 128 GPUs against ``planning/cluster``.

    python benchmarks/cluster_vs_published.py

Figures are MosaicML's (llm-foundry, ``scripts/train/benchmarking/README.md``, 2023): MPT models,
sequences of 2,048 tokens, bf16, FSDP with ``FULL_SHARD``, machines of 8 GPUs; 1,600 Gbit/s between
those with A100. Prints a JSON line a row: tokens per second and GPU as published; as planned from
published card and link rates alone; and as planned from what the fewest GPUs of the same card and
model reached, which leaves only communication to the plan.
"""

from __future__ import annotations

import json
import statistics
from typing import NamedTuple

from mathtune.planning.cluster.layouts import (
    HIDDEN,
    Cluster,
    Layout,
    Range,
    Training,
    layouts,
)
from mathtune.planning.gpu_specs import BUSY, find_gpu

LENGTH = 2048


class Published(NamedTuple):
    """A row of the table; ``checkpointed`` is activation checkpointing."""

    card: str
    model: str
    parameters: float
    layers: int
    width: int
    gpus: int
    micro_batch: int
    accumulated: int
    checkpointed: bool
    tokens: int


SHAPES = {
    "1b": (1.316e9, 24, 2048), "3b": (2.652e9, 32, 2560), "7b": (6.659e9, 32, 4096),
    "13b": (12.854e9, 40, 5120), "30b": (29.975e9, 48, 7168), "70b": (64.862e9, 80, 8192),
}  # fmt: skip
"""Parameters, layers and width of MPT models."""

# Card, model, GPUs, examples a micro-batch, micro-batches, checkpointing, tokens/s and GPU.
ROWS = """
A100 40GB  7b    8 12  4 yes 3679
A100 40GB  7b   16 16  1 yes 3645
A100 40GB  7b   32 18  1 yes 3725
A100 40GB  7b   64 18  1 yes 3665
A100 40GB  7b  128 18  1 yes 3623
A100 40GB 13b    8  4 16 yes 1668
A100 40GB 13b   16 10  1 yes 1993
A100 40GB 13b   32 14  1 yes 1998
A100 40GB 13b   64 16  1 yes 1976
A100 40GB 13b  128 16  1 yes 1972
A100 40GB 30b   32  4  1 yes  857
A100 40GB 30b  128  6  1 yes  865
A100 40GB 70b   64  2  1 yes  276
A100 40GB 70b  128  4  1 yes  376
A100 80GB  7b    8  6  2 no  4641
A100 80GB 13b    8  2  3 no  2262
A100 80GB 30b    8  3 21 yes  916
A100 80GB 70b   32  2 16 yes  373
A100 80GB 70b   64  8  4 yes  410
H100 SXM   1b    8 14  1 no 45455
H100 SXM   1b   64 20  1 no 44402
H100 SXM   3b   16 10  3 no 24142
H100 SXM   3b   64  6  3 no 22525
H100 SXM   7b    8  6  1 no 10643
H100 SXM  13b    8  2  1 no  4792
H100 SXM  13b   64  2  1 no  4800
H100 SXM  30b    8  3 21 yes 2002
H100 SXM  30b   32 14  3 yes 2308
H100 SXM  70b   32  2 16 yes  882
H100 SXM  70b   64  8  4 yes 1039
"""


def published() -> list[Published]:
    """Return the rows."""
    rows = []
    for line in ROWS.split("\n"):
        if line:
            *card, model, gpus, micro, accumulated, checkpointed, tokens = line.split()
            numbers = int(gpus), int(micro), int(accumulated), checkpointed == "yes", int(tokens)
            rows.append(Published(" ".join(card), model, *SHAPES[model], *numbers))
    return rows


def operations(row: Published) -> float:
    """Return the floating-point operations of a step on one GPU."""
    attention = row.layers * 2 * 2 * row.width * LENGTH
    passes = 4 if row.checkpointed else 3
    return passes * (2 * row.parameters + attention) * tokens(row)


def tokens(row: Published) -> int:
    """Return the tokens of a step on one GPU."""
    return row.micro_batch * LENGTH * row.accumulated


def planned(row: Published, computing: Range) -> Layout:
    """Return the plan of a row whose step computes for so many seconds."""
    card = find_gpu(row.card)
    assert card.network
    size = round(2 * row.parameters)  # gathered and reduced in bf16
    training = Training(
        weights=size, gradients=size, states=0, others=0, layers=row.layers, root=0.0,
        parameters=round(row.parameters), trained=round(row.parameters), steps=1,
        micro_batches=row.accumulated, computing=computing,
    )  # fmt: skip
    nodes = row.gpus // 8
    cluster = Cluster(nodes, 8, card.link, card.network * 8 if nodes > 1 else None)
    (found,) = (each for each in layouts(cluster, training) if each.name == "FSDP2")
    return found


def main() -> None:
    """Print a line per row and one on all."""
    rates: dict[tuple[str, str], float] = {}
    errors, scaled = [], []
    within = 0
    for row in published():
        peak = find_gpu(row.card).bf16
        assert peak
        work = operations(row)
        worst, usual, best = (work / (peak * busy) for busy in BUSY["cuda"])
        found = planned(row, (best, usual, worst))
        assert found.seconds and found.communicating
        best, usual, worst = (tokens(row) / seconds for seconds in found.seconds)
        errors.append(usual / row.tokens - 1)
        within += worst <= row.tokens <= best
        line = {
            "card": row.card, "model": row.model, "gpus": row.gpus, "published": row.tokens,
            "planned": round(usual), "range": [round(worst), round(best)],
            "error": round(errors[-1], 3),
        }  # fmt: skip
        if (row.card, row.model) in rates:
            seconds = work / rates[row.card, row.model]
            again = planned(row, (seconds, seconds, seconds)).seconds
            assert again
            scaled.append(tokens(row) / again[1] / row.tokens - 1)
            line["error_scaled"] = round(scaled[-1], 3)
        else:  # what is not hidden of communication comes on top of computing
            computing = tokens(row) / row.tokens - (1 - HIDDEN[1]) * found.communicating[1]
            rates[row.card, row.model] = work / computing
            line["share_of_peak"] = round(work / computing / peak, 3)
        print(json.dumps(line))
    for name, found_errors in (("from rates", errors), ("from fewest GPUs", scaled)):
        line = {
            "errors": name, "rows": len(found_errors),
            "median": round(statistics.median(found_errors), 3),
            "least": round(min(found_errors), 3), "most": round(max(found_errors), 3),
            **({"within_range": within} if found_errors is errors else {}),
        }  # fmt: skip
        print(json.dumps(line))


if __name__ == "__main__":
    main()
