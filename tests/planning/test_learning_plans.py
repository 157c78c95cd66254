"""Plans of trainings on own answers and on pairs: what is sampled, how long, and the steps."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mathtune import problems, stages
from mathtune.cli.commands.plan import shown
from mathtune.config import load
from mathtune.evaluation.evaluate import evaluate
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.models.loading import ParameterCounts
from mathtune.planning.facts import facts_of
from mathtune.planning.learning_work import Teacher
from mathtune.planning.memory_trace import Use
from mathtune.planning.peak_memory import MemoryPlan
from mathtune.planning.sampling import DEAD_GROUPS, KEPT
from mathtune.planning.workload import Workload
from mathtune.preflight import planner
from mathtune.records import Example, ProblemSet, Prompt
from mathtune.text.counts import percent
from mathtune.training.batching.micro_batches import Limits

SOURCE = "data.train=[{generated: problems, types: [share_equally], n: 40, seed: 5}]"


def facts(recipe: str, *overrides: str, device: str = "cpu", devices: int = 1) -> dict[str, Any]:
    changed = planner(recipe, [SOURCE, *overrides])
    found = stages.plan(changed(()), device=device, memory=None, devices=devices, changed=changed)
    made = facts_of(found)
    made["text"] = " ".join(part for part in shown(made) if isinstance(part, str))
    return made


def test_policy_gradient_samples_groups_refills_them_and_trains_on_all_answers() -> None:
    knobs = ["train.max_steps=6", "train.per_device_train_batch_size=4", "grpo.num_generations=8"]
    plan = facts("grpo-demo", *knobs, "grpo.max_refills=0", "eval.max_new_tokens=100")
    work, sampling = plan["work"], plan["sampling"]
    assert (work["steps"], work["examples"], work["unit"]) == (6, 6 * 4 * 8, "answer")
    assert sampling["answers_a_device"] == 6 * 32 and sampling["rows"] == 32
    each = sampling["tokens_a_device"] / (6 * 32)
    assert 30 < each < 100  # as the solutions
    assert sampling["prompt_tokens_a_device"] < 6 * 4 * 100
    # Of a text, the last token is only a target.
    assert work["tokens_a_device"] == pytest.approx(
        6 * 32 * (each - 1 + sampling["prompt_tokens_a_device"] / 24), rel=0.05
    )
    # All answers of a round are decoded at once, so its steps are those of the longest.
    assert sampling["decode_steps"]["worst"] == 6 * 100
    assert "sampling 192 answers (" in plan["text"] and "32 answers at a time" in plan["text"]
    times = sampling["seconds"]
    assert 0 < times["best"] < times["usual"] < times["worst"]
    assert plan["memory"]["sampling_peak"] > sampling["cache_bytes"] > 0

    refilled = facts("grpo-demo", *knobs, "grpo.max_refills=1")
    assert refilled["sampling"]["answers_a_device"] == round(6 * 32 * (1 + DEAD_GROUPS))
    assert any("grpo.max_refills=1" in text for text in refilled["assumptions"])
    twice = facts("grpo-demo", *knobs, "grpo.max_refills=0", "grpo.num_iterations=2")
    assert twice["sampling"]["answers_a_device"] == 3 * 32  # each batch is used for two steps


def test_rounds_of_rejection_sampling_and_their_trainings() -> None:
    knobs = ["rft.rounds=2", "rft.samples=8", "train.num_train_epochs=3"]
    plan = facts("rft-demo", *knobs)
    assert plan["sampling"]["answers_a_device"] == 2 * 40 * 8
    assert plan["work"]["examples"] == 3 * (40 * 8 * KEPT + 40 * 16 * KEPT)
    assert any(f"{percent(KEPT)} of the samples" in text for text in plan["assumptions"])
    once = facts("rft-demo", "rft.rounds=1", "rft.samples=8")
    for key in ("seconds", "sampling"):
        assert once[key] is not None
    ratio = plan["sampling"]["seconds"]["usual"] / once["sampling"]["seconds"]["usual"]
    assert ratio == pytest.approx(2, rel=0.1)
    assert facts("rft-demo", *knobs, devices=2)["sampling"]["answers_a_device"] == 2 * 20 * 8


def test_a_gpu_decodes_more_rows_and_without_one_no_time_is_given() -> None:
    knobs = ["train.per_device_train_batch_size=64", "train.max_steps=6"]
    card = facts("grpo-demo", *knobs, device="RTX 4090")
    assert card["sampling"]["rows"] == 256
    assert facts("grpo-demo", *knobs)["sampling"]["rows"] == 64
    changed = planner("grpo-demo", [SOURCE])
    bare = facts_of(stages.plan(changed(()), device=None, memory=2**33, devices=1, changed=changed))
    assert bare["sampling"]["seconds"] is None
    assert "--device" in " ".join(part for part in shown(bare) if isinstance(part, str))


def test_pairs_are_counted_in_the_sample_file(tmp_path: Path) -> None:
    (first, second, *_), _ = problems.local_training(load("demo", [SOURCE]).data)
    answers = {first.id: f"#### {first.gold} ~ #### 0 ~ #### -1", second.id: f"#### {second.gold}"}
    path = tmp_path / "samples.jsonl"
    evaluate(
        ScriptedEngine({name: text.split(" ~ ") for name, text in answers.items()}),
        ProblemSet("sampled", (first, second)),
        lambda problem: Prompt(problem.id, problem.question, (1,)),
        Decoding(samples=4, temperature=1.0),
        path=path,
        style="qa",
    )
    knobs = [
        "train.objective=dpo", f"dpo.samples={path}", "dpo.max_pairs=2", "train.num_train_epochs=4",
        "train.metric_for_best_model=eval_exact_match", "train.exact_match_samples=4",
        "train.per_device_train_batch_size=1",
    ]  # fmt: skip
    plan = facts("demo", *knobs)
    # Two pairs of the first problem; the second has no wrong answer.
    assert (plan["work"]["steps"], plan["work"]["examples"]) == (8, 2 * 2 * 4)
    assert plan["sampling"] is None
    assert any(
        "both answers of all 2 pairs were before training is computed once, which on one device "
        "takes as long as 1 step" in each
        for each in plan["assumptions"]
    )


def test_a_teacher_adds_weights_logits_and_a_forward_pass() -> None:
    knobs = ["train.max_steps=3", "train.per_device_train_batch_size=4", "eval.max_new_tokens=100"]
    teacher = "gkd.teacher_model_name_or_path=tiny-base"
    plan = facts("distill-demo", *knobs, teacher, "gkd.num_generations=2")
    alone = facts(
        "distill-demo", *knobs, "gkd.teacher_model_name_or_path=", "train.objective=grpo",
        "grpo.num_generations=2", "grpo.max_refills=0",
    )  # fmt: skip
    assert plan["work"]["examples"] == 3 * 4 * 2 and plan["work"]["unit"] == "answer"
    assert plan["sampling"]["answers_a_device"] == 3 * 4 * 2
    assert plan["sampling"]["decode_steps"] == alone["sampling"]["decode_steps"]
    # The toy as its own teacher: 3,426,560 parameters of four bytes.
    sizes, parameters = plan["memory"]["bytes"], 3_426_560
    assert sizes["teacher"] == pytest.approx(4 * parameters, rel=1e-3)
    sampling, without = (
        each["memory"]["sampling_peak"] - each["memory"]["bytes"]["overhead"]
        for each in (plan, alone)
    )
    assert sampling - without == sizes["teacher"]
    more = plan["work"]["flops_a_device"] - alone["work"]["flops_a_device"]
    assert more == pytest.approx(2 * parameters * plan["work"]["tokens_a_device"], rel=1e-6)


@pytest.mark.parametrize(("alive", "added"), [(10_000, 2 * 3 * 400), (1000, 1000), (0, 0)])
def test_a_teachers_logits_are_alive_where_the_models_are(alive: int, added: int) -> None:
    text = Example("a", (1,) * 5, (False, False, True, True, True), 2)
    work = Workload(1, 2, 10, 1, ((text, text),), accumulates=False)
    counts = ParameterCounts(100, 100, 100)
    held = Counter({Use.LOGITS: alive, Use.WEIGHTS: 7})
    memory = MemoryPlan(held, "backward", 0, 600.0, 30, counts)
    plan = Teacher(5000, 50, 400, 4).added_to(memory, work, Limits(9, 99, 99), layers=2)
    assert plan.by_use == +Counter({Use.LOGITS: alive + added, Use.WEIGHTS: 7, Use.TEACHER: 5000})
    assert (plan.flops_per_token, plan.kernels) == (700.0, 50)


def test_a_training_on_solutions_samples_nothing() -> None:
    plan = facts("demo", "train.max_steps=5")
    assert plan["sampling"] is None and plan["memory"]["sampling_peak"] is None
    assert plan["work"]["unit"] == "example" and "sampling" not in plan["text"]
