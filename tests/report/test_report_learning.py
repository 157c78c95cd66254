"""The report of a training on own answers: its curves, and the rounds of rejection sampling."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from report_run_folder import build

from mathtune.report import build_card, charts, curves, read
from mathtune.report.choices import choices_of
from mathtune.report.html import build_html
from mathtune.report.rounds import rounds_of
from mathtune.report.training_facts import best_checkpoint, training_facts
from mathtune.run_paths import RunPaths

SAMPLED = {
    "reward": 0.25, "solved_problems": 0.5, "dead_groups": 0.4, "completion_length": 71.5,
    "truncated": 0.02, "entropy": 0.07, "logprob_gap": 6e-8, "format_reward": 0.9,
    "clip_ratio": 0.01, "kl": 0.002,
}  # fmt: skip
PREFERRED = {
    "reward_margin": 0.4, "reward_accuracy": 0.8, "reward_chosen": 0.1, "reward_rejected": -0.3
}  # fmt: skip
ROUNDS = [
    {
        "round": 1, "pass_rate": {"value": 0.25}, "samples": 800, "kept": 150, "gold": 0,
        "solved": {"never": 90, "sometimes": 80, "always": 30}, "problems": 200,
        "problems_with_a_sample_kept": 100,
        "dropped": {"same <b>text</b>": 50, "wrong answer": 600},
    },
    {"round": 2, "samples": 1600, "kept": 420},  # as an earlier version wrote it
]  # fmt: skip


def learning_folder(folder: Path) -> Path:
    """Write a run folder with the curves of every objective, and two rounds."""
    build(folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").open()]
    for line in lines:
        if "loss" in line:
            moved = 1 + line["step"] / 600
            line |= {key: value * moved for key, value in {**SAMPLED, **PREFERRED}.items()}
        else:
            line["eval_exact_match"] = 0.3 + line["step"] / 1000
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"rft": ROUNDS}))
    return folder


def test_every_figure_of_learning_has_a_chart(tmp_path: Path) -> None:
    run = read(learning_folder(tmp_path))
    made = {chart.title: str(chart.picture) for chart in curves.learning_charts(run)}
    drawn = " ".join(made.values())
    for key, value in {**SAMPLED, **PREFERRED}.items():
        last = charts.wording.significant(value * 1.5)
        assert f"to {last} at step 300" in drawn, key
    tree = ElementTree.fromstring(made["Right answers while sampling"])
    assert [e.text for e in tree.iter("text") if e.get("class") == "legend"] == [
        "answers", "problems",
    ]  # fmt: skip
    assert "Validation exact match" in {chart.title for chart in curves.training_charts(run)}
    page = build_html(run)
    assert page.count("<figure>") == 5 + len(made)
    assert "Learning from graded answers" in page


CHOSEN_BY_EXACT_MATCH = {
    "grpo": {"num_generations": 8, "beta": 0.04},
    "gkd": {"num_generations": 1, "teacher_model_name_or_path": "some/<i>teacher</i>"},
    "dpo": {"beta": 0.1, "rpo_alpha": 1.0},
    "sft": {},
}
LOSS_ON = {
    "grpo": (
        "own sampled answers, 8 per problem, each weighted by its reward against its group’s "
        "(policy gradient), plus 0.04 × KL divergence from the model before training"
    ),
    "gkd": (
        "own sampled answers, 1 per problem: KL divergence from the teacher some/<i>teacher</i> "
        "at each token"
    ),
    "dpo": (
        "pairs of a right and a wrong answer (DPO, beta 0.1), plus 1 × negative log-likelihood of "
        "the right one"
    ),
    "sft": "own right answers and published solutions",
}


@pytest.mark.parametrize("objective", CHOSEN_BY_EXACT_MATCH)
def test_page_and_card_say_what_the_loss_was_on_and_what_chose_the_weights(
    tmp_path: Path, objective: str
) -> None:
    folder = learning_folder(tmp_path)
    recipe = yaml.safe_load((folder / "recipe.yaml").read_text())
    recipe[objective] = CHOSEN_BY_EXACT_MATCH[objective]
    recipe["train"] |= {"objective": objective, "metric_for_best_model": "eval_exact_match"}
    recipe |= {"rft": {"rounds": 2}, "select": {"gold": True}} if objective == "sft" else {}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run = read(folder)
    page, card = html.unescape(build_html(run)), html.unescape(build_card(run))
    assert ("Two quantities: training is" in page) == (objective != "sft")
    # At step 250 the folder has a validation loss of 0.4738 and exact match of 0.3 + 250 / 1000.
    best = "step 250, chosen by validation exact match: 55.0\xa0%; validation loss 0.4738"
    for text in (LOSS_ON[objective], best):
        assert f"<dd>{text}</dd>" in page, text
        assert f":** {' '.join(text.split())}\n" in card, text


def test_a_training_on_solutions_is_described_as_one(tmp_path: Path) -> None:
    facts = {fact.term: fact.text for fact in training_facts(read(build(tmp_path)))}
    assert facts["Loss on"] == "solutions only"
    assert facts["Best checkpoint"] == "step 250, chosen by validation loss: 0.4738"
    assert "Own answers, round 1" not in facts
    only_one = best_checkpoint({"best_step": 9, "best_eval_loss": 0.5}, [], {"eval_strategy": "no"})
    assert only_one == "step 9, the last; validation loss 0.5"
    rounds = {
        fact.term: fact.text for fact in training_facts(read(learning_folder(tmp_path / "rounds")))
    }
    assert rounds["Own answers, round 1"] == "150 of 800 samples kept, from 100 of 200 problems"
    assert rounds["Best checkpoint"].endswith("0.4738; validation exact match 55.0\xa0%")


def test_a_training_on_solutions_has_no_such_section(tmp_path: Path) -> None:
    run = read(build(tmp_path))
    assert not curves.learning_charts(run) and not rounds_of(run)
    page = build_html(run)
    assert "Learning from graded answers" not in page and "Rounds of own answers" not in page


def test_rounds_show_the_pass_rate_map_and_every_drop(tmp_path: Path) -> None:
    run = read(learning_folder(tmp_path))
    one, two = rounds_of(run)
    assert (one.pass_rate, one.samples, one.kept, one.problems) == (
        "25.0\xa0%",
        "800",
        "150",
        "100",
    )
    assert one.solved == ("90", "80", "30")
    assert one.dropped[0] == ("wrong answer", "600")  # the most frequent first
    widths: list[Any] = [
        (rect.get("class"), float(rect.get("width", "0")))
        for rect in ElementTree.fromstring(str(one.map)).iter("rect")
    ]
    assert widths == [
        ("fill never", 45.0), ("fill sometimes", 40.0), ("fill always", 15.0),
    ]  # fmt: skip
    assert two.map is None and two.solved == ()
    page = build_html(run)
    assert "90 · 80 · 30" in page and "<b>text" not in page


def test_what_a_verifier_chose_is_a_table_and_its_files_are_no_answers(tmp_path: Path) -> None:
    folder = learning_folder(tmp_path)
    before = read(folder)
    assert choices_of(before) == [] and "Choosing among" not in build_html(before)
    answers = folder / "predictions" / "base.jsonl"
    (folder / "predictions" / "base.jsonl.verifier.jsonl").write_text('{"problem_id": "a"}\n')
    rate = {"value": 0.5, "low": 0.4, "high": 0.6}
    test = {
        "difference": 0.04, "low": -0.01, "high": 0.09, "gained": 9, "lost": 5,
        "mcnemar_p": 0.42, "holm_p": 0.84,
    }  # fmt: skip
    found = {
        "n": 100, "samples": 8, "rates": {"any": rate, "majority": rate, "best": rate},
        "against_majority": {"best": test}, "verifier": "runs/<b>v</b>",
    }  # fmt: skip
    (folder / "predictions" / "base.jsonl.verifier.json").write_text(json.dumps(found))
    run = read(folder)
    assert run.answers == before.answers
    assert answers in RunPaths(folder).predictions_of("base")
    assert all("verifier" not in path.name for path in RunPaths(folder).predictions_of("base"))
    (made,) = choices_of(run)
    assert (made.file, made.problems, made.samples) == ("base.jsonl", "100", "8")
    assert [way.name for way in made.ways] == [
        "majority vote (maj@8)", "best of 8 by the verifier", "any of 8 right (pass@8)",
    ]  # fmt: skip
    assert [way.difference is not None for way in made.ways] == [False, True, False]
    assert made.ways[1].difference is not None and made.ways[1].difference[2:] == ("0.42", "0.84")
    page = build_html(run)
    assert "Choosing among 8 answers" in page and "best of 8 by the verifier" in page
    assert "<b>v" not in page


@pytest.mark.parametrize("counts", [(0, 0, 0), (0, 5, 0)])
def test_a_bar_of_shares_without_any(counts: tuple[int, ...]) -> None:
    bar = ElementTree.fromstring(charts.shares_bar("problems", [("a", "never", n) for n in counts]))
    assert sum(float(rect.get("width", "0")) for rect in bar.iter("rect")) == 20 * sum(counts)


if (
    __name__ == "__main__"
):  # a folder to look at: python tests/report/test_report_learning.py FOLDER
    import sys

    from mathtune import report

    report.write(learning_folder(Path(sys.argv[1])))
