"""Builds a realistic run folder for the report's tests: figures follow from the rows it writes."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '<img src="https://leak.invalid/a.png" onerror="window.hacked = 2">',
    "<!-- <script> ]]> &lt;b&gt; `code` | pipe | *stars* \u2028 \x00 \x1b[31m",
    "[link](javascript:alert(1)) ![picture](https://leak.invalid/b.png)",
    'x" onmouseover="window.hacked = 3" y=\'',
    "{{ 7 * 7 }} {% raw %} ${7*7}",
    "half a surrogate pair: \ud83d",
    "\u202e24\u202c 4\u200b2 \x1b]8;;https://leak.invalid\x1b\\link \x1b]52;c;cm0=\x07 \ufeff",
)

GRADERS = ("openai", "lm_eval_strict", "lm_eval_flexible", "lm_eval_cot_strict")
TYPES = ("total_cost", "share_equally", "discount", "travel_time", "left_over", "two_rates")
SETS = (("new types", 200), ("held-out templates", 60), ("old types <b>bold</b>", 60))
ALL_PARTS = ("recipe", "manifest", "metrics", "base", "tuned")


def build(
    folder: Path,
    *,
    rows: int = 200,
    parts: Sequence[str] = ALL_PARTS,
    hostile: bool = True,
    adapter: dict[str, Any] | None = None,
    model: str = "tiny-base",
) -> Path:
    """Write a run folder with ``parts`` of it; ``rows`` problems in the headline set."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)
    if "recipe" in parts:
        recipe = _recipe(model, {"r": 32, "lora_alpha": 64} if adapter is None else adapter)
        (folder / "recipe.yaml").write_text(json.dumps(recipe, indent=1), "utf-8")  # JSON is YAML
    if "manifest" in parts:
        manifest = _manifest(hostile, "metrics" in parts)
        (folder / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    if "metrics" in parts:
        lines = [json.dumps(line) + "\n" for line in _metrics(draw)]
        (folder / "metrics.jsonl").write_text("".join(lines), "utf-8")
    models = [name for name in ("base", "tuned") if name in parts]
    if models:
        results = _evaluate(folder, models, rows, draw, hostile)
        (folder / "results.json").write_text(json.dumps(results), "utf-8")
    return folder


def wilson(correct: float, n: int) -> dict[str, Any]:
    """Return a rate with its 95 % Wilson interval, from the textbook formula."""
    z, p = 1.959964, correct / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)
    return {"value": p, "low": low, "high": high, "correct": correct, "n": n}


def _evaluate(
    folder: Path, models: list[str], n_rows: int, draw: random.Random, hostile: bool
) -> dict[str, Any]:
    (folder / "predictions").mkdir(exist_ok=True)
    evaluations, comparisons = [], []
    for index, (label, n) in enumerate(SETS):
        problems = [_problem(draw, index) for _ in range(n_rows if index == 0 else n)]
        if hostile and index == 0:
            problems[0]["question"] += " " + HOSTILE[0]
            problems[1]["type"] = HOSTILE[1]
        for calculator in (True, False):
            right = {}
            for model in models:
                skill = {"base": 0.06, "tuned": 0.84 if calculator else 0.52}[model] - 0.12 * index
                rows = [_row(draw, p, label, calculator, max(skill, 0.02)) for p in problems]
                if hostile and index == 0:
                    for row, text in zip(rows, HOSTILE, strict=False):
                        row["completion"] = text + "\n" + row["completion"]
                    rows[3]["extracted"] = HOSTILE[4]
                name = f"{model}.jsonl"
                if index or not calculator:
                    slug = ("new-types", "held-out-templates", "old-types-b-bold-b")[index]
                    name = f"{model}--{slug}--calculator-{'on' if calculator else 'off'}.jsonl"
                text = "".join(json.dumps(row) + "\n" for row in rows)
                (folder / "predictions" / name).write_text(text, "utf-8")
                evaluations.append(_evaluation(model, label, calculator, rows, name))
                right[model] = [row["correct"] for row in rows]
            if len(models) == 2:
                comparisons.append(_comparison(label, calculator, right))
    return {
        "headline": {"set": SETS[0][0], "calculator": True},
        "evaluations": evaluations,
        "comparisons": comparisons,
        "example": {
            "question": "What is 125 * 45 + 678? Show your work.",
            "answers": [
                {
                    "model": model,
                    "calculator": on,
                    "completion": _example_answer(model, on, hostile),
                }
                for model in models
                for on in (True, False)
            ],
        },
    }


def _example_answer(model: str, calculator: bool, hostile: bool) -> str:
    if model == "base":
        return "125 + 45 = <<125+45=170>>170\n#### 170" + (f"\n{HOSTILE[0]}" if hostile else "")
    product = 5625 if calculator else 5525
    return (
        f"First 125 * 45 = <<125*45={product}>>{product}.\n"
        f"Then {product} + 678 = <<{product}+678={product + 678}>>{product + 678}.\n"
        f"#### {product + 678}"
    )


def _problem(draw: random.Random, index: int) -> dict[str, Any]:
    a, b, c = draw.randint(12, 480), draw.randint(3, 24), draw.randint(5, 60)
    person = draw.choice(["Mara", "Jonas", "Priya", "Tomás", "Wei"])
    thing = draw.choice(["notebooks", "tickets", "seedlings", "bricks"])
    gold = a * b - c
    return {
        "problem_id": f"{draw.getrandbits(64):016x}",
        "question": (
            f"{person} orders {b} boxes with {a} {thing} each for the school fair. On the way {c} "
            f"{thing} are lost. How many {thing} arrive?"
        ),
        "answer": f"{b} boxes hold {a} * {b} = <<{a}*{b}={a * b}>>{a * b} {thing}.\n"
        f"{a * b} - {c} = <<{a * b}-{c}={gold}>>{gold} of them arrive.\n#### {gold}",
        "gold": str(gold),
        "type": draw.choice(TYPES),
        "steps": draw.choice([2, 2, 3, 4, 5]),
        "numbers": (a, b, c),
        "set_index": index,
    }


def _row(
    draw: random.Random, problem: dict[str, Any], label: str, calculator: bool, skill: float
) -> dict[str, Any]:
    a, b, c = problem["numbers"]
    correct = draw.random() < skill * (1.15 - 0.06 * problem["steps"])
    product = a * b if correct else a * b + draw.choice([0, 10, 100])
    given = product - c if correct else product - c + draw.choice([1, 2 * c])
    outcome, error, stop = "correct", None, "eos"
    completion = f"{a} * {b} = <<{a}*{b}={product}>>{product}.\nSo {given} arrive.\n#### {given}"
    if not correct:
        outcome, error = "wrong", "arithmetic_slip" if product != a * b else "reasoning"
        if draw.random() < 0.12:
            outcome, error, stop = "truncated", "format", "length"
            completion = f"{a} and {b} and {c} and " * 6
    kept = ("problem_id", "question", "answer", "gold", "type", "steps")
    return {
        **{name: problem[name] for name in kept},
        "sample": 0,
        "set": label,
        "prompt_hash": "0123456789abcdef",
        "style": "qa",
        "decoding": {
            "max_new_tokens": 160,
            "temperature": 0.0,
            "top_p": 1.0,
            "samples": 1,
            "seed": 0,
            "stop": ["Question:"],
            "calculator": calculator,
        },
        "completion": completion,
        "tokens": len(completion) // 3,
        "inserted_tokens": 4 if calculator else 0,
        "stop_reason": stop,
        "outcome": outcome,
        "correct": correct,
        "extracted": None if stop == "length" else str(given),
        "method": None if stop == "length" else "hash",
        "reason": "equal to the gold answer" if correct else "not equal to the gold answer",
        "error": error,
        "published": {name: correct and name != "lm_eval_cot_strict" for name in GRADERS},
    }


def _evaluation(
    model: str, label: str, calculator: bool, rows: list[dict[str, Any]], name: str
) -> dict[str, Any]:
    def share(kept: list[dict[str, Any]], field: str = "correct") -> dict[str, Any]:
        return wilson(sum(bool(row[field]) for row in kept), len(kept))

    def shares(field: str) -> dict[str, Any]:
        values = sorted({row[field] for row in rows})
        return {str(v): share([row for row in rows if row[field] == v]) for v in values}

    outcomes = ("correct", "wrong", "no_answer", "truncated", "ungradable")
    perplexity = {"completion": 9.41, "whole_text": 14.2} if model == "base" else None
    perplexity = perplexity or {"completion": 1.87, "whole_text": 5.03}
    return {
        "model": model,
        "set": label,
        "calculator": calculator,
        "n": len(rows),
        "predictions": f"predictions/{name}",
        "exact_match": share(rows),
        "published": {
            grader: wilson(sum(row["published"][grader] for row in rows), len(rows))
            for grader in GRADERS
        },
        "outcomes": {o: sum(row["outcome"] == o for row in rows) for o in outcomes},
        "errors": dict(Counter(row["error"] for row in rows if row["error"])),
        "methods": dict(Counter(row["method"] or "none" for row in rows)),
        "stop_reasons": dict(Counter(row["stop_reason"] for row in rows)),
        "mean_tokens": sum(row["tokens"] for row in rows) / len(rows),
        "seconds_per_problem": 0.031,
        "perplexity": {**perplexity, "completion_tokens": 15_204, "whole_text_tokens": 28_110},
        "by_type": shares("type"),
        "by_steps": shares("steps"),
    }


def _comparison(label: str, calculator: bool, right: dict[str, list[bool]]) -> dict[str, Any]:
    pairs = list(zip(right["base"], right["tuned"], strict=True))
    n, gained = len(pairs), sum(t and not b for b, t in pairs)
    lost = sum(b and not t for b, t in pairs)
    difference = (gained - lost) / n
    half = 1.96 * math.sqrt((gained + lost) / n - difference**2) / math.sqrt(n)
    base, tuned = (sum(right[model]) / n for model in ("base", "tuned"))
    return {
        "set": label,
        "calculator": calculator,
        "n": n,
        "base": {"exact_match": base},
        "tuned": {"exact_match": tuned},
        "difference": difference,
        "difference_low": difference - half,
        "difference_high": difference + half,
        "confidence": 0.95,
        "mcnemar_p": 2.0 ** (1 - gained),
        "gained": gained,
        "lost": lost,
        "smallest_detectable_difference": 0.062,
        "verdict": (
            f"Tuning raised exact match on {label} from {100 * base:.1f} % to {100 * tuned:.1f} % "
            f"(+{100 * difference:.1f} points, 95 % interval {100 * (difference - half):.1f} to "
            f"{100 * (difference + half):.1f}; McNemar p = 1.4e-40): a real gain."
        ),
    }


def _metrics(draw: random.Random) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for step in range(5, 301, 5):
        loss = 0.42 + 2.6 * math.exp(-step / 45) + draw.gauss(0, 0.03)
        rate = 1e-2 * min(1, step / 30) * (0.5 + 0.5 * math.cos(math.pi * step / 300))
        line = {"step": step, "epoch": step / 312, "loss": loss, "learning_rate": rate}
        lines.append({**line, "grad_norm": 0.4 + 3 / step, "perplexity": math.exp(loss)})
        if step % 50 == 0:
            loss = 0.46 + 2.5 * math.exp(-step / 48) + (0.02 if step == 300 else 0)
            line = {"step": step, "epoch": step / 312, "eval_loss": loss}
            lines.append({**line, "eval_perplexity": math.exp(loss)})
    return lines


def _recipe(model: str, adapter: dict[str, Any] | None) -> dict[str, Any]:
    generated = {"name": None, "path": None, "generated": "problems"}
    generated |= {"types": ["shares", "profit"], "templates": "train"}
    return {
        "name": "demo",
        "description": "Tunes the toy base model on problem types it has not seen solved.",
        "seed": 42,
        "model": {"name_or_path": model, "revision": None, "load_in_4bit": False},
        "adapter": {**adapter, "target_modules": "all-linear"} if adapter else None,
        "data": {
            "train": [
                {**generated, "n": 4000},
                {"name": "gsm8k", "split": "train", "templates": "train"},
            ],
            "validation": [{**generated, "n": 200}],
            "validation_fraction": 0.05,
            "test": [{"label": label, "sources": [{**generated, "n": n}]} for label, n in SETS],
        },
        "prompt": {"style": "qa", "system": None},
        "train": {
            "max_steps": 300,
            "per_device_train_batch_size": 16,
            "gradient_accumulation_steps": 2,
            "learning_rate": 0.01,
            "lr_scheduler_type": "cosine",
            "optim": "adamw_torch",
            "completion_only_loss": True,
        },
        "eval": {"calculator": True, "max_new_tokens": 160, "confidence": 0.95},
    }


def _manifest(hostile: bool, trained: bool) -> dict[str, Any]:
    manifest: dict[str, Any] = {
        "mathtune": "0.1.0",
        "versions": {"torch": "2.9.1", "transformers": "5.3.0", "peft": "0.18.1"},
        "python": "3.11.2",
        "platform": "Linux-6.1-x86_64",
        "device": "CPU",
        "dtype": "float32",
        "dtype_reason": "this processor computes bfloat16 in software"
        if not hostile
        else HOSTILE[1],
        "git": {"commit": "999fda9c0d1e", "dirty": True},
        "command": "mathtune run demo train.max_steps=300",
        "seed": 42,
        "created": "2025-11-22T02:45:00+00:00",
        "stages": {"base": "2025-11-22T02:46:10+00:00", "train": "2025-11-22T02:49:00+00:00"},
        "data": {
            "train": {
                "n": 4_880,
                "fingerprint": "0f3c5a9e12b4d678",
                "sources": ["generated problems: new types", "gsm8k/main:train"],
                "dropped": {"duplicate question": 112, "gold answer not found in its solution": 8},
            },
            "validation": {
                "n": 200,
                "fingerprint": "77aa01b2c3d4e5f6",
                "sources": ["generated problems: new types"],
                "dropped": {},
            },
            "test": [
                {"label": label, "n": n, "fingerprint": "1234567890abcdef", "dropped": {}}
                for label, n in SETS
            ],
        },
    }
    if not trained:
        del manifest["data"]["train"], manifest["data"]["validation"]
        return manifest
    return {
        **manifest,
        "parameters": {"total": 3_400_000, "trainable": 212_992, "trainable_share": 0.0626},
        "training": {
            "steps": 300,
            "seconds": 171.4,
            "best_step": 250,
            "best_eval_loss": 0.4738,
            "stopped": "finished",
            "train_tokens": 812_345,
            "too_long": {"train": 3, "validation": 0},
        },
    }


if __name__ == "__main__":  # a folder to look at: python tests/report/report_run_folder.py FOLDER
    import sys

    from mathtune import report

    report.write(build(Path(sys.argv[1])))
