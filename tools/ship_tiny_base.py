"""Turn a finished ``mathtune run tiny-base`` into the model that the package ships.

    mathtune run tiny-base
    python tools/ship_tiny_base.py runs/tiny-base-HASH

The weights are stored in bf16 (half the size) and measured again as stored; the model card's
figures are those of the stored weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mathtune import config, pipeline
from mathtune.progress.display import show_progress

TARGET = Path(__file__).parents[1] / "src" / "mathtune" / "recipes" / "tiny-base"

CARD = """\
---
license: mit
language: en
library_name: transformers
pipeline_tag: text-generation
tags: [math, word-problems, toy]
---

# tiny-base

A toy: a Llama-shaped model of {total:,} parameters, trained from scratch by mathtune on text that
mathtune generated. It is every newcomer's first model, small enough for a laptop and for git. It
knows nothing but the generated problems; it is no base for real use, and its scores say nothing
about other models.

## How it was made

- Command: `mathtune run tiny-base`, then `python tools/ship_tiny_base.py RUN_DIR` (bf16 storage).
- Data: {train_n:,} texts, {train_tokens:,} tokens, one pass: solved problems of 8 problem types
  (the base types), arithmetic facts, and question texts of 8 other types (the new types) without
  their solutions. Data fingerprint `{fingerprint}`.
- {steps:,} steps of 32 texts, AdamW, learning rate 2e-3 with cosine decay, loss on whole texts,
  {minutes:.0f} minutes on one core. Best validation loss {loss:.4f} (solutions of base types,
  step {best_step}).
- Tokenizer: byte-level BPE, {vocabulary:,} entries, digits one by one; any text encodes.

## Scores (exact match, 300 problems each, 95 % Wilson interval, weights as stored)

| problems | calculator on | calculator off |
| --- | --- | --- |
{scores}

Base types: new numbers in templates it was trained on. Held-out templates: texts of the base types
whose templates were never trained on. New types: only their questions were seen, never a solution;
`mathtune run demo` tunes it on these.

"With the calculator" means that the result after `<<48/2=` is filled in exactly while decoding. The
difference between the columns is arithmetic that a model this small has not learned.
"""


def main() -> None:
    """Convert, measure, write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    run_dir = parser.parse_args().run_dir
    shutil.rmtree(TARGET, ignore_errors=True)
    model = AutoModelForCausalLM.from_pretrained(run_dir / "model", dtype=torch.bfloat16)
    model.save_pretrained(TARGET)
    tokenizer = AutoTokenizer.from_pretrained(run_dir / "model")
    tokenizer.save_pretrained(TARGET)

    recipe = config.load("tiny-base", ["model=tiny-base"])
    measured = run_dir / "as-stored"
    show_progress()
    pipeline.evaluate(recipe, "base", measured)
    results = json.loads((measured / "results.json").read_text("utf-8"))
    manifest = json.loads((run_dir / "manifest.json").read_text("utf-8"))
    training = manifest["training"]
    card = CARD.format(
        total=model.num_parameters(),
        train_n=manifest["data"]["train"]["n"],
        fingerprint=manifest["data"]["train"]["fingerprint"],
        train_tokens=training["train_tokens"],
        steps=training["steps"],
        minutes=training["seconds"] / 60,
        loss=training["best_eval_loss"],
        best_step=training["best_step"],
        vocabulary=len(tokenizer),
        scores=_score_rows(results["evaluations"]),
    )
    (TARGET / "README.md").write_text(card, "utf-8")


def _score_rows(evaluations: list[dict]) -> str:
    """One Markdown row a problem set."""
    rates: dict[str, dict[bool, str]] = {}
    for evaluation in evaluations:
        rate = evaluation["exact_match"]
        text = f"{rate['value']:.1%} ({rate['low']:.1%}–{rate['high']:.1%})"
        rates.setdefault(evaluation["set"], {})[evaluation["calculator"]] = text
    return "\n".join(f"| {name} | {by[True]} | {by[False]} |" for name, by in rates.items())


if __name__ == "__main__":
    main()
