from __future__ import annotations

import subprocess
import sys

MODULES = (
    "predictions.rows",
    "evaluate",
    "summary",
    "statistics",
    "compare",
    "difference",
    "perplexity",
)


def test_evaluation_imports_without_torch_or_numpy() -> None:
    code = (
        "import sys\n"
        + "".join(f"import mathtune.evaluation.{name}\n" for name in MODULES)
        + "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'scipy', 'sympy', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_measuring_a_model_imports_nothing_that_only_training_needs() -> None:
    code = (
        "import sys\n"
        "import mathtune.training.session, mathtune.generation.hf\n"
        "print(sorted({'peft', 'bitsandbytes', 'datasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
