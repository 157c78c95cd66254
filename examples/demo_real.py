"""Fine-tune a real model on real problems and prove the gain, in minutes on two CPU cores.

Run as `make demo-real`, or, where mathtune is installed with its extra `gguf`:

    python examples/demo_real.py

It downloads SmolLM2-135M-Instruct once, then runs the recipe `smollm2-svamp`: base and tuned model
on 250 SVAMP problems and on 200 GSM8K problems, which the model was not tuned on. SVAMP comes from
MATHTUNE_DATA_DIR or the hub; where neither has it, `smollm2-generated` uses mathtune's own
problems. Tuning teaches a format too, and examples in the prompt show that format to the base as
well: so the base also gets 2, 4 and 8 solved problems before each question, and the tuned model is
compared with the best of these. Repeating the command continues where it was stopped.
"""

from __future__ import annotations

import sys
import time

import mathtune as mt
from mathtune.errors import MathtuneError
from mathtune.models.fetch import fetch

MODEL = "smollm2-135m-instruct"
SHOTS = (2, 4, 8)
RUN_DIR = "runs/demo-real"


def main() -> int:
    mt.show_progress()  # of the download, too
    start = time.monotonic()
    model = fetch(MODEL)
    fetched = time.monotonic()
    recipe = mt.load_recipe(which_recipe(), model=model)
    run = mt.run(recipe, run_dir=RUN_DIR)
    headline = {"data.test": [recipe.data.test[0].model_dump()], "eval.perplexity": False}
    prompted = {
        shots: mt.evaluate(
            model,
            recipe=recipe,
            run_dir=f"{RUN_DIR}-{shots}-shots",
            overrides={**headline, "prompt.shots": shots},
        )
        for shots in SHOTS
    }
    shots, best = max(prompted.items(), key=lambda item: item[1].exact_match)
    against = mt.compare(best, run.tuned.predictions, allow_different=["prompts"])

    print(f"\n{recipe.name}, calculator {'on' if recipe.eval.calculator else 'off'}")
    print(run)
    for number, result in prompted.items():
        print(f"base with {number} solved problems before each question: {result}")
    print(f"tuned without any, against the base with {shots}: {against}")
    minutes = (time.monotonic() - fetched) / 60
    print(f"{minutes:.1f} min after the download, which took {fetched - start:.0f} s")
    return 0


def which_recipe() -> str:
    """Return the recipe whose problems can be had here."""
    try:
        mt.load_problems("svamp", limit=1)
    except MathtuneError as error:
        print(f"{error}\nSVAMP cannot be had here, so mathtune's own problems are used.")
        return "smollm2-generated"
    return "smollm2-svamp"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MathtuneError as error:
        sys.exit(f"demo_real: {error}")
