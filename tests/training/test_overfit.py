"""A model trained on 32 problems until it knows them by heart says them whole, and then ends."""

from __future__ import annotations

import json

import torch

from mathtune import config
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.grading import grade
from mathtune.models.compute import Compute
from mathtune.models.train_tokenizer import train_tokenizer
from mathtune.problems.generate import generate
from mathtune.prompts import Renderer
from mathtune.records import Completion, StopReason
from mathtune.training.run import train
from models_for_tests import tiny_model

PROBLEMS = sorted(generate(200, seed=5), key=lambda p: len(p.question + p.answer))[:32]
TOKENIZER = train_tokenizer((f"{p.question}\n{p.answer}" for p in PROBLEMS), 1024)
RENDERER = Renderer(TOKENIZER, "qa")
EXAMPLES = [RENDERER.example(problem) for problem in PROBLEMS]
# Twice what the longest solution takes. Without stop strings nothing but EOS ends one before.
ROOM = 2 * max(len(example.ids) - example.prompt_tokens for example in EXAMPLES)
MAX_STEPS, EVAL_STEPS = 600, 25


def test_overfitted_problems_are_all_solved_and_training_and_solutions_end_by_themselves(tmp_path):
    model = tiny_model("llama", len(TOKENIZER), hidden_size=128, intermediate_size=256)
    recipe = config.load(
        "smollm2-135m-gsm8k",
        [
            f"train.max_steps={MAX_STEPS}", "train.per_device_train_batch_size=32",
            "train.learning_rate=4e-3", "train.lr_scheduler_type=constant_with_warmup",
            "train.warmup_steps=10", "train.logging_steps=5",
            "train.eval_strategy=steps", f"train.eval_steps={EVAL_STEPS}",
            "train.metric_for_best_model=eval_exact_match", "train.exact_match_samples=32",
            "train.early_stopping_patience=2",
        ],
    )  # fmt: skip
    result = train(
        recipe,
        model=model,
        tokenizer=TOKENIZER,
        compute=Compute("cpu", "CPU", torch.float32, False, "a test"),
        train_examples=EXAMPLES,
        validation_examples=EXAMPLES,
        run_dir=tmp_path,
        exact_match=lambda _: exact_match(solve(model)),
    )
    completions = solve(model)  # with the weights that were kept
    assert {completion.stop_reason for completion in completions} == {StopReason.EOS}
    assert exact_match(completions) == 1.0
    said = {completion.problem_id: completion.ids for completion in completions}
    assert said == {e.problem_id: e.ids[e.prompt_tokens :] for e in EXAMPLES}
    # Training ended where two more validations could not better 32 of 32.
    assert result.stopped == "early"
    assert result.steps == result.best_step + 2 * EVAL_STEPS < MAX_STEPS
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").open()]
    assert [line["loss"] for line in logged if "loss" in line][-1] < 0.01
    assert result.best_eval_loss < 0.05  # of the kept weights, on the same 32


def solve(model: torch.nn.Module) -> list[Completion]:
    model.eval()
    prompts = [RENDERER.prompt(problem.question, problem.id) for problem in PROBLEMS]
    done = list(HFEngine(model, TOKENIZER).generate(prompts, Decoding(max_new_tokens=ROOM)))
    model.train()
    return done


def exact_match(completions: list[Completion]) -> float:
    gold = {problem.id: problem.gold for problem in PROBLEMS}
    return sum(
        grade(c.text, gold[c.problem_id], finished=c.stop_reason is StopReason.EOS).correct
        for c in completions
    ) / len(PROBLEMS)
