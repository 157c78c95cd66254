"""FSDP2 and HSDP on four gloo ranks do what one process does, and any number of ranks goes on.

The training set has 17 problems and a step 8, so that in the last step of an epoch some ranks have
no example.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from command_for_tests import Started, jsonl, solved
from log_for_tests import logged
from mathtune import config, pipeline, preflight
from mathtune.config.schema import ModelConfig
from mathtune.errors import ConfigError
from mathtune.models.compute import Compute
from mathtune.models.loading import load_model
from mathtune.models.sharded import build_without_weights
from models_for_tests import saved_model
from ranks_for_tests import in_ranks, start_ranks

ROOT = Path(__file__).parents[2]
RECIPE = """
name: ranks
model: {name_or_path: llama-tied, dtype: float32}
data: {train: train.jsonl, validation: validation.jsonl, test: test.jsonl, contamination: report}
train: {max_steps: 6, max_length: 256, eval_strategy: steps, eval_steps: 2, logging_steps: 1,
  learning_rate: 5.0e-3, per_device_train_batch_size: 2, gradient_accumulation_steps: 4,
  micro_batch_tokens: 300, save_only_when_better: false, save_total_limit: 9}
eval: {max_new_tokens: 16}
"""
FOUR, TWO = "train.gradient_accumulation_steps=1", "train.gradient_accumulation_steps=2"
FSDP = "train.fsdp=full_shard"
HSDP = ("train.fsdp=hybrid_shard", "train.dp_shard_size=2")
CPU = Compute("cpu", "CPU", torch.float32, False, "as asked")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a recipe and models, all paths relative to it."""
    folder = tmp_path_factory.mktemp("fsdp")
    saved_model(folder / "llama-tied", "llama-tied")
    jsonl(folder / "train.jsonl", [solved(n, "pens " * (n % 5 + 1)) for n in range(1, 18)])
    jsonl(folder / "validation.jsonl", [solved(n, "cups") for n in range(1, 4)])
    jsonl(folder / "test.jsonl", [solved(n, "nuts") for n in range(1, 4)])
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


def in_one_process(place: Path, name: str, *overrides: str) -> Path:
    """Train in this process; return the run folder."""
    before = Path.cwd()
    os.chdir(place)
    try:
        with logged():
            pipeline.train(config.load("recipe.yaml", overrides), place / name)
    finally:
        os.chdir(before)
    return place / name


def train(place: Path, name: str, ranks: int, *overrides: str) -> tuple[Path, list[str]]:
    """Train on several ranks; return the run folder and what each rank said."""
    said = in_ranks(ranks, "train", "recipe.yaml", *overrides, "--run-dir", name, cwd=place)
    return place / name, said


def back_to(step: int, run: Path, name: str) -> Path:
    """Copy a run as it was when a checkpoint had been written."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "model")
    for folder in (copy / "checkpoints").iterdir():
        if int(folder.name.rpartition("-")[2]) > step:
            shutil.rmtree(folder)
    return copy


def losses(run: Path) -> dict[tuple[int, str], float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    keys = ("loss", "grad_norm", "eval_loss")
    return {(line["step"], key): line[key] for line in lines for key in keys if key in line}


def assert_same(one: Path, other: Path) -> None:
    """Losses and gradient norms of every step, and the weights that were kept."""
    ours, theirs = losses(one), losses(other)
    assert ours.keys() == theirs.keys() and len(ours) == 16
    for key in ours:
        assert math.isclose(ours[key], theirs[key], rel_tol=1e-4), (key, ours[key], theirs[key])
    (kept,), (found,) = ((run / "model").glob("*model.safetensors") for run in (one, other))
    a, b = load_file(kept), load_file(found)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def one(place: Path) -> Path:
    return in_one_process(place, "one")


@pytest.fixture(scope="module")
def four(place: Path) -> Path:
    """A run on four ranks, each with its share of weights, optimiser state and checkpoints."""
    return train(place, "four", 4, FSDP, FOUR)[0]


def test_fsdp2_reaches_the_losses_of_one_process(one: Path, four: Path) -> None:
    assert_same(one, four)
    manifest = json.loads((four / "manifest.json").read_text())
    assert manifest["training"]["parallelism"] == "FSDP2"
    checkpoint = four / "checkpoints/checkpoint-6"
    written = {path.name[:11] for path in (checkpoint / "sharded").glob("*.safetensors")}
    assert written == {f"shard-{rank:05d}" for rank in (1, 2, 3, 4)}
    assert not (checkpoint / "model.safetensors").exists()
    saved = load_model(ModelConfig(name_or_path=str(four / "model")), CPU)  # as anybody's
    assert type(saved).__name__ == "LlamaForCausalLM" and saved.config.tie_word_embeddings


@pytest.mark.parametrize(
    ("ranks", "how"), [(1, (FSDP, FOUR)), (2, (FSDP, FOUR)), (4, (*HSDP, FOUR))], ids=str
)
def test_a_sharded_checkpoint_goes_on_with_the_same_examples(
    place: Path, one: Path, four: Path, ranks: int, how: tuple[str, ...]
) -> None:
    """On one process, on half the ranks, and with HSDP on two groups of two."""
    run = back_to(2, four, f"on-{ranks}")
    if ranks == 1:
        in_one_process(place, run.name, *how)
    else:
        said = train(place, run.name, ranks, *how)[1]
        assert "continuing from checkpoint-2" in said[0]
        if ranks == 2:
            assert "2 processes would make steps of 4 problems" in said[0]
    assert_same(one, run)
    manifest = json.loads((run / "manifest.json").read_text())
    expected = {1: "none", 2: "FSDP2", 4: "HSDP"}[ranks]
    assert manifest["training"]["parallelism"] == expected


def test_lora_on_a_model_read_in_shares(place: Path) -> None:
    """The adapter begins with the same random numbers as on a model that is loaded whole."""
    lora = ("adapter.r=4",)
    alone = in_one_process(place, "lora-one", *lora)
    two, said = train(place, "lora-two", 2, FSDP, TWO, *lora)
    assert "loads the whole model" not in said[0]
    assert_same(alone, two)


def test_a_rank_killed_while_a_checkpoint_is_written(place: Path, one: Path) -> None:
    """Rank 0 dies after all shares of checkpoint 4 are on the disk, before it has its name."""
    kill = (
        "import os\nfrom mathtune.training.checkpointing import checkpoint\n"
        "seal = checkpoint.seal\ndef killed(folder):\n"
        "    seal(folder) if folder.name != 'checkpoint-4' else os.kill(os.getpid(), 9)\n"
        "checkpoint.seal = killed"
    )
    started = start_ranks(
        2, "train", "recipe.yaml", FSDP, TWO, "--run-dir", "killed", cwd=place, before=kill
    )
    texts = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [-9, 1], texts
    assert "another rank is gone" in texts[1]
    assert (place / "killed/checkpoints/staging/checkpoint-4/sharded").is_dir()
    _, said = train(place, "killed", 2, FSDP, TWO)
    assert "continuing from checkpoint-2" in said[0]
    assert_same(one, place / "killed")


def test_a_full_disk_while_training_goes_on(place: Path) -> None:
    """A file limit stands in for the disk; the shares are the only large files."""
    limit = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (90_000, 90_000))"
    )
    started = start_ranks(
        2, "train", "recipe.yaml", FSDP, TWO, "--run-dir", "full", cwd=place, before=limit
    )
    texts = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [2, 2], texts
    assert texts[0].count("could not save to") == 1 and "File too large" in texts[0]
    assert "could not save" not in texts[1]
    assert not list((place / "full/checkpoints").iterdir())


LATE_FAULT = ("train.overlong=error", "train.max_length=20", "--run-dir", "faulty")


def reports_of(started: Sequence[Started]) -> list[int]:
    """Return how often each rank reports a fault that all find after they have met."""
    texts = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [2, 2], texts
    return [text.count("longer than train.max_length=20") for text in texts]


def test_a_fault_is_reported_once_and_by_no_restart(place: Path) -> None:
    """torchrun's store, which outlives its workers, here without torchrun's own two imports."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    for restart in (0, 1):
        agent = {
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_MAX_RESTARTS": "1",
            "TORCHELASTIC_RESTART_COUNT": str(restart),
        }
        started = start_ranks(
            2, "train", "recipe.yaml", *LATE_FAULT, cwd=place, port=store.port, **agent
        )
        assert sum(reports_of(started)) == 1 - restart


def test_a_fault_is_reported_by_rank_0_alone_where_the_launcher_has_no_store(place: Path) -> None:
    started = start_ranks(2, "train", "recipe.yaml", *LATE_FAULT, cwd=place)
    assert reports_of(started) == [1, 0]


def test_memory_of_a_rank_stays_near_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading, saving and resuming; ``benchmarks/sharded_checkpoints.py`` with a small model."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.delitem(sys.modules, "shapes", raising=False)
    from sharded_checkpoints import measure

    found = measure(2, 64)
    assert found.keys() == {"load", "save", "resume", "model"}
    for phase, result in found.items():
        assert result["times_share"] < 1.3, (phase, result)


def test_a_model_that_pytorch_cannot_divide_is_refused(place: Path) -> None:
    """BERT's output layer shares its bias with a module that is divided on its own."""
    saved_model(place / "bert", "bert")
    started = start_ranks(
        2, "train", "recipe.yaml", FSDP, "model=bert", "--run-dir", "bert-run", cwd=place
    )
    texts = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [2, 2], texts
    assert "mathtune: FSDP2 cannot divide this bert model: " in texts[0]
    assert "Traceback" not in "".join(texts)


@pytest.mark.parametrize(
    ("ranks", "overrides", "fault"),
    [
        (3, HSDP, "3 processes cannot be divided into groups of 2; set train.dp_shard_size"),
        (4, ("train.fsdp=hybrid_shard", "train.dp_shard_size=1"), "nothing would be shared"),
        (1, (FSDP, "train.dp_shard_size=2"), "train.dp_shard_size=2 without train.fsdp=hybrid"),
        (1, (FSDP, "train.exact_match_samples=3"), "train.exact_match_samples=3 under FSDP"),
        (1, (FSDP, "train.optim=adamw_8bit"), "train.optim=adamw_8bit under FSDP"),
        (1, (FSDP, "train.optim=adafactor"), "train.optim=adafactor under FSDP"),
        (1, (FSDP, "adapter.r=4", "model.load_in_4bit=true"), "load_in_4bit=true under FSDP"),
        (1, (FSDP, "train.objective=grpo"), "train.objective=grpo under FSDP"),
    ],
)
def test_what_cannot_be_sharded_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, overrides: tuple[str, ...], fault: str
) -> None:
    """Also by the one process that launches the others."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("WORLD_SIZE", str(ranks))
    with pytest.raises(ConfigError, match=fault):
        preflight.load("recipe.yaml", overrides, None, preflight.Purpose.TRAIN)


def test_what_a_model_without_weights_is_built_from(tmp_path: Path) -> None:
    saved_model(tmp_path / "llama", "llama-tied")
    config_of = ModelConfig(name_or_path=str(tmp_path / "llama"))
    model = build_without_weights(config_of, CPU)
    whole = load_model(config_of, CPU)
    assert all(weight.is_meta for weight in model.parameters())
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.generation_config.to_dict() == whole.generation_config.to_dict()
    assert model.config.to_dict() == whole.config.to_dict()
    assert {name: each.dtype for name, each in model.named_parameters()} == {
        name: each.dtype for name, each in whole.named_parameters()
    }
    for name, buffer in whole.named_buffers():
        assert torch.equal(buffer, model.get_buffer(name))

    saved_model(tmp_path / "mixtral", "mixtral")  # its experts are fused as they are loaded
    with logged() as said:
        assert (
            build_without_weights(ModelConfig(name_or_path=str(tmp_path / "mixtral")), CPU) is None
        )
    assert "each process loads the whole model before it is divided" in said.getvalue()
