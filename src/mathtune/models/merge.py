"""Merges an adapter and its base into one model, which must answer as the two did.

A QLoRA adapter has learned to work with what 4-bit rounding left of its base's weights. So the base
is loaded in 4 bits as in training, its weights are dequantised to the dtype that training computed
in, and the adapter is added to those. Added to the original weights it would work on a base it has
never seen (peft#2321): every file would be valid, and the answers different.

The merged model is written to a temporary folder, loaded from disk and compared with the adapter on
its base: logits along the adapter's own answers, and greedy answers. It gets its name only if it
passes.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mathtune.config.schema import ModelConfig
from mathtune.errors import DiskError, ModelError
from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.models import files as model_files
from mathtune.models.base_fingerprint import QUANTIZATION, recorded
from mathtune.models.checks.weights import check_vocabulary
from mathtune.models.compute import Compute, pick_compute
from mathtune.models.loading import (
    count_parameters,
    load_model,
    load_tokenizer,
    quiet_libraries,
)
from mathtune.provenance import provenance
from mathtune.records import Prompt
from mathtune.storage import saving, write_json

log = logging.getLogger(__name__)

NOTE = "merged_from.json"
"""In a merged folder: what it was made from and how it was checked."""

TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}
"""RMS difference of logits over their standard deviation. Rounding alone gives 5e-7 in float32, and
in bfloat16 0.005 to 0.01 at 2 layers, 0.028 at 24. Merging into the original weights instead gives
0.06 to 0.18 and 0.29 to 0.38."""


@dataclass(frozen=True, slots=True)
class Check:
    """How a merged model, loaded from disk, differs from the adapter on its base.

    Attributes:
        problems: Problems that both answered.
        same_answers: Of these, those with the same greedy answer, token by token.
        ties: Of the others, those that diverge where rounding decides between two tokens.
        tokens: Number of answer tokens at which logits were compared.
        max_logit_difference: Largest absolute difference of a logit.
        relative_difference: RMS difference over the standard deviation of the adapter's logits.
        tolerance: Largest ``relative_difference`` that passes.
    """

    problems: int
    same_answers: int
    ties: int
    tokens: int
    max_logit_difference: float
    relative_difference: float
    tolerance: float


@dataclass(frozen=True, slots=True)
class Merged:
    """A merged model that passed its checks and is in its final place."""

    folder: str
    parameters: int
    bytes: int
    dtype: str
    check: Check


@dataclass(frozen=True, slots=True)
class _Answers:
    """Greedy answers by problem, and the logits ``[tokens, vocabulary]`` behind them."""

    ids: dict[str, tuple[int, ...]]
    logits: dict[str, Tensor]


def merge_adapter(
    config: ModelConfig,
    output: Path,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    dtype: str = "auto",
) -> Merged:
    """Merge an adapter into its base, check the result and publish it as ``output``.

    Args:
        config: Names the adapter's folder. ``load_in_4bit`` and its settings matter only for an
            adapter trained elsewhere, without a record of how its base was held.
        output: Target folder; one made by an earlier merge is replaced.
        prompts: Problems that the adapter and the merged model both answer.
        decoding: Greedy decoding settings.
        dtype: Dtype of the merged weights; ``auto``: that of the training.

    Raises:
        ModelError: The folder is not an adapter, the base is missing or has changed, or the merged
            model answers differently from the adapter.
        DiskError: There is no room, or ``output`` holds something else.
    """
    quiet_libraries()
    check_output(output)
    adapter = Path(config.name_or_path or "")
    if not recorded(adapter) and not (adapter / QUANTIZATION).is_file():
        form = "4 bits" if config.load_in_4bit else "full; --load-in-4bit is for a QLoRA adapter"
        log.info(f"the adapter does not record how its base was held; assuming {form}")
    trained_in = str(recorded(adapter).get("dtype", "auto"))
    compute = pick_compute(trained_in)
    saved_in = compute.dtype if dtype == "auto" else getattr(torch, dtype)
    tokenizer = load_tokenizer(str(adapter))
    adapted = load_model(config, compute)
    check_vocabulary(str(adapter), tokenizer, adapted)
    parameters = count_parameters(adapted.get_base_model()).total
    parameters -= sum(p.numel() for n, p in adapted.named_parameters() if "lora_" in n)
    _check_room(output, parameters * saved_in.itemsize, _short(saved_in))

    adapted.eval()
    before = _answers(adapted, tokenizer, prompts, decoding)
    temporary = output.with_name(output.name + ".partial")
    shutil.rmtree(temporary, ignore_errors=True)
    with saving(temporary, needed=parameters * saved_in.itemsize):
        temporary.mkdir(parents=True)
        merged = _merged(adapted, adapter).to(saved_in)
        merged.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
    del adapted, merged
    try:
        check = _check(temporary, tokenizer, prompts, decoding, before, compute, saved_in)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
    note = _origin(adapter) | {"dtype": _short(saved_in), "check": asdict(check)}
    with saving(temporary):
        write_json(temporary / NOTE, note)
        shutil.rmtree(output, ignore_errors=True)
        temporary.rename(output)
    return Merged(str(output), parameters, size, _short(saved_in), check)


def check_output(output: Path) -> None:
    """Raise DiskError if ``output`` exists and was not made by a merge."""
    if (
        output.exists()
        and not (output / NOTE).is_file()
        and (not output.is_dir() or any(output.iterdir()))
    ):
        raise DiskError(f"{output} exists and is not a merged model; choose another --output")


def _merged(adapted: Any, adapter: Path) -> Any:
    """Return the bare model with the adapter in its weights, none of them in 4 bits."""
    from peft import PeftModel

    try:
        if getattr(adapted.get_base_model(), "is_quantized", False):
            # PEFT itself would quantise the sum to 4 bits again.
            base = adapted.unload().dequantize()
            adapted = PeftModel.from_pretrained(base, str(adapter))
        return adapted.merge_and_unload(safe_merge=True)
    except ValueError as error:
        raise ModelError(
            f"adapter {str(adapter)!r} could not be merged: {error}; train it again"
        ) from error


@torch.no_grad()
def _logits(model: Any, prompt: Prompt, answer: Sequence[int]) -> Tensor:
    """Return the logits ``[len(answer), vocabulary]`` behind each token of an answer."""
    ids = torch.tensor([[*prompt.ids, *answer]], device=model.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits
    return logits[0, len(prompt.ids) - 1 : -1].float().cpu()


def _answers(model: Any, tokenizer: Any, prompts: Sequence[Prompt], decoding: Decoding) -> _Answers:
    ids = _greedy(model, tokenizer, prompts, decoding)
    return _Answers(ids, {p.problem_id: _logits(model, p, ids[p.problem_id]) for p in prompts})


def _greedy(
    model: Any, tokenizer: Any, prompts: Sequence[Prompt], decoding: Decoding
) -> dict[str, tuple[int, ...]]:
    engine = HFEngine(model, tokenizer)
    return {done.problem_id: done.ids for done in engine.generate(prompts, decoding)}


def _check(
    folder: Path,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    before: _Answers,
    compute: Compute,
    saved_in: torch.dtype,
) -> Check:
    """Load the merged folder and compare it with the adapter's answers.

    Raises:
        ModelError: It differs by more than rounding can.
    """
    config = ModelConfig(name_or_path=str(folder))
    model = load_model(config, Compute(compute.device, compute.name, saved_in, False, "")).eval()
    largest = squares = 0.0
    for prompt in prompts:
        known = before.logits[prompt.problem_id]
        difference = _logits(model, prompt, before.ids[prompt.problem_id]) - known
        largest = max(largest, float(difference.abs().max()))
        squares += float(difference.double().pow(2).sum())
    every = torch.cat(list(before.logits.values()))
    relative = (squares / every.numel()) ** 0.5 / float(every.std())
    # The coarser of the two dtypes sets how far rounding alone can go.
    tolerance = max(TOLERANCE[_short(saved_in)], TOLERANCE[_short(compute.dtype)])
    after = _greedy(model, tokenizer, prompts, decoding)
    ties = other = 0
    for key, ids in before.ids.items():
        if after[key] != ids:
            tie = _is_tie(before.logits[key], ids, after[key], largest)
            ties, other = ties + tie, other + (not tie)
    if not relative <= tolerance or other:  # also fails where it is NaN
        raise ModelError(
            f"the merged model differs from the adapter: logits differ by {relative:.2g} of their "
            f"spread (at most {tolerance:g} is rounding) and {ties + other} of {len(prompts)} "
            "answers differ; nothing was written"
        )
    same = len(prompts) - ties
    return Check(len(prompts), same, ties, every.shape[0], largest, relative, tolerance)


def _is_tie(logits: Tensor, one: Sequence[int], other: Sequence[int], largest: float) -> bool:
    """Return whether two answers diverge where the adapter's logits are within rounding."""
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:  # one ends where the other goes on
        return False
    return float(logits[at, one[at]] - logits[at, other[at]]) <= 2 * largest


def _check_room(output: Path, needed: int, dtype: str) -> None:
    there = output.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    log.info(
        f"merging to {dtype}: {needed / 2**20:,.1f} MB, {free / 2**20:,.0f} MB are free at {there}"
    )
    if free < needed:
        raise DiskError(
            f"the merged model needs {needed / 2**20:,.1f} MB and {free / 2**20:,.1f} MB are free "
            f"at {there}; free some space, choose another --output, or give --dtype bfloat16"
        )


def _origin(adapter: Path) -> dict[str, Any]:
    """Return what a merged model was made from."""
    config = model_files.read_json(adapter / "adapter_config.json")
    form = adapter / QUANTIZATION
    return {
        "adapter": str(adapter.absolute()),
        "base_model_name_or_path": config["base_model_name_or_path"],
        "revision": config.get("revision"),
        "base": recorded(adapter),
        "quantization": json.loads(form.read_text("utf-8")) if form.is_file() else None,
        "versions": provenance()["versions"],
    }


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
