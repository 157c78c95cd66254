"""``mathtune plan``: the published counts, what fits, what would help, and clear refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from command_for_tests import faults_of, jsonl, mathtune, solved
from mathtune import stages
from mathtune.cli.commands.plan import shown
from mathtune.planning.facts import facts_of
from mathtune.planning.gpu_specs import find_gpu, parse_bytes
from mathtune.planning.memory_trace import Use
from mathtune.planning.plan import TrainingPlan
from mathtune.preflight import Purpose, load

GB = 2**30


@pytest.fixture
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [solved(number) for number in range(2, 42)]
    return jsonl(tmp_path_factory.mktemp("data") / "problems.jsonl", rows)


def plan(
    recipe: str, *overrides: str, memory: int | None = None, **options: object
) -> TrainingPlan:
    """Plan in this process, as the command does, in a list of what it says."""

    def changed(further: object) -> object:
        return load(recipe, [*overrides, *further], None, Purpose.PLAN)  # type: ignore[misc]

    given = {"device": "RTX 4090", "devices": 1, **options}
    return stages.plan(
        changed(()),
        memory=memory,
        changed=changed,
        **given,  # type: ignore[arg-type]
    )


def text_of(found: TrainingPlan) -> str:
    console = Console(file=io.StringIO(), width=160)
    for part in shown(facts_of(found)):
        console.print(part, soft_wrap=True)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_gemma_2b_orca_without_network_weights_or_data(tmp_path: Path) -> None:
    command = ["plan", "gemma-2b-orca", "--memory", "24GB", "--device", "RTX 4090", "--json"]
    done = mathtune(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    counts = facts["parameters"]
    assert counts["trainable"] == 9_805_824
    assert counts["total"] - counts["trainable"] == 2_506_172_416
    assert f"{counts['trainable_share']:.2%}" == "0.39%"
    assert f"{counts['trainable_share_packed']:.2%}" == "0.64%"
    assert facts["fits"] and facts["remedies"] == []
    assert facts["memory"]["peak"] == sum(facts["memory"]["bytes"].values())
    # NF4 weights of half a byte, the embedding in bf16, the adapter in float32.
    four_bit = (counts["total"] - counts["total_packed"]) * 2
    rest = counts["total"] - four_bit - counts["trainable"]
    weights = 0.5 * four_bit + four_bit / 64 + 2 * rest + 4 * counts["trainable"]
    assert facts["memory"]["bytes"]["weights"] == pytest.approx(weights, rel=0.01)
    assert (facts["work"]["steps"], facts["work"]["examples"]) == (500, 2000)
    assert facts["assumptions"][0].startswith("orca-math is not on this machine")
    assert not any(tmp_path.iterdir())


def test_llama_2_7b_trains_every_parameter_and_shards() -> None:
    found = plan("llama-2-7b-gsm8k", memory=200 * GB, device="A100 80GB", devices=8)
    assert "trains all 6,738,415,616 parameters (6.74 B)" in text_of(found)
    tensors = found.estimate.memory.by_use
    assert tensors[Use.WEIGHTS] == pytest.approx(4 * 6_738_415_616, rel=0.001)
    assert tensors[Use.OPTIMIZER] >= 8 * 6_738_415_616
    assert found.estimate.buckets == 4 * 6_738_415_616
    assert found.fits and found.spread
    ways = {each.name: each for each in found.spread.layouts}
    assert list(ways) == ["DDP", "FSDP2", "ZeRO-3"]
    assert ways["DDP"].peak == found.estimate.peak
    assert ways["FSDP2"].peak < found.estimate.peak / 3


def test_what_is_here_is_counted_and_each_remedy_helps(problems: Path) -> None:
    given = [f"data.train={problems}", "train.num_train_epochs=2", "data.validation_fraction=0.2"]
    one = plan("tiny-gsm8k", *given)
    work = one.estimate.work
    assert one.assumptions == ()
    assert one.fits and 2 * 24 <= work.examples <= 2 * 38
    assert work.steps == -(-work.examples // 2 // 16) * 2
    assert 30 * work.examples < work.tokens < 120 * work.examples
    needed = one.estimate.peak
    tight = plan("tiny-gsm8k", *given, memory=needed - 2**20)
    assert not tight.fits and tight.remedies
    assert all(remedy.peak < needed for remedy in tight.remedies)
    first = tight.remedies[0]
    assert first.change == "train.gradient_checkpointing=true"
    assert plan("tiny-gsm8k", *given, first.change).estimate.peak == first.peak


def test_longer_training_takes_longer_and_a_slow_card_computes_slowly(problems: Path) -> None:
    short, long, slow = (
        plan("demo", f"data.train={problems}", f"train.num_train_epochs={epochs}", device=device)
        for epochs, device in ((1, "RTX 4090"), (4, "RTX 4090"), (4, "T4"))
    )
    assert short.seconds and long.seconds and short.seconds == tuple(sorted(short.seconds))
    assert long.seconds[1] == pytest.approx(4 * short.seconds[1], rel=0.01)
    assert long.rate == 165.2e12 and long.estimate.compute.dtype is torch.bfloat16
    assert slow.rate == 8.1e12 and slow.estimate.compute.dtype is torch.float32  # bf16 is emulated


def test_memory_alone_suffices_and_the_cpu_is_measured(problems: Path) -> None:
    bare = plan("demo", f"data.train={problems}", memory=8 * GB, device=None)
    assert bare.fits and bare.seconds is None and "--device" in text_of(bare)
    cpu = plan("demo", f"data.train={problems}", device="cpu")
    assert cpu.device.measured and cpu.budget and cpu.rate and cpu.rate > 1e9


@pytest.mark.parametrize("name", ["RTX 4090", "rtx4090", "4090", "NVIDIA GeForce RTX 4090"])
def test_a_card_is_found_however_it_is_written(name: str) -> None:
    assert find_gpu(name).name == "RTX 4090"


def test_sizes_are_powers_of_1024() -> None:
    assert parse_bytes("24GB") == parse_bytes(" 24 gib") == parse_bytes("24g") == 24 * GB
    assert parse_bytes("1.5T") == 1536 * GB


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--device", "RTX 4091"], "--device=RTX 4091 is not in the list; did you mean"),
        (
            ["demo", "--memory", "24XB"],
            "--memory=24XB is not a memory size; use for example 24GB or 512MB",
        ),
        (["demmo"], "no recipe is called 'demmo'"),
        (["demo", "train.optim=adamw_trch"], "train.optim=adamw_trch is unknown"),
    ],
)
def test_wrong_use_is_told_in_a_sentence(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    fault, *_ = faults_of(mathtune("plan", *arguments, cwd=tmp_path))
    assert fault[: len(message)] == message


def test_a_folder_with_a_configuration_and_nothing_else_is_planned(
    tmp_path: Path, problems: Path
) -> None:
    values = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "vocab_size": 99}
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 1024}
    (tmp_path / "config.json").write_text(json.dumps({**values, **sizes}))
    found = plan("demo", f"model={tmp_path}", "adapter=null", f"data.train={problems}")
    per_layer = 4 * 64 * 64 + 3 * 64 * 128 + 2 * 64
    assert found.estimate.memory.parameters.total == 2 * 99 * 64 + 2 * per_layer + 64
    assert any("tokenizer is not on this machine" in text for text in found.assumptions)


def test_several_machines_have_a_row_for_each_way_to_train(problems: Path) -> None:
    given = [f"data.train={problems}"]
    found = plan("demo", *given, device="A100 80GB", devices=16, nodes=2)
    said = text_of(found)
    assert "2 machines with 8 devices each" in said and "HSDP" in said
    assert "machines send each other 1,600 Gbit/s" in said
    ways = {each["name"]: each for each in facts_of(found)["cluster"]["layouts"]}
    assert ways["DDP"]["bytes_a_step"] == pytest.approx(
        2 * 15 / 16 * 4 * found.estimate.memory.parameters.trainable, abs=1
    )
    slow = plan("demo", *given, device="A100 80GB", devices=16, nodes=2, network=1e9)
    fast, slow = (  # seconds: best, usual, worst
        next(each.communicating for each in way.spread.layouts if each.name == "DDP")
        for way in (found, slow)
    )
    assert slow[1] / fast[1] == pytest.approx(200e9 / 1e9)
    card = plan("demo", *given, device="RTX 4090", devices=4, nodes=2)
    assert "machines send each other 100 Gbit/s" in text_of(card)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--devices", "8", "--nodes", "2"], "--devices is for one machine"),
        (["--network", "100"], "--network is between machines"),
    ],
)
def test_options_of_several_machines_that_contradict(
    options: list[str], message: str, tmp_path: Path
) -> None:
    done = mathtune("plan", "demo", *options, cwd=tmp_path)
    assert done.returncode == 2 and message in done.stderr
