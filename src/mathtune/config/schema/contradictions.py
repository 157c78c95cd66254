"""Settings that are valid by themselves and contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mathtune.config.schema.train import TrainConfig

if TYPE_CHECKING:
    from mathtune.config.schema.recipe import Recipe

_ENGINES_WITH: dict[tuple[str, str], tuple[str, ...]] = {
    ("model", "revision"): ("hf", "vllm"),
    ("model", "dtype"): ("hf", "vllm"),
    ("model", "attn_implementation"): ("hf",),
    ("model", "load_in_4bit"): ("hf",),
    ("model", "trust_remote_code"): ("hf",),
    ("model", "from_config"): ("hf",),
    ("eval", "calculator"): ("hf",),
    ("eval", "logprobs"): ("hf", "vllm"),
    ("eval", "stop_repetition"): ("hf",),
    ("eval", "batch_size"): ("hf",),
    ("eval", "base_url"): ("openai",),
    ("eval", "endpoint"): ("openai",),
    ("eval", "concurrency"): ("openai",),
    ("eval", "requests_per_minute"): ("openai",),
    ("eval", "timeout_seconds"): ("openai",),
    ("eval", "api_key_env"): ("openai",),
    ("eval", "tensor_parallel_size"): ("vllm",),
    ("eval", "worker_engine"): ("ray",),
    ("eval", "workers"): ("ray",),
    ("eval", "num_cpus"): ("ray",),
    ("eval", "num_gpus"): ("ray",),
}
"""Knobs that not every engine has; allowed elsewhere, they would silently do nothing."""


def contradictions(recipe: Recipe) -> Iterator[str]:
    """Yield a sentence for each contradiction between the settings of a recipe."""
    for faults in (_weights, _training, _prompt_and_decoding, _objective, _engine, _test_sets):
        yield from faults(recipe)


def _weights(recipe: Recipe) -> Iterator[str]:
    if recipe.model.load_in_4bit and recipe.adapter is None:
        yield (
            "model.load_in_4bit=true with adapter empty: 4-bit weights cannot be trained; add "
            "an adapter (for example adapter.r=8) or set model.load_in_4bit=false"
        )
    if recipe.model.load_in_4bit and recipe.adapter is not None and recipe.adapter.is_pissa:
        yield (
            f"adapter.init_lora_weights={recipe.adapter.init_lora_weights} with "
            "model.load_in_4bit=true: PiSSA takes a part out of the base's weights, and 4-bit "
            "weights cannot be changed so finely; set adapter.init_lora_weights=true or "
            "model.load_in_4bit=false"
        )
    if recipe.adapter is not None and recipe.model.from_config is not None:
        yield (
            "adapter with model.from_config: random weights that stay frozen teach nothing and "
            "are not saved; leave adapter out or name a saved model"
        )
    if recipe.model.load_in_4bit and recipe.model.from_config is not None:
        yield (
            "model.load_in_4bit=true with model.from_config: random weights are not worth "
            "quantising; set model.load_in_4bit=false or name a saved model"
        )
    if "/" in (recipe.model.attn_implementation or "") and not recipe.model.trust_remote_code:
        yield (
            f"model.attn_implementation={recipe.model.attn_implementation} with "
            "model.trust_remote_code=false: a kernel on the hub is somebody's machine code; "
            "set model.trust_remote_code=true to run it, or model.attn_implementation=sdpa"
        )


def _training(recipe: Recipe) -> Iterator[str]:
    if recipe.train.metric_for_best_model == "eval_exact_match" and not (
        recipe.train.exact_match_samples
    ):
        yield (
            "train.metric_for_best_model=eval_exact_match with train.exact_match_samples=0: "
            "there is nothing to choose by; set train.exact_match_samples, for example "
            "to 100"
        )
    if recipe.rft.rounds and recipe.model.from_config is not None:
        yield (
            f"rft.rounds={recipe.rft.rounds} with model.from_config: random weights solve "
            "nothing, so there is no right answer to learn from; name a saved model or set "
            "rft.rounds=0"
        )
    low, high, samples = (
        recipe.select.min_pass_rate,
        recipe.select.max_pass_rate,
        recipe.rft.samples,
    )
    if recipe.rft.rounds and not any(low <= n / samples <= high for n in range(1, samples + 1)):
        yield (
            f"select.min_pass_rate={low:g} to select.max_pass_rate={high:g} with rft.samples="
            f"{samples}: no number of right answers among {samples} lies there; widen the range "
            "or raise rft.samples"
        )
    if recipe.train.eval_strategy == "no" and recipe.train.early_stopping_patience:
        yield (
            f"train.early_stopping_patience={recipe.train.early_stopping_patience} with "
            "train.eval_strategy=no: only validations can stop training early; set "
            "train.eval_strategy=epoch or leave train.early_stopping_patience out"
        )
    schedule = recipe.train.lr_scheduler_type
    if recipe.train.eval_strategy == "no" and schedule in ("reduce_lr_on_plateau", "greedy"):
        yield (
            f"train.lr_scheduler_type={schedule} with train.eval_strategy=no: the schedule follows "
            "validation; set train.eval_strategy=steps, or another schedule"
        )
    if recipe.train.torch_compile and recipe.train.gradient_checkpointing:
        yield (
            "train.torch_compile=true with train.gradient_checkpointing=true: layers that are "
            "checkpointed run uncompiled; set one of the two to false"
        )


def _prompt_and_decoding(recipe: Recipe) -> Iterator[str]:
    if recipe.prompt.system is not None and recipe.prompt.style != "chat":
        yield (
            f"prompt.system with prompt.style={recipe.prompt.style}: only the chat style has a "
            "system message; set prompt.style=chat or leave prompt.system out"
        )
    if recipe.eval.temperature == 0:
        if recipe.eval.samples > 1:
            yield (
                f"eval.samples={recipe.eval.samples} with eval.temperature=0: greedy decoding "
                "would give the same answer each time; set eval.temperature, for example to "
                "0.7, or eval.samples=1"
            )
        if recipe.eval.top_p < 1:
            yield (
                f"eval.top_p={recipe.eval.top_p:g} with eval.temperature=0: greedy decoding "
                "takes the likeliest token anyway; set eval.temperature, for example to 0.7, "
                "or eval.top_p=1"
            )


def _objective(recipe: Recipe) -> Iterator[str]:
    objective = recipe.train.objective
    for own in ("grpo", "gkd", "dpo", "verifier"):
        section = getattr(recipe, own)
        for name, field in type(section).model_fields.items():
            if own != objective and (value := getattr(section, name)) != field.default:
                shown = str(value).lower() if isinstance(value, bool) else value
                yield (
                    f"{own}.{name}={shown} with train.objective={objective}: only the "
                    f"objective {own} has it; leave it out or set train.objective={own}"
                )
    if objective == "sft":
        return
    if objective == "verifier":
        if recipe.train.metric_for_best_model != "eval_loss":
            yield (
                "train.objective=verifier with train.metric_for_best_model="
                f"{recipe.train.metric_for_best_model}: a verifier solves no problems; set "
                "train.metric_for_best_model=eval_loss"
            )
    elif recipe.train.metric_for_best_model != "eval_exact_match":
        yield (
            f"train.objective={objective} with train.metric_for_best_model=eval_loss: the loss "
            "on solutions written by others does not show which weights solve most problems; "
            "set train.metric_for_best_model=eval_exact_match and train.exact_match_samples, "
            "for example to 100"
        )
    for name in ("label_smoothing_factor", "completion_only_loss"):
        value, default = getattr(recipe.train, name), TrainConfig.model_fields[name].default
        if value != default:
            yield (
                f"train.{name}={str(value).lower()} with train.objective={objective}: only the "
                "objective sft has it; leave it out or set train.objective=sft"
            )
    if objective in ("dpo", "verifier") and getattr(recipe, objective).samples is None:
        yield (
            f"train.objective={objective} with {objective}.samples empty: give a file of "
            "graded samples, several per training problem, such as "
            "RUN_DIR/predictions/base.jsonl of an evaluation with eval.samples=16"
        )
    if objective == "gkd" and recipe.gkd.teacher_model_name_or_path is None:
        yield (
            "train.objective=gkd with gkd.teacher_model_name_or_path empty: name the model to "
            "learn from, one with the same tokenizer"
        )
    if objective == "gkd" and recipe.model.from_config is not None:
        yield (
            "train.objective=gkd with model.from_config: random weights write nothing worth "
            "correcting, and their new tokenizer is not the teacher's; name a saved model"
        )
    if recipe.grpo.beta and recipe.adapter is not None and recipe.adapter.is_pissa:
        yield (
            f"grpo.beta={recipe.grpo.beta:g} with "
            f"adapter.init_lora_weights={recipe.adapter.init_lora_weights}: without its PiSSA "
            "adapter the model is not the one before training; set grpo.beta=0 or "
            "adapter.init_lora_weights=true"
        )


def _engine(recipe: Recipe) -> Iterator[str]:
    engine = recipe.eval.engine
    for (section, name), engines in _ENGINES_WITH.items():
        part = getattr(recipe, section)
        value = getattr(part, name)
        if (
            not {engine, recipe.eval.decoder} & set(engines)
            and value != type(part).model_fields[name].default
        ):
            shown = str(value).lower() if isinstance(value, bool) else value
            # An address may hold a password, and a mapping is long.
            given = "" if name in ("base_url", "api_key_env", "from_config") else f"={shown}"
            yield (
                f"{section}.{name}{given} with eval.engine={engine}: only the engine "
                f"{' or '.join(engines)} has it; leave it out or set eval.engine={engines[0]}"
            )
    if engine != "openai":
        return
    if recipe.eval.base_url is None:
        yield (
            "eval.engine=openai with eval.base_url empty: give the server's address, for "
            "example eval.base_url=http://localhost:8000/v1"
        )
    if recipe.eval.endpoint == "chat" and recipe.prompt.style != "chat":
        yield (
            f"eval.endpoint=chat with prompt.style={recipe.prompt.style}: a chat endpoint puts "
            "questions into the model's own template; set prompt.style=chat, or "
            "eval.endpoint=completions"
        )
    if recipe.eval.endpoint == "completions" and recipe.prompt.style == "chat":
        yield (
            "prompt.style=chat with eval.endpoint=completions: the chat template is the "
            "server's, which only its chat endpoint uses; set eval.endpoint=chat, or another "
            "prompt.style"
        )


def _test_sets(recipe: Recipe) -> Iterator[str]:
    labels = [test.label for test in recipe.data.test]
    if len(set(labels)) != len(labels):
        yield f"data.test has two sets with one label ({', '.join(labels)}); rename one"
