"""Memory that really runs out in the middle of a step: the step is cut smaller and taken again."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from command_for_tests import python
from mathtune.errors import TrainingStopped
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits
from mathtune.training.memory import glibc_malloc as allocator
from mathtune.training.memory.out_of_memory import FittingLimits, halved, is_out_of_memory
from models_for_tests import tiny_model

SCRIPT = """
import json, logging, resource, sys
from pathlib import Path
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from mathtune import config, ranks
from mathtune.records import Example
from mathtune.models.compute import pick_compute
from mathtune.training.run import train
from tokenizers_for_tests import bpe

logging.basicConfig(level=logging.INFO, format="%(message)s")
folder, spare = Path(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=50_000, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=1, max_position_embeddings=512, tie_word_embeddings=True))
generator = torch.Generator().manual_seed(1)
examples = [
    Example(str(n), tuple(torch.randint(50_000, (120,), generator=generator).tolist()),
            (False,) + (True,) * 119, 1)
    for n in range(64)]
recipe = config.load("smollm2-135m-gsm8k", [
    "model.dtype=float32", "train.max_steps=2", "train.per_device_train_batch_size=64",
    "train.logits_chunk_bytes=1000000000", "train.micro_batch_tokens=100000",
    "train.max_length=256", "train.logging_steps=1", "train.eval_strategy=steps",
    "eval.max_new_tokens=10"])
# Once through, so that the libraries hold what they need before the memory is limited.
model(input_ids=torch.tensor([examples[0].ids])).logits.sum().backward()
model.zero_grad()
ranks.wait()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
if spare:
    resource.setrlimit(resource.RLIMIT_AS, (size + spare * 2**20,) * 2)
result = train(recipe, model=model, tokenizer=bpe(), compute=pick_compute("float32"),
    train_examples=examples, validation_examples=examples[:1], run_dir=folder)
if ranks.is_first():
    print(json.dumps({"oom_retries": result.oom_retries, "loss": result.best_eval_loss}))
"""

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max_restarts=9")


def trained(
    folder: Path, spare_mb: int, launcher: tuple[str, ...] = ()
) -> tuple[dict[str, float], str]:
    """Train in processes that may take so much memory more than they have."""
    folder.mkdir(exist_ok=True)
    script = folder.with_suffix(".py")
    script.write_text(SCRIPT)
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, *launcher, str(script), str(folder), str(spare_mb)],
        env={
            **os.environ,
            "PYTHONPATH": f"{tests}:{os.environ.get('PYTHONPATH', '')}",
            "MALLOC_ARENA_MAX": "1",  # each of glibc's arenas takes 64 MB of addresses
        },
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="memory is limited as Linux counts it"
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """What comes of training with memory enough."""
    folder = tmp_path_factory.mktemp("whole")
    done = python(SCRIPT, str(folder / "run"), "0", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["oom_retries"] == 0 and "out of memory" not in done.stderr
    return figures


@on_linux
def test_step_is_cut_smaller_and_the_result_is_the_same(
    tmp_path: Path, whole: dict[str, float]
) -> None:
    """64 examples' 119 × 50,000 logits take 1,520 MB; 300 MB do not hold them."""
    limited, said = trained(tmp_path / "limited", 300)
    assert limited["oom_retries"] > 0
    # What else lies in memory differs, and with it how often and when it runs out.
    assert re.search(r"out of memory at .*step \d: trying again with at most \d+ examples", said)
    assert limited["loss"] == pytest.approx(whole["loss"], rel=1e-6)


@on_linux
def test_ranks_start_anew_with_smaller_passes(tmp_path: Path, whole: dict[str, float]) -> None:
    limited, said = trained(tmp_path / "limited", 520, TORCHRUN)  # of 760 MB a rank
    assert re.search(r"out of memory at .*step \d: give the same command again to go on", said)
    assert re.search(r"memory ran out in an earlier start: at most \d+ examples", said)
    assert limited["oom_retries"] > 0
    assert limited["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_what_was_found_to_fit_is_kept_for_the_next_start(tmp_path: Path) -> None:
    asked, device = Limits(8, 1000, 50), {"device": "CPU", "checkpointing": False}
    found = FittingLimits.open(tmp_path, asked, **device)
    assert (found.limits, found.cuts) == (asked, 0)
    found.cut(Limits(4, 500, 50))
    assert FittingLimits.open(tmp_path, asked, **device) == found
    # In other circumstances, and where the file is damaged, all begins anew.
    other = Limits(16, 1000, 50)
    assert FittingLimits.open(tmp_path, other, **device).limits == other
    for change in ({"checkpointing": True}, {"device": "NVIDIA L4"}):
        assert FittingLimits.open(tmp_path, asked, **(device | change)).limits == asked
    written = json.loads((tmp_path / "limits.json").read_text())
    wrong = [{**written, "max_tokens": tokens} for tokens in ("2", None, [1], 0, -3, 2.5, True)]
    damages = ["{", "[]", '{"circumstances": 1}', "", "[" * 10**5, *map(json.dumps, wrong)]
    for damage in damages:
        (tmp_path / "limits.json").write_text(damage)
        assert FittingLimits.open(tmp_path, asked, **device).limits == asked
    (tmp_path / "limits.json").unlink()
    (tmp_path / "limits.json").mkdir()  # nothing can be kept, and nothing ends for that
    FittingLimits.open(tmp_path, asked, **device).cut(Limits(4, 500, 50))


def test_memory_that_ran_out_before_goes_back_to_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = []
    for name in ("hold_freed_memory", "give_back_freed_memory"):
        monkeypatch.setattr(allocator, name, lambda name=name: done.append(name))
    model = tiny_model("llama", 300)
    for ran_out in (False, True):
        allocator.use_memory(model, Limits(8, 1000, 50), ran_out=ran_out)
    assert done == ["hold_freed_memory", "give_back_freed_memory"]


def test_limits_are_halved_until_one_example_and_few_logits_are_left() -> None:
    def example(length: int) -> Example:
        return Example(str(length), (0,) * length, (True,) * length, 1)

    limits = halved(Limits(8, 1000, 50), [[example(100)] * 5, [example(40)] * 6], where="step 7")
    assert limits == Limits(3, 250, 50)
    alone = [[example(90)], [example(40)]]
    limits = halved(
        limits, alone, where="step 7"
    )  # logits of one example can still be made in pieces
    assert limits == Limits(3, 250, 25)
    with pytest.raises(TrainingStopped, match="step 7 with one example of 90 tokens"):
        halved(limits, alone, where="step 7")


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA error: out of memory\nCUDA kernel errors might be reported later", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes", True),
        ("CUDA error: an illegal memory access was encountered", False),
    ],
)
def test_which_errors_say_that_memory_ran_out(message: str, expected: bool) -> None:
    assert is_out_of_memory(RuntimeError(message)) is expected


def test_a_gpu_without_memory_ends_a_command_with_one_sentence(tmp_path: Path) -> None:
    """Also where no smaller step helps: while a model is loaded, or in the optimiser's step."""
    code = """
import sys, torch
from mathtune.cli import main as module
def fails(**_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a "
        "total capacity of 79.11 GiB of which 1.00 GiB is free.")
module.cli = fails
module.main()
"""
    done = python(code, cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    said = done.stderr.strip()
    assert said.startswith("mathtune: CUDA out of memory. Tried to allocate 2.00 GiB; finished")
    assert "model.load_in_4bit=true" in said and len(said.splitlines()) == 1
