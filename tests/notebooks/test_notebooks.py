"""Both notebooks run to their end on the toy models, and tell what they say they tell."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NAMES = ("gemma_orca_math", "llama2_gsm8k")


def stored(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """No data, no network, one thread; the user's own IPython settings are not read."""
    folder = str(tmp_path_factory.mktemp("ipython"))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
            patch.setenv(name, folder)
        patch.setenv("MATHTUNE_DATA_DIR", "")
        yield dict(os.environ)


@pytest.fixture(scope="module", params=NAMES)
def executed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, environment: Any
) -> tuple[str, Any, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    book = stored(request.param)
    place = {"metadata": {"path": str(folder)}}
    NotebookClient(book, timeout=280, kernel_name="python3", resources=place).execute()
    return request.param, book, folder


def outputs(book: Any) -> list[Any]:
    return [output for cell in book.cells for output in cell.get("outputs", [])]


def texts(book: Any) -> str:
    found = [output.get("text", "") for output in outputs(book)]
    found += [output.data.get("text/plain", "") for output in outputs(book) if "data" in output]
    return "\n".join(found).replace("\u00a0", " ")


def test_it_runs_to_its_end_with_plots_and_run_folders(executed: tuple[str, Any, Path]) -> None:
    name, book, folder = executed
    pictures = [each for each in outputs(book) if "image/png" in each.get("data", {})]
    assert len(pictures) == {"gemma_orca_math": 2, "llama2_gsm8k": 3}[name]
    assert list(folder.glob("runs/toy-*/model/config.json"))
    said = texts(book)
    if name == "gemma_orca_math":
        assert "9,805,824 trained parameters" in said
        assert "load_in_4bit=True bnb_4bit_quant_type='nf4' bnb_4bit_use_double_quant=True" in said
        assert list(folder.glob("runs/gemma-2b-orca-*/model/quantization.json"))
    else:
        assert "6,738,415,616 (100.00 % of all)" in said
        assert re.search(r"kept: validation perplexity \d", said)
        (run,) = folder.glob("runs/llama-2-7b-gsm8k-*")
        assert {"base.jsonl", "tuned.jsonl"} <= {path.name for path in run.glob("predictions/*")}


def test_progress_is_shown_and_bars_do_not_stay(executed: tuple[str, Any, Path]) -> None:
    _, book, _ = executed
    assert "run folder: runs/" in texts(book)
    shown = [
        each.data["text/html"] for each in outputs(book) if "text/html" in each.get("data", {})
    ]
    assert "" in shown  # a bar that is done
    assert not any("<progress" in each for each in shown)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_stored_short_without_outputs_and_with_its_parameter_cell(name: str) -> None:
    book = stored(name)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(code) <= 15 and all(len(cell.source.splitlines()) <= 12 for cell in code)
    assert not any(cell.outputs or cell.execution_count for cell in code)
    (parameters,) = [cell for cell in code if "parameters" in cell.metadata.get("tags", ())]
    assert parameters.source.startswith("TINY = True")
    assert set(book.metadata) == {"kernelspec", "language_info"}
