"""Memory that really runs out in the middle of a step: the step is cut smaller and taken again."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mathtune.errors import TrainingStopped
from mathtune.records import Example
from mathtune.training.batches import Limits
from mathtune.training.out_of_memory import halved

SCRIPT = """
import json, resource, sys
from pathlib import Path
import torch
from rich.console import Console
from transformers import LlamaConfig, LlamaForCausalLM
from mathtune import config
from mathtune.records import Example
from mathtune.training.device import pick_compute
from mathtune.training.run import train
from tokenizers_for_tests import bpe

folder, spare = Path(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(
    vocab_size=50_000, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
    num_attention_heads=1, max_position_embeddings=512, tie_word_embeddings=True))
generator = torch.Generator().manual_seed(1)
examples = [
    Example(str(n), "", tuple(torch.randint(50_000, (120,), generator=generator).tolist()),
            (False,) + (True,) * 119, ((0, 0),) * 120, 1)
    for n in range(16)]
recipe = config.load("smollm2-135m-gsm8k", [
    "model.dtype=float32", "train.max_steps=2", "train.per_device_train_batch_size=16",
    "train.logits_chunk_bytes=1000000000", "train.micro_batch_tokens=100000",
    "train.max_length=256", "train.logging_steps=1", "train.eval_strategy=steps",
    "eval.max_new_tokens=10"])
# Once through, so that the libraries hold what they need before the memory is limited.
model(input_ids=torch.tensor([examples[0].ids])).logits.sum().backward()
model.zero_grad()
size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
if spare:
    resource.setrlimit(resource.RLIMIT_AS, (size + spare * 2**20,) * 2)
result = train(recipe, model=model, tokenizer=bpe(), compute=pick_compute("float32"),
    train_examples=examples, validation_examples=examples[:1], run_dir=folder,
    console=Console(file=sys.stderr, width=1000))
print(json.dumps({"recuts": result.recuts, "loss": result.best_eval_loss}))
"""


def trained(folder: Path, spare_mb: int) -> tuple[dict[str, float], str]:
    """Train in a process that may take so much memory more than it has; 0 is no limit."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(folder), str(spare_mb)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux counts it")
def test_step_is_cut_smaller_and_the_result_is_the_same(tmp_path: Path) -> None:
    """16 examples' 119 × 50,000 logits take 380 MB; 300 MB do not hold them."""
    whole, said = trained(tmp_path / "whole", 0)
    assert whole["recuts"] == 0 and "out of memory" not in said
    limited, said = trained(tmp_path / "limited", 300)
    assert limited["recuts"] > 0
    # What else lies in memory differs, and with it how often and when it runs out.
    assert re.search(
        r"out of memory at step \d: it is taken again with at most [1-8] examples", said
    )
    assert limited["loss"] == pytest.approx(whole["loss"], rel=1e-6)


def test_limits_are_halved_until_one_example_and_few_logits_are_left() -> None:
    def example(length: int) -> Example:
        return Example(str(length), "", (0,) * length, (True,) * length, ((0, 0),) * length, 1)

    limits = halved(Limits(8, 1000, 50), [[example(100)] * 5, [example(40)] * 6], step=7)
    assert limits == Limits(3, 250, 50)
    alone = [[example(90)], [example(40)]]
    limits = halved(limits, alone, step=7)  # logits of one example can still be made in pieces
    assert limits == Limits(3, 250, 25)
    with pytest.raises(TrainingStopped, match="step 7 with one example of 90 tokens"):
        halved(limits, alone, step=7)
