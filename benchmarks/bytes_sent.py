"""What ranks send each other, measured on this machine, against what ``planning/cluster`` says.

    python benchmarks/bytes_sent.py            # Linux, as root: each case has a network of its own

Trains a small Llama shape in gloo processes, for a few steps of two micro-batches under DDP, FSDP2
and HSDP. Prints one JSON line a case, in bytes a rank and step: ``planned``; ``profiled``,
the sizes of all collectives in PyTorch's profiler, taken as rings; ``as_gloo``, with reduce-scatter
taken as the all-reduce that gloo makes of it; and ``wire``, what went over the loopback interface,
headers included.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from mathtune.planning.cluster.layouts import Cluster, Training, layouts

MICRO_BATCHES, STEPS = 2, 3
CASES = (("DDP", 1, 2), ("DDP", 1, 4), ("FSDP2", 1, 2), ("FSDP2", 1, 4), ("HSDP", 2, 2))
COLLECTIVES = {
    "c10d::allreduce_": "all-reduce",
    "c10d::_allgather_base_": "all-gather",
    "c10d::_reduce_scatter_base_": "reduce-scatter",
}


def main() -> None:
    """Run each case in a network namespace of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rank", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--case", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        kind, nodes, gpus, rank = options.rank
        train(kind, int(nodes), int(gpus), int(rank))
    elif options.case:
        loopback_up()
        launch(*options.case)
    else:
        for case in CASES:
            command = [sys.executable, __file__, "--case", *map(str, case)]
            subprocess.run(["unshare", "--net", *command], check=True)


def loopback_up() -> None:
    """Switch on the loopback interface of this namespace."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.pack("16sh14x", b"lo", 1)
        fcntl.ioctl(any_socket, 0x8914, flags)  # SIOCSIFFLAGS, IFF_UP


def launch(kind: str, nodes: str, gpus: str) -> None:
    """Start the ranks of a case and wait for them."""
    ranks = int(nodes) * int(gpus)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ, "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "lo", "TRACES": folder,
        }  # fmt: skip
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--rank", kind, nodes, gpus, str(rank)],
                env={**environment, "RANK": str(rank)},
            )
            for rank in range(ranks)
        ]
        failed = [each.wait() for each in started]
    if any(failed):
        raise SystemExit(f"{kind}: ranks ended with {failed}")


def train(kind: str, nodes: int, gpus: int, rank: int) -> None:
    """Train one rank's share, and let rank 0 print what was sent."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    config = LlamaConfig(
        vocab_size=2048, hidden_size=256, intermediate_size=768, num_hidden_layers=4,
        num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    parameters = sum(each.numel() for each in model.parameters())
    whole = model
    if kind == "DDP":
        model = DistributedDataParallel(model)
    else:
        shape, names = ((nodes, gpus), ("replicate", "shard")) if nodes > 1 else ((gpus,), ("s",))
        mesh = init_device_mesh("cpu", shape, mesh_dim_names=names)
        for layer in model.model.layers:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)
        fully_shard(model, mesh=mesh, reshard_after_forward=True)  # as examples/accelerate
    optimizer = torch.optim.AdamW(whole.parameters())
    ids = torch.randint(0, 2048, (2, 16))

    def step() -> None:
        for number in range(MICRO_BATCHES):
            last = number == MICRO_BATCHES - 1
            quiet = model.no_sync() if kind == "DDP" and not last else contextlib.nullcontext()
            with quiet:
                model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # the first builds buckets
    dist.barrier()
    before = loopback_bytes()
    dist.barrier()
    with torch.profiler.profile(record_shapes=True) as profile:
        for _ in range(STEPS):
            step()
    dist.barrier()
    sent = loopback_bytes() - before
    dist.barrier()
    if rank == 0:
        trace = Path(os.environ["TRACES"]) / "trace.json"
        profile.export_chrome_trace(str(trace))
        report(kind, Cluster(nodes, gpus, 1.0, 1.0), parameters, trace, sent)
    dist.destroy_process_group()


def loopback_bytes() -> int:
    """Return the bytes that this namespace's loopback interface has sent."""
    lines = Path("/proc/self/net/dev").read_text().splitlines()
    (line,) = (each for each in lines if each.strip().startswith("lo:"))
    return int(line.split(":")[1].split()[8])


def report(kind: str, cluster: Cluster, parameters: int, trace: Path, sent: int) -> None:
    """Print planned and measured bytes of a rank and step."""
    training = Training(
        weights=4 * parameters, gradients=4 * parameters, states=0, others=0, layers=4, root=0.0,
        parameters=parameters, trained=parameters, steps=1, micro_batches=MICRO_BATCHES,
        computing=None,
    )  # fmt: skip
    (planned,) = (each.sent for each in layouts(cluster, training) if each.name == kind)
    profiled = as_gloo = 0.0
    collectives: Counter[str] = Counter()
    for event in json.loads(trace.read_text())["traceEvents"]:
        found = COLLECTIVES.get(event.get("name", ""))
        if found is None:
            continue
        dims = event["args"]["Input Dims"]
        size = 4 * max(map(elements, dims[:2]))
        ranks = cluster.ranks
        if found == "all-reduce":
            ranks = cluster.nodes if kind == "HSDP" else ranks
        elif kind == "HSDP":
            ranks = cluster.gpus
        once = size * (ranks - 1) / ranks
        profiled += once * (2 if found == "all-reduce" else 1)
        as_gloo += once * (1 if found == "all-gather" else 2)
        collectives[found] += size
    line = {
        "case": f"{kind}, {cluster.nodes} x {cluster.gpus}",
        "parameters": parameters,
        "planned": round(planned),
        "profiled": round(profiled / STEPS),
        "as_gloo": round(as_gloo / STEPS),
        "wire": round(sent / STEPS / cluster.ranks),
        "sizes": {name: round(size / STEPS) for name, size in collectives.items()},
    }
    print(json.dumps(line), flush=True)


def elements(dims: list[Any]) -> int:
    """Return how many elements a tensor, or the tensors of a list, have in a profile."""
    if dims and isinstance(dims[0], list):
        return sum(map(elements, dims))
    return math.prod(dims) if dims else 0


if __name__ == "__main__":
    main()
