"""A plan as plain numbers, as ``mathtune plan --json`` prints it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mathtune.planning.cluster.spread import Spread
    from mathtune.planning.plan import TrainingPlan
    from mathtune.planning.sampling import Sampling

UNITS = {"grpo": "answer", "gkd": "answer", "dpo": "answer"}  # two a pair
"""What is counted as an example, in the singular, where that is not a solved problem."""

USES = {
    "weights": "weights",
    "teacher": "teacher's weights",
    "weights_in_compute_type": "weights, bf16 copies",
    "gradients": "gradients",
    "exchange": "gradients, exchanged copy",
    "optimizer": "optimiser",
    "activations": "activations",
    "logits": "logits",
    "overhead": "besides tensors",
}
"""Keys of ``memory.bytes`` → their names in the table."""


def facts_of(plan: TrainingPlan) -> dict[str, Any]:
    """Return a plan as one JSON object: bytes, seconds, counts."""
    found, memory = plan.estimate, plan.estimate.memory
    sizes = {use.value: size for use, size in memory.by_use.items()}
    sizes |= {"exchange": found.buckets, "overhead": found.overhead}
    return {
        "recipe": plan.recipe.name,
        "model": plan.recipe.model.name_or_path,
        "parameters": memory.parameters.to_json(),
        "device": plan.device.name,
        "devices": found.devices,
        "dtype": str(found.compute.dtype).removeprefix("torch."),
        "autocast_bf16": found.compute.autocast_bf16,
        "dtype_reason": found.compute.reason,
        "memory": {
            "bytes": {key: sizes[key] for key in USES if sizes.get(key)},
            "peak": found.peak,
            "sampling_peak": plan.sampling and plan.sampling.peak,
            "moment": memory.moment,
            "pageable": memory.pageable,
            "available": plan.budget,
        },
        "fits": plan.fits,
        "remedies": [
            {"change": each.change, "peak": each.peak, "fits": each.fits} for each in plan.remedies
        ],
        "work": {
            "steps": found.work.steps,
            "examples": found.work.examples,
            "unit": UNITS.get(plan.recipe.train.objective, "example"),
            "tokens_a_device": found.work.tokens,
            "flops_a_device": found.flops,
            "micro_batches_a_device": found.work.micro_batches,
            "kernels_a_device": found.kernels,
        },
        "rate": plan.rate,
        "rate_measured": plan.device.measured,
        "seconds": _named(plan.seconds),
        "sampling": plan.sampling and _sampling(plan.sampling),
        "cluster": plan.spread and _cluster(plan.spread, plan.budget),
        "assumptions": list(plan.assumptions),
    }


def _sampling(found: Sampling) -> dict[str, Any]:
    return {
        "answers_a_device": found.answers,
        "tokens_a_device": found.tokens,
        "prompt_tokens_a_device": found.prompt_tokens,
        "rows": found.rows,
        "cache_bytes": found.cache,
        "decode_steps": _named(found.steps),
        "seconds": _named(found.seconds),
    }


def _cluster(found: Spread, budget: int | None) -> dict[str, Any]:
    cluster, steps = found.cluster, found.training.steps
    return {
        "nodes": cluster.nodes,
        "gpus": cluster.gpus,
        "link": cluster.link,
        "network": cluster.network,
        "layouts": [
            {
                "name": each.name,
                "peak": each.peak,
                "fits": None if budget is None else each.peak <= budget,
                "bytes_a_step": round(each.sent / steps),
                "bytes_a_step_between_nodes": round(each.sent_between_nodes / steps),
                "communicating": _named(each.communicating),
                "seconds": _named(each.seconds),
            }
            for each in found.layouts
        ],
    }


def _named(values: tuple[float, float, float] | None) -> dict[str, float] | None:
    return values and dict(zip(("best", "usual", "worst"), values, strict=True))
