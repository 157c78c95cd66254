"""The processes of one run: which one this is, and what they agree on.

``torchrun`` and ``accelerate launch`` start several processes of one command and number them in the
environment. Rank 0 creates the run folder, writes and prints; all ranks compute. A single process
is rank 0 of 1: nothing here waits, and torch is not loaded.

Messages go through their own group, on the CPU and with a timeout that no real wait reaches: the
others may wait hours for rank 0. If a rank dies, its launcher ends the rest.
"""

from __future__ import annotations

import functools
import hashlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from mathtune.errors import MathtuneError

T = TypeVar("T")
_FAULT = "mathtune-fault"
_PATIENCE = timedelta(seconds=2)
"""How long a rank waits to see whether another one has the same fault."""


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def world_size() -> int:
    """Return how many processes work on this run."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def local_world_size() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world_size() > 1 else 1


def is_first() -> bool:
    """Return whether this process is the one that writes and prints."""
    return rank() == 0


def sharding() -> str | None:
    """Return ``FSDP`` or ``DeepSpeed`` if asked for: no rank then has all the weights."""
    for name in ("FSDP", "DeepSpeed"):
        asked = os.environ.get(f"ACCELERATE_USE_{name.upper()}", "false").lower()
        if world_size() > 1 and asked in ("1", "true"):
            return name
    return None


def sharded_checkpoints() -> bool:
    """Return whether each rank saves its own share of weights and optimiser state."""
    asked = os.environ.get("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")
    return sharding() == "FSDP" and asked.upper() == "SHARDED_STATE_DICT"


def use_fsdp(how: str, state_dict_type: str, shard_size: int | None = None) -> None:
    """Ask for FSDP2 in the variables that ``accelerate launch`` sets; a launcher's own stay.

    Args:
        how: ``full_shard``, or ``hybrid_shard`` with a copy of the weights on each group of ranks.
        state_dict_type: ``SHARDED_STATE_DICT`` or ``FULL_STATE_DICT``.
        shard_size: Ranks of a group; default: those on one machine.
    """
    if world_size() == 1 or sharding() is not None:
        return
    asked = {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": state_dict_type,
    }
    if how == "hybrid_shard":
        size = shard_size or local_world_size()
        asked |= {
            "ACCELERATE_USE_PARALLELISM_CONFIG": "true",
            "PARALLELISM_CONFIG_DP_SHARD_SIZE": str(size),
            "PARALLELISM_CONFIG_DP_REPLICATE_SIZE": str(world_size() // size),
        }
    os.environ.update(asked)


def share(items: Sequence[T]) -> Sequence[T]:
    """Return this rank's share of the items: every ``world_size``-th, so that shares are alike."""
    return items[rank() :: world_size()]


def wait() -> None:
    """Return when every rank has reached this point."""
    gather(None)


def gather(value: T) -> list[T]:
    """Return every rank's value, in rank order, on every rank."""
    if world_size() == 1:
        return [value]
    import torch.distributed as dist

    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value, group=_messages())
    return values


def from_first(make: Callable[[], T]) -> T:
    """Let rank 0 compute a value; return it, or raise its MathtuneError, on every rank."""
    if world_size() == 1:
        return make()
    import torch.distributed as dist

    made: list[Any] = [None, None]
    if is_first():
        try:
            made[0] = make()
        except MathtuneError as error:
            made[1] = error
    dist.broadcast_object_list(made, src=0, group=_messages())
    if made[1] is not None:
        made[1].told = not is_first()
        raise made[1]
    value: T = made[0]
    return value


@contextmanager
def main_process_first() -> Iterator[None]:
    """Let rank 0 through the block before the others, who then find what it wrote."""
    if not is_first():
        wait()
    try:
        yield
    finally:
        if is_first():
            wait()


def group() -> Any:
    """Return the group for messages, which the main thread alone may use; None for one process."""
    return None if world_size() == 1 else _messages()


@functools.cache
def background_group() -> Any:
    """Return a group for a thread that saves while training goes on; all ranks make it together."""
    import torch.distributed as dist

    _messages()
    return dist.new_group(backend="gloo", timeout=timedelta(days=30))


def all_reduce_max(value: int) -> int:
    """Return the largest of the ranks' values; cheap enough for every step."""
    if world_size() == 1:
        return value
    import torch
    import torch.distributed as dist

    tensor = torch.tensor(value)
    dist.all_reduce(tensor, dist.ReduceOp.MAX, group=_messages())
    return int(tensor)


def have_met() -> bool:
    """Return whether the ranks have communicated yet; until then all do exactly the same."""
    return bool(_messages.cache_info().currsize)


def is_loss_of_another(error: RuntimeError) -> bool:
    """Return whether an error means that another rank can no longer be reached."""
    if not have_met():
        return False
    import torch.distributed as dist

    # gloo raises a bare RuntimeError out of the middle of a backward pass.
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)


def faulted_before() -> int | None:
    """Return the exit code of a fault that ended an earlier start which torchrun now repeats."""
    if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) == 0:
        return None
    store = _launchers_store()
    return int(store.get(_FAULT)) if store is not None and store.check([_FAULT]) else None


def is_first_report(faults: Sequence[str], code: int) -> bool:
    """Note faults that no restart can help; return whether no rank has reported them yet."""
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) == 0 and not have_met():
        return True
    store = _launchers_store()
    digest = hashlib.sha256("\n".join(faults).encode()).hexdigest()
    name = f"{_FAULT}-{digest}"
    if store is None:
        return _is_ours_to_report(name)
    store.set(_FAULT, str(code))
    return bool(store.add(name, 1) == 1)


def _is_ours_to_report(name: str) -> bool:
    """Return whether this rank reports the fault of this name: rank 0, or any that it leaves alone.

    The ranks' own store ends with rank 0, which so waits a moment for the others to have asked.
    """
    if not _own_store.cache_info().currsize:
        return True
    store, until = _own_store(), time.monotonic() + _PATIENCE.total_seconds()
    try:
        if not is_first():
            store.wait([name], _PATIENCE)
            store.add(f"{name}-heard", 1)
            return False
        store.set(name, "reported")
        while store.add(f"{name}-heard", 0) < world_size() - 1 and time.monotonic() < until:
            time.sleep(0.02)
    except RuntimeError:  # rank 0 has another fault or none, or is gone
        return True
    return True


def _launchers_store() -> Any | None:
    """Return the store that outlives the ranks' starts; None if only ranks hold one."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    import torch.distributed as dist

    try:
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        return dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=20))
    except (KeyError, ValueError, RuntimeError):  # the launcher itself is gone
        return None


def part() -> None:
    """Shut down cleanly, when the others are done as well."""
    if have_met():
        import torch.distributed as dist

        wait()
        dist.destroy_process_group()
        background_group.cache_clear()
        _messages.cache_clear()
        _own_store.cache_clear()


@functools.cache
def _messages() -> Any:
    """Meet the other ranks, bind this one to its GPU, and return the group for messages."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        backend = "gloo"
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
            backend = "cuda:nccl,cpu:gloo"
        dist.init_process_group(
            backend,
            store=_own_store(),
            rank=rank(),
            world_size=world_size(),
            timeout=timedelta(hours=2),
        )
    return dist.new_group(backend="gloo", timeout=timedelta(days=30))


@functools.cache
def _own_store() -> Any:
    """Meet the other ranks of this start and return their store."""
    import torch.distributed as dist

    store, _, _ = next(dist.rendezvous("env://"))
    return dist.PrefixStore(_name_of_this_start(store), store)


def _name_of_this_start(store: Any) -> str:
    """Return a name that only the ranks of this start share.

    torchrun restarts ranks with the same store, in which the dead ones have left their addresses.
    All are dead before any is restarted, so whoever answers a new question belongs to this start.
    """
    if not is_first():
        question = uuid.uuid4().hex
        store.set(f"mathtune-question-{rank()}", question)
        name = str(store.get(f"mathtune-answer-{question}").decode())
        store.set(f"mathtune-{name}-{rank()}", "here")
        return name
    name = uuid.uuid4().hex
    missing = set(range(1, world_size()))
    while missing:
        for other in sorted(missing):
            if store.check([f"mathtune-question-{other}"]):
                question = store.get(f"mathtune-question-{other}").decode()
                store.set(f"mathtune-answer-{question}", name)
            if store.check([f"mathtune-{name}-{other}"]):
                missing.remove(other)
        time.sleep(0.02)
    return name
