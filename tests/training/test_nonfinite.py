"""A planted inf stops training with the problems named, or is left out as if it was not there."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from log_for_tests import logged
from mathtune import config
from mathtune.errors import TrainingStopped
from mathtune.models.compute import Compute
from mathtune.prompts import Renderer
from mathtune.records import Example, Problem, content_id
from mathtune.training.nonfinite import MOST_IN_A_ROW
from mathtune.training.onednn_linears import onednn_linears
from mathtune.training.run import TrainingResult, train
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
FLOAT32 = Compute("cpu", "CPU", torch.float32, False, "a test")
POISON = "§"  # its token occurs in one question only


def example(question: str, answer: str) -> Example:
    return Renderer(TOKENIZER, "qa").example(
        Problem(content_id(question, answer), question, answer, "1")
    )


CLEAN = [example(f"What is {n}?", f"It is {n}. #### {n}") for n in range(10, 18)]
POISONED = example(f"What is {POISON}?", "It is 5. #### 5")
TOKEN = max(set(POISONED.ids) - {token for clean in CLEAN for token in clean.ids})


def poisoned_model(kind: str) -> torch.nn.Module:
    """Make a model that goes wrong on the poisoned problem and on no other."""
    model = tiny_model("llama", len(TOKENIZER))
    embedding = model.get_input_embeddings()
    if kind == "loss":
        with torch.no_grad():
            embedding.weight[TOKEN] = float("inf")
    else:  # the forward pass is fine, and the gradient of one parameter is not

        def spoil(module, args, output):
            if (args[0] == TOKEN).any():
                output.register_hook(lambda gradient: gradient * float("nan"))

        embedding.register_forward_hook(spoil)
    return model


def run(
    folder: Path,
    examples: Sequence[Example],
    model: torch.nn.Module,
    *overrides: str,
    validation: Sequence[Example] = CLEAN[:3],
) -> tuple[TrainingResult, list[dict], str]:
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [
            "train.num_train_epochs=3", "train.learning_rate=1e-3", "train.logging_steps=3",
            "train.per_device_train_batch_size=1", "train.gradient_accumulation_steps=1",
            "train.lr_scheduler_type=constant", "train.warmup_steps=0", *overrides,
        ],
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    with logged() as said:
        result = train(
            recipe,
            model=model,
            tokenizer=TOKENIZER,
            compute=FLOAT32,
            train_examples=examples,
            validation_examples=validation,
            run_dir=folder,
        )
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    return result, metrics, said.getvalue()


@pytest.mark.parametrize("norm", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_training_stops_and_names_the_problem(tmp_path, kind, norm):
    with pytest.raises(TrainingStopped, match=f"{kind} is not finite at step .* on problems") as e:
        run(tmp_path / "r", [*CLEAN, POISONED], poisoned_model(kind), f"train.max_grad_norm={norm}")
    assert POISONED.problem_id in str(e.value)
    assert not any(clean.problem_id in str(e.value) for clean in CLEAN)


@pytest.mark.parametrize("optim", ["adamw_torch", "adamw_bnb_8bit"])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_left_out_step_moves_nothing_and_is_counted(tmp_path, kind, optim):
    """Weights, moments and means are bit for bit those of a run whose steps never met it."""
    settings = ("train.non_finite=skip", "train.weight_decay=0.1", f"train.optim={optim}")
    model = poisoned_model(kind)
    result, metrics, said = run(tmp_path / "r", [*CLEAN, POISONED], model, *settings)
    assert result.steps == 27
    assert result.skipped_steps == 3
    assert said.count("skipped: the " + kind) == 3
    assert said.count(POISONED.problem_id) == 3
    assert sum(line.get("skipped_steps", 0) for line in metrics) == 3
    skipped = [int(step) for step in re.findall(r"^step (\d+) skipped", said, re.MULTILINE)]

    order = recorded_order(tmp_path / "order", [*CLEAN, POISONED])
    clean_model = poisoned_model(kind)
    with onednn_linears(clean_model):
        losses, norms = by_hand(clean_model, order, skipped, optim)
    assert result.best_step == 27  # the model is as the last step left it
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, clean_model.state_dict()[name]), name
    lines = [line for line in metrics if "learning_rate" in line]
    assert len(lines) == 9
    for line in lines:
        steps = range(line["step"] - 2, line["step"] + 1)
        window = [losses[step] for step in steps if step in losses]
        assert math.isclose(line["loss"], sum(window) / len(window), rel_tol=1e-6)
        assert ("grad_norm" in line) == (line["step"] not in skipped)
        if "grad_norm" in line:
            assert math.isclose(line["grad_norm"], norms[line["step"]], rel_tol=1e-6)


def recorded_order(folder: Path, examples: Sequence[Example]) -> list[Example]:
    """Return the examples in the order in which a run of this seed meets them."""
    model = tiny_model("llama", len(TOKENIZER))
    by_ids = {e.ids[:-1]: e for e in examples}
    met: list[Example] = []

    def watch(module, args, output):
        if model.training:
            met.append(by_ids[tuple(args[0][0].tolist())])

    model.get_input_embeddings().register_forward_hook(watch)
    run(folder, examples, model)
    return met


def by_hand(
    model: torch.nn.Module, order: list[Example], skipped: list[int], optim: str
) -> tuple[dict[int, float], dict[int, float]]:
    """Train in a plain loop that has no poisoned step; return losses and norms by step."""
    import bitsandbytes

    from mathtune.training.batching.micro_batches import collate, supervised_count
    from mathtune.training.loss.supervised import summed_loss

    kind = torch.optim.AdamW if optim == "adamw_torch" else bitsandbytes.optim.AdamW8bit
    decayed = [p for n, p in model.named_parameters() if "norm" not in n]
    others = [p for n, p in model.named_parameters() if "norm" in n]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = kind(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8)
    losses, norms = {}, {}
    model.train()
    for step, met in enumerate(order, 1):
        if step in skipped:
            continue
        loss = summed_loss(model, collate([met])) / supervised_count([met])
        loss.backward()
        losses[step] = loss.item()
        norms[step] = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
        optimizer.step()
        optimizer.zero_grad()
    return losses, norms


def test_many_left_out_in_a_row_stop_training(tmp_path):
    poisoned = [example(f"{POISON} and {n}?", f"It is {n}. #### {n}") for n in range(10, 40)]
    with pytest.raises(TrainingStopped, match=f"{MOST_IN_A_ROW} steps in a row were skipped"):
        run(tmp_path / "r", poisoned, poisoned_model("loss"), "train.non_finite=skip")


def test_counts_survive_a_restart(tmp_path):
    """Continued from the checkpoint of a left-out step: as a run that was not interrupted."""
    settings = ("train.non_finite=skip", "train.save_steps=1", "train.save_total_limit=40")
    examples = [*CLEAN, POISONED]
    whole, metrics, said = run(tmp_path / "whole", examples, poisoned_model("loss"), *settings)
    checkpoints = list((tmp_path / "whole" / "checkpoints").iterdir())
    for cut in map(int, re.findall(r"^step (\d+) skipped", said, re.MULTILINE)[:2]):
        part = tmp_path / f"part{cut}"
        (part / "checkpoints").mkdir(parents=True)
        (part / "metrics.jsonl").write_text((tmp_path / "whole" / "metrics.jsonl").read_text())
        for folder in checkpoints:
            if int(folder.name.partition("-")[2]) <= cut:
                shutil.copytree(folder, part / "checkpoints" / folder.name)
        result, again, _ = run(part, examples, poisoned_model("loss"), *settings)
        assert result.skipped_steps == whole.skipped_steps == 3
        assert stable(again) == stable(metrics)
        one, two = (p / "model" / "model.safetensors" for p in (part, tmp_path / "whole"))
        assert one.read_bytes() == two.read_bytes()


def stable(metrics: list[dict]) -> list[dict]:
    from mathtune.training.callbacks import VOLATILE_KEYS

    return [{k: v for k, v in line.items() if k not in VOLATILE_KEYS} for line in metrics]


def test_validation_that_is_never_finite_leaves_no_model(tmp_path):
    with pytest.raises(TrainingStopped, match="no validation gave a finite eval_loss"):
        run(tmp_path / "r", CLEAN, poisoned_model("loss"), validation=[POISONED])
    assert not (tmp_path / "r" / "model").exists()
    with pytest.raises(TrainingStopped, match="no validation gave a finite eval_loss"):  # nor again
        run(tmp_path / "r", CLEAN, poisoned_model("loss"), validation=[POISONED])
