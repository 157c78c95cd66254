"""Every knob of a recipe, once: its type, its default and what it does.

Names are the ones Hugging Face users know (``TrainingArguments``, ``SFTConfig``, ``LoraConfig``,
``BitsAndBytesConfig``). The text under a field is its only documentation, which
``mathtune recipes --knobs`` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from mathtune.errors import did_you_mean

Positive = Annotated[int, Field(gt=0)]
Fraction01 = Annotated[float, Field(ge=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that every random generator here accepts
SAME_RESULT = "same result"
"""Marks a knob that changes how the work is done, and of its result only rounding and which units
dropout drops. So a run can be continued in its folder with another value."""
Unrecorded: Any = Field(exclude=True)
"""Marks how a server is reached: like ``SAME_RESULT``, and not recorded either."""

SEED_PROBLEM = "What is 125 * 45 + 678? Show your work."
"""The problem that the Gemma-2B project put to the original and to the fine-tuned model."""


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


ATTENTION = (
    "eager", "sdpa", "flex_attention",
    "flash_attention_2", "flash_attention_3", "flash_attention_4",
)  # fmt: skip


def _attention(value: str) -> str:
    if value in ATTENTION or re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?(:[\w.-]+)?", value):
        return value
    raise ValueError(
        f"is {value}; give {', '.join(ATTENTION)} or a kernel on the hub, such as "
        f"kernels-community/flash-attn2{did_you_mean(value, ATTENTION)}"
    )


class ModelConfig(Section):
    """Which model, and how it is held in memory."""

    name_or_path: str | None = None
    """Hub id, a folder with a saved model, or ``tiny-base`` for the toy model in the package."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype of the weights. ``auto`` picks one that the device computes fast, and shows it."""
    attn_implementation: Annotated[str, AfterValidator(_attention)] | None = None
    """Attention kernel by its Transformers name; empty lets Transformers pick."""
    load_in_4bit: bool = False
    """Quantise the frozen weights to 4 bits with bitsandbytes (QLoRA, Dettmers et al. 2023)."""
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = "nf4"
    """4-bit data type."""
    bnb_4bit_use_double_quant: bool = True
    """Quantise the quantisation constants too."""
    trust_remote_code: bool = False
    """Run Python code that a model repository ships; mathtune itself never needs it."""
    from_config: dict[str, Any] | None = None
    """Instead of ``name_or_path``: build this Transformers configuration with random weights."""
    train_tokenizer: Positive | None = None
    """With ``from_config``: train a byte-level BPE tokenizer of this many entries on the data."""
    license: Annotated[str | None, SAME_RESULT] = None
    """Licence of the model, noted with what others learn from its answers; default: as its folder
    states it."""

    @model_validator(mode="after")
    def _one_origin(self) -> ModelConfig:
        if (self.name_or_path is None) == (self.from_config is None):
            raise ValueError(
                "needs exactly one of name_or_path (a saved model) and from_config (random weights)"
            )
        if self.from_config is not None and "model_type" not in self.from_config:
            raise ValueError("from_config needs a model_type, for example model_type: llama")
        if (self.train_tokenizer is None) != (self.from_config is None):
            raise ValueError("from_config and train_tokenizer go together: give both or neither")
        return self


def _initial_weights(value: bool | str) -> bool | str:
    if value is True or value in ("gaussian", "pissa"):
        return value
    if isinstance(value, str) and re.fullmatch(r"pissa_niter_[1-9]\d*", value):
        return value
    raise ValueError(f"is {value}; give true, gaussian, pissa or pissa_niter_16")


class AdapterConfig(Section):
    """A LoRA adapter (Hu et al. 2021); names as in ``peft.LoraConfig``."""

    r: Positive = 16
    """Rank of the update."""
    lora_alpha: Annotated[float, Field(gt=0)] = 32
    """Scale: the update is multiplied by ``lora_alpha / r``."""
    lora_dropout: Fraction01 = 0.0
    """Dropout on the adapter's input."""
    target_modules: list[str] | str = "all-linear"
    """Names of the linear layers that get an adapter, or ``all-linear``."""
    use_rslora: bool = False
    """Scale by ``lora_alpha / sqrt(r)`` (Kalajdzievski 2023)."""
    use_dora: bool = False
    """DoRA: train magnitude and direction separately (Liu et al. 2024)."""
    init_lora_weights: Annotated[bool | str, AfterValidator(_initial_weights)] = True
    """``true``: B = 0; ``gaussian``; ``pissa``, or ``pissa_niter_16`` with a fast SVD: the weights'
    largest singular directions (Meng et al. 2024)."""
    loraplus_lr_ratio: Annotated[float, Field(ge=1)] | None = None
    """LoRA+: B learns at ``learning_rate`` times this, for example 16 (Hayou et al. 2024)."""

    @property
    def is_pissa(self) -> bool:
        """Whether the adapter starts as a part taken out of the base's weights (PiSSA)."""
        return str(self.init_lora_weights).startswith("pissa")


class SourceConfig(Section):
    """One source of problems. A bare string is short for ``name``, or ``path`` if it is a file."""

    name: str | None = None
    """A known set (``gsm8k``, ``gsm8k-socratic``, ``orca-math``, ``svamp``) or any hub id."""
    path: str | None = None
    """Local JSONL, JSON, CSV or Parquet, gzipped or not: a file, a folder of shards or a pattern
    such as ``data/train-*.parquet``; with ``name``: that set in its published format."""
    subset: str | None = None
    """Configuration name on the hub."""
    split: str | None = None
    """Split on the hub, or of the known set. Default: ``train`` to train on, ``test`` to test."""
    fields: dict[Literal["question", "answer", "gold", "type"], str] = Field(default_factory=dict)
    """Which column holds what, for example ``{question: prompt, answer: response}``;
    ``outer.inner`` reaches inside a column, ``messages.user`` and ``messages.assistant`` into a
    conversation."""
    prose: bool = False
    """Solutions end in free prose, without ``####``, a box or "the answer is": take the number in
    the last sentence as the final answer, and count such rows. With several numbers there the
    answer is uncertain: the row is trained on, but left out of exact match. Off: such rows are
    refused."""
    generated: Literal["problems", "facts", "questions"] | None = None
    """Instead of ``name``: mathtune's own generator. ``questions`` leaves the solutions out."""
    types: list[str] | Literal["base", "new"] | None = None
    """Only these types of generated problems; ``base`` and ``new`` are the demo's two groups."""
    templates: Literal["train", "held_out", "all"] = "train"
    """Generated problems from templates kept for training, held out, or all."""
    part: Literal["train", "test", "all"] = "train"
    """Generated problems are split by content hash, so that test texts never occur in training."""
    n: Positive | None = None
    """How many generated problems."""
    max_number: Positive | None = None
    """Only generated problems whose calculations have whole numbers up to this: easier ones."""
    seed: Seed | None = None
    """Seed of the generator; default: the recipe's seed."""
    limit: Positive | None = None
    """Take only this many, the first by content hash."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Leave out this many, the first by content hash: what another source takes with ``limit``."""

    @model_validator(mode="after")
    def _one_origin(self) -> SourceConfig:
        if self.generated is None:
            if self.name is None and self.path is None:
                raise ValueError("needs a name (known set or hub id), a path, or generated")
            if self.n is not None:
                raise ValueError(
                    "n counts generated problems; use limit to take only part of a set"
                )
            if self.max_number is not None:
                raise ValueError("max_number is for generated problems")
        elif self.name or self.path or self.fields or self.split or self.prose:
            raise ValueError("generated problems take no name, path, fields, split or prose")
        elif self.n is None:
            raise ValueError("generated problems need n, for example n: 1000")
        elif self.generated == "facts" and self.max_number is not None:
            raise ValueError("generated facts take no max_number; use generated: problems")
        return self


FILE_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz", ".json.gz", ".csv.gz")


def _source_from_text(value: Any) -> Any:
    """Read ``gsm8k``, ``gsm8k:test`` and ``my/file.jsonl`` as sources."""
    if not isinstance(value, str):
        return value
    if value.endswith(FILE_ENDINGS):
        return {"path": value}
    name, _, split = value.partition(":")
    return {"name": name, "split": split or None}


Source = Annotated[SourceConfig, BeforeValidator(_source_from_text)]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


Sources = Annotated[list[Source], BeforeValidator(_as_list), Field(min_length=1)]


class TestSetConfig(Section):
    """A labelled set that is only reported on, never used to choose a checkpoint."""

    __test__ = False  # not a test class, despite its name

    label: str
    """Name in reports."""
    sources: Sources
    """Where its problems come from."""


def _test_sets_from_short(value: Any) -> Any:
    """Read ``test: gsm8k`` and ``test: [{name: gsm8k}]`` as labelled sets."""
    if value is None:
        return None
    sets = []
    for item in _as_list(value):
        if isinstance(item, dict) and ("sources" in item or "label" in item):
            sets.append(item)
        else:
            source = _source_from_text(item)
            found = source if isinstance(source, dict) else {}  # else its own check reports it
            label = found.get("name") or found.get("path") or "generated"
            sets.append({"label": str(label), "sources": [source]})
    return sets


TestSets = Annotated[
    list[TestSetConfig], BeforeValidator(_test_sets_from_short), Field(min_length=1)
]


class DataConfig(Section):
    """Which problems to train on, to choose the checkpoint by, and to report on."""

    train: Sources
    """Sources of training problems, shuffled together."""
    validation: Annotated[list[Source], BeforeValidator(_as_list)] = Field(default_factory=list)
    """Sources of validation problems; empty: ``validation_fraction`` of ``train`` is held out."""
    validation_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """Fraction of ``train`` held out for validation, chosen by content hash."""
    test: TestSets
    """Sets to report on; the first is the headline."""
    max_train_samples: Positive | None = None
    """Take at most this many training problems."""
    max_validation_samples: Positive | None = None
    """Take at most this many validation problems."""
    max_test_samples: Positive | None = None
    """Take at most this many problems of each test set."""
    contamination: Literal["drop", "error", "report"] = "drop"
    """What to do with a training problem that shares a masked 13-gram with a test problem."""


class PromptConfig(Section):
    """What the text around a problem looks like."""

    style: Literal["qa", "cot", "instruct", "chat", "orca"] = "qa"
    """``qa``, ``cot``: lm-evaluation-harness' gsm8k and gsm8k_cot; ``chat``: the tokenizer's."""
    system: str | None = None
    """System message of the chat style."""
    shots: Annotated[int, Field(ge=0)] = 0
    """Solved problems shown before each question in evaluation; training shows none."""
    shot_source: str = "train"
    """``train``: drawn from ``data.train`` by seed; ``gsm8k-cot``, ``word-problems``; or a file."""


OptimizerName = str
"""Any ``optim`` of Transformers, which checks the name when training begins."""


def _steps(value: int) -> int:
    if value == 0 or value < -1:
        raise ValueError(f"is {value}; give the number of steps, or -1 to train by epochs")
    return value


class TrainConfig(Section):
    """How to train; names and meanings as in ``TrainingArguments`` and ``SFTConfig``."""

    objective: Literal["sft", "grpo", "dpo", "verifier"] = "sft"
    """``sft``: learn the solutions; ``grpo``: learn from the model's own graded answers; ``dpo``:
    learn to prefer right to wrong answers of a sample file; ``verifier``: learn which are right."""
    num_train_epochs: Annotated[float, Field(gt=0)] = 3
    """Epochs over the training problems, unless ``max_steps`` is given."""
    max_steps: Annotated[int, AfterValidator(_steps)] = -1
    """Optimiser steps; overrides ``num_train_epochs`` when above 0."""
    per_device_train_batch_size: Positive = 8
    """At most this many problems in one micro-batch on each device; with ``grpo`` all answers of
    each."""
    gradient_accumulation_steps: Positive = 1
    """An optimiser step sees batch × accumulation × devices problems, however they are split."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-5
    """Peak learning rate."""
    lr_scheduler_type: str = "cosine"
    """Schedule by its Transformers name."""
    warmup_steps: Annotated[float, Field(ge=0)] = 0
    """Steps of linear warm-up; below 1 it is a share of all steps."""
    optim: OptimizerName = "adamw_torch_fused"
    """Optimiser by its Transformers name, for example ``paged_adamw_8bit``."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled weight decay."""
    adam_beta1: Fraction01 = 0.9
    """First moment decay."""
    adam_beta2: Fraction01 = 0.999
    """Second moment decay."""
    max_grad_norm: Annotated[float, Field(ge=0)] = 1.0
    """Clip the gradient to this norm; 0: no clipping."""
    label_smoothing_factor: Fraction01 = 0.0
    """Label smoothing."""
    max_length: Positive = 1024
    """Longest example in tokens. A longer one is never truncated: see ``overlong``."""
    overlong: Literal["drop", "error"] = "drop"
    """What to do with an example longer than ``max_length``; drops are counted and shown."""
    completion_only_loss: bool = True
    """Train on solutions only; false: on the question's text as well."""
    gradient_checkpointing: Annotated[bool, SAME_RESULT] = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    micro_batch_tokens: Annotated[Positive | None, SAME_RESULT] = None
    """At most this many tokens in one micro-batch; never changes the gradient. Default: by
    device."""
    padding_free: Annotated[bool, SAME_RESULT] = True
    """Put the examples of a micro-batch in one row without padding, if the model keeps them
    apart."""
    torch_compile: Annotated[bool, SAME_RESULT] = False
    """Compile the model's layers at the start; needs a C++ compiler, takes up to a minute."""
    use_liger_kernel: Annotated[bool, SAME_RESULT] = False
    """Liger's kernels for norms, rotations and activations, on GPUs (``liger-kernel``)."""
    logits_chunk_bytes: Annotated[Positive, SAME_RESULT] = 512 * 2**20
    """Largest block of logits held at once; never changes the gradient."""
    non_finite: Literal["stop", "skip"] = "stop"
    """A step whose loss or gradient is not finite: stop, or skip it (at most 10 in a row)."""
    eval_strategy: Literal["epoch", "steps"] = "epoch"
    """When to measure validation loss; a better one is always saved."""
    eval_steps: Positive = 100
    """Interval with ``eval_strategy: steps``."""
    save_steps: Annotated[Positive, SAME_RESULT] = 500
    """Interval of additional checkpoints, to continue from after an interruption."""
    save_only_when_better: Annotated[bool, SAME_RESULT] = True
    """Save no checkpoint after a validation that did not improve."""
    save_total_limit: Annotated[Positive, SAME_RESULT] = 2
    """Checkpoints kept; the best and the newest are never deleted."""
    exact_match_samples: Annotated[int, Field(ge=0)] = 0
    """Let the model solve this many validation problems at every validation; 0: loss only."""
    metric_for_best_model: Literal["eval_loss", "eval_exact_match"] = "eval_loss"
    """Metric that chooses the checkpoint; ``eval_exact_match`` needs ``exact_match_samples``."""
    logging_steps: Positive = 10
    """Interval of training metrics."""
    early_stopping_patience: Positive | None = None
    """Stop after this many validations without improvement."""
    full_determinism: bool = False
    """Deterministic GPU kernels (slower). CPU runs are deterministic anyway."""


class GrpoConfig(Section):
    """Policy gradient on graded answers (``train.objective: grpo``); names as in
    ``trl.GRPOConfig``. Answers are as in ``eval``: ``max_new_tokens``, ``stop``, ``calculator``.
    """

    num_generations: Annotated[int, Field(ge=2)] = 8
    """Answers sampled per problem: a group, whose mean reward is what each is compared with."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Temperature of sampling, and of the probabilities in the loss."""
    num_iterations: Positive = 1
    """Optimiser steps on the answers sampled for one; above 1 the ratio is clipped."""
    epsilon: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """How far below 1 the ratio of new to old probability still counts (PPO's clip)."""
    epsilon_high: Annotated[float, Field(gt=0)] | None = None
    """How far above 1, for example 0.28 (clip-higher, Yu et al. 2025); empty: as ``epsilon``."""
    beta: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL divergence from the model before training; 0: none."""
    scale_rewards: Literal["none", "group", "batch"] = "none"
    """Divide advantages by the rewards' standard deviation in the group or the step; ``none``: Dr.
    GRPO (Liu et al. 2025)."""
    leave_one_out: bool = False
    """Compare an answer with the mean of the others in its group (RLOO, Ahmadian et al. 2024)."""
    loss_type: Literal["dapo", "dr_grpo", "grpo"] = "dapo"
    """The sum over tokens is divided by the step's tokens; by answers × ``max_new_tokens``; or
    by each answer's tokens and the number of answers."""
    mask_truncated_completions: bool = False
    """Leave answers cut at ``max_new_tokens`` out of the loss; false: punish them as wrong."""
    format_reward_weight: Annotated[float, Field(ge=0)] = 0.0
    """Added to the reward of an answer that ends and marks its result, right or wrong."""
    max_refills: Annotated[int, Field(ge=0)] = 3
    """Groups all right or all wrong teach nothing and are dropped: sample other problems in their
    place at most this many times per step."""
    pass_rate_problems: Annotated[int, Field(ge=0)] = 64
    """Training problems solved before the first step, to refuse where hardly any answer or nearly
    every answer is right; 0: no such check."""


class DpoConfig(Section):
    """Preference learning (``train.objective: dpo``), on pairs of a right and a wrong answer."""

    samples: str | None = None
    """JSONL file of graded samples, several per training problem: predictions of a run."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How far the model may move from the one before training: smaller is further."""
    rpo_alpha: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the right answer's negative log-likelihood per token (Pang et al. 2024), against
    both answers becoming unlikely; 0: DPO alone."""
    max_pairs: Positive = 4
    """Most pairs of one problem."""


class VerifierConfig(Section):
    """A model that says how likely an answer is right (``train.objective: verifier``)."""

    samples: str | None = None
    """JSONL file of graded samples, several per training problem: predictions of a run."""
    max_per_problem: Positive = 8
    """Most right, and as many wrong, answers of one problem."""


def _stop_strings(value: list[str]) -> list[str]:
    if "" in value:
        raise ValueError("holds an empty string, which would end every answer at once; remove it")
    return value


class EvalConfig(Section):
    """How base and tuned model are measured; the same for both, so that they compare."""

    max_new_tokens: Positive = 256
    """Longest answer in tokens."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """0: the likeliest token at each step (greedy); above: sampled, by the recipe's seed."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the likeliest tokens that hold this probability (Holtzman et al. 2020)."""
    samples: Annotated[int, Field(gt=0, le=10_000)] = 1
    """Answers per problem; above 1 the majority's answer (maj@k) and pass@k are reported too."""
    stop: Annotated[list[str], AfterValidator(_stop_strings)] | None = None
    """Strings that end an answer; default: those of the prompt style."""
    stop_repetition: bool = True
    """End a greedy answer that only repeats itself; it counts as one cut off by the limit does."""
    calculator: bool = False
    """Headline figures with the calculator; the other setting is measured and reported too."""
    other_calculator: bool = True
    """Off: measure only the headline's calculator setting, as ``mathtune sample`` does."""
    logprobs: bool = False
    """Record each answer's token ids, and their log-probabilities under the model itself."""
    batch_size: Annotated[Positive | None, SAME_RESULT] = None
    """Rows decoded at once; default: from free memory."""
    engine: Literal["hf", "vllm", "openai"] = "hf"
    """``hf``: Transformers in this process; ``vllm``: its offline mode; ``openai``: a server."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as ``http://localhost:8000/v1``."""
    endpoint: Literal["completions", "chat"] = "completions"
    """``chat``: the server's own template renders the messages of ``prompt.style: chat``."""
    concurrency: Annotated[Positive, Unrecorded] = 16
    """Maximum number of requests to the server at a time."""
    requests_per_minute: Annotated[Annotated[float, Field(gt=0)] | None, Unrecorded] = None
    """Maximum requests started per minute; empty: wait only when the server asks for it."""
    timeout_seconds: Annotated[float, Field(gt=0), Unrecorded] = 600.0
    """Longest wait for one answer of the server, after which the request is sent again."""
    api_key_env: Annotated[str, Unrecorded] = "OPENAI_API_KEY"
    """Environment variable with the server's API key, which is never recorded."""
    tensor_parallel_size: Positive = 1
    """GPUs that vLLM splits each layer over."""
    perplexity: bool = True
    """Also measure the perplexity of the gold solutions, with no solved problems before them."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """Confidence level of every interval."""
    example: str = SEED_PROBLEM
    """An example problem that both models answer in the report."""


class SelectConfig(Section):
    """Which graded samples become training solutions; what ``mathtune select`` does."""

    max_per_problem: Positive = 10
    """Keep at most this many samples of a problem (10 as in ReST-EM, Singh et al. 2023)."""
    min_pass_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Drop the samples of problems that were solved less often, for example 0.2."""
    max_pass_rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Drop the samples of problems that were solved more often, for example 0.8."""
    gold: bool = False
    """Mix in the published solution of every sampled problem."""

    @model_validator(mode="after")
    def _band(self) -> SelectConfig:
        if self.min_pass_rate > self.max_pass_rate:
            raise ValueError(
                f"min_pass_rate={self.min_pass_rate:g} is above max_pass_rate="
                f"{self.max_pass_rate:g}; swap them"
            )
        return self


class RFTConfig(Section):
    """Rejection-sampling fine-tuning: train on own right answers (Yuan et al. 2023)."""

    rounds: Annotated[int, Field(ge=0)] = 0
    """0: off. In each round the last round's model, first the base, answers the training problems;
    the base is trained on the right answers of all rounds, chosen by ``select``."""
    samples: Annotated[int, Field(gt=0, le=10_000)] = 16
    """Samples per problem in each round."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Temperature of the samples."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Sample from the likeliest tokens that hold this probability."""
    calculator: bool = False
    """Let the calculator fill in results while sampling."""


class TrackingConfig(Section):
    """Where metrics go besides ``metrics.jsonl``, which is always written."""

    report_to: Annotated[
        list[Literal["wandb", "tensorboard", "mlflow", "trackio"]], SAME_RESULT
    ] = Field(default_factory=list)
    """Trackers by their Transformers names. W&B without key or server records offline."""
    project: Annotated[str, SAME_RESULT] = "mathtune"
    """Project name in the tracker."""


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
}
"""Knobs that not every engine has; allowed elsewhere, they would silently do nothing."""


def _file_name(value: str) -> str:
    if not value.strip() or "/" in value or "\0" in value:
        raise ValueError(f"is {value!r}; give a word without '/', as it is in a folder's name")
    return value


class Recipe(Section):
    """A whole experiment. ``mathtune run`` needs nothing else."""

    name: Annotated[str, AfterValidator(_file_name)]
    """Short name; part of the run folder's name."""
    description: Annotated[str, SAME_RESULT] = ""
    """One sentence for ``mathtune recipes``."""
    seed: Seed = 42
    """Seed of everything random: data order, initial weights, sampling."""
    model: ModelConfig
    adapter: AdapterConfig | None = None
    """LoRA settings; empty: all weights are trained (full fine-tuning)."""
    data: DataConfig
    prompt: PromptConfig = PromptConfig()
    train: TrainConfig = TrainConfig()
    grpo: GrpoConfig = GrpoConfig()
    dpo: DpoConfig = DpoConfig()
    verifier: VerifierConfig = VerifierConfig()
    eval: EvalConfig = EvalConfig()
    select: SelectConfig = SelectConfig()
    rft: RFTConfig = RFTConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        faults = []
        if self.model.load_in_4bit and self.adapter is None:
            faults.append(
                "model.load_in_4bit=true with adapter empty: 4-bit weights cannot be trained; add "
                "an adapter (for example adapter.r=8) or set model.load_in_4bit=false"
            )
        if self.model.load_in_4bit and self.adapter is not None and self.adapter.is_pissa:
            faults.append(
                f"adapter.init_lora_weights={self.adapter.init_lora_weights} with "
                "model.load_in_4bit=true: PiSSA takes a part out of the base's weights, and 4-bit "
                "weights cannot be changed so finely; set adapter.init_lora_weights=true or "
                "model.load_in_4bit=false"
            )
        if self.adapter is not None and self.model.from_config is not None:
            faults.append(
                "adapter with model.from_config: random weights that stay frozen teach nothing and "
                "are not saved; leave adapter out or name a saved model"
            )
        if self.model.load_in_4bit and self.model.from_config is not None:
            faults.append(
                "model.load_in_4bit=true with model.from_config: random weights are not worth "
                "quantising; set model.load_in_4bit=false or name a saved model"
            )
        if self.train.metric_for_best_model == "eval_exact_match" and not (
            self.train.exact_match_samples
        ):
            faults.append(
                "train.metric_for_best_model=eval_exact_match with train.exact_match_samples=0: "
                "there is nothing to choose by; set train.exact_match_samples, for example "
                "to 100"
            )
        if self.rft.rounds and self.model.from_config is not None:
            faults.append(
                f"rft.rounds={self.rft.rounds} with model.from_config: random weights solve "
                "nothing, so there is no right answer to learn from; name a saved model or set "
                "rft.rounds=0"
            )
        if self.train.torch_compile and self.train.gradient_checkpointing:
            faults.append(
                "train.torch_compile=true with train.gradient_checkpointing=true: layers that are "
                "checkpointed run uncompiled; set one of the two to false"
            )
        if "/" in (self.model.attn_implementation or "") and not self.model.trust_remote_code:
            faults.append(
                f"model.attn_implementation={self.model.attn_implementation} with "
                "model.trust_remote_code=false: a kernel on the hub is somebody's machine code; "
                "set model.trust_remote_code=true to run it, or model.attn_implementation=sdpa"
            )
        if self.prompt.system is not None and self.prompt.style != "chat":
            faults.append(
                f"prompt.system with prompt.style={self.prompt.style}: only the chat style has a "
                "system message; set prompt.style=chat or leave prompt.system out"
            )
        if self.eval.temperature == 0:
            if self.eval.samples > 1:
                faults.append(
                    f"eval.samples={self.eval.samples} with eval.temperature=0: greedy decoding "
                    "would give the same answer each time; set eval.temperature, for example to "
                    "0.7, or eval.samples=1"
                )
            if self.eval.top_p < 1:
                faults.append(
                    f"eval.top_p={self.eval.top_p:g} with eval.temperature=0: greedy decoding "
                    "takes the likeliest token anyway; set eval.temperature, for example to 0.7, "
                    "or eval.top_p=1"
                )
        faults += self._objective_faults()
        faults += self._engine_faults()
        labels = [test.label for test in self.data.test]
        if len(set(labels)) != len(labels):
            faults.append(
                f"data.test has two sets with one label ({', '.join(labels)}); rename one"
            )
        if faults:
            raise ValueError("\x1e".join(faults))  # split again in wording.py
        return self

    def _objective_faults(self) -> Iterator[str]:
        objective = self.train.objective
        sections = (("grpo", self.grpo), ("dpo", self.dpo), ("verifier", self.verifier))
        for own, section in sections:
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
            if self.train.metric_for_best_model != "eval_loss":
                yield (
                    "train.objective=verifier with train.metric_for_best_model="
                    f"{self.train.metric_for_best_model}: a verifier solves no problems; set "
                    "train.metric_for_best_model=eval_loss"
                )
        elif self.train.metric_for_best_model != "eval_exact_match":
            yield (
                f"train.objective={objective} with train.metric_for_best_model=eval_loss: the loss "
                "on solutions written by others does not show which weights solve most problems; "
                "set train.metric_for_best_model=eval_exact_match and train.exact_match_samples, "
                "for example to 100"
            )
        for name in ("label_smoothing_factor", "completion_only_loss"):
            value, default = getattr(self.train, name), TrainConfig.model_fields[name].default
            if value != default:
                yield (
                    f"train.{name}={str(value).lower()} with train.objective={objective}: only the "
                    "objective sft has it; leave it out or set train.objective=sft"
                )
        if objective in ("dpo", "verifier") and getattr(self, objective).samples is None:
            yield (
                f"train.objective={objective} with {objective}.samples empty: give a file of "
                "graded samples, several per training problem, such as "
                "RUN_DIR/predictions/base.jsonl of an evaluation with eval.samples=16"
            )
        if self.grpo.beta and self.adapter is not None and self.adapter.is_pissa:
            yield (
                f"grpo.beta={self.grpo.beta:g} with "
                f"adapter.init_lora_weights={self.adapter.init_lora_weights}: without its PiSSA "
                "adapter the model is not the one before training; set grpo.beta=0 or "
                "adapter.init_lora_weights=true"
            )

    def _engine_faults(self) -> Iterator[str]:
        engine = self.eval.engine
        for (section, name), engines in _ENGINES_WITH.items():
            part = getattr(self, section)
            value = getattr(part, name)
            if engine not in engines and value != type(part).model_fields[name].default:
                shown = str(value).lower() if isinstance(value, bool) else value
                # An address may hold a password, and a mapping is long.
                given = "" if name in ("base_url", "api_key_env", "from_config") else f"={shown}"
                yield (
                    f"{section}.{name}{given} with eval.engine={engine}: only the engine "
                    f"{' or '.join(engines)} has it; leave it out or set eval.engine={engines[0]}"
                )
        if engine != "openai":
            return
        if self.eval.base_url is None:
            yield (
                "eval.engine=openai with eval.base_url empty: give the server's address, for "
                "example eval.base_url=http://localhost:8000/v1"
            )
        if self.eval.endpoint == "chat" and self.prompt.style != "chat":
            yield (
                f"eval.endpoint=chat with prompt.style={self.prompt.style}: a chat endpoint puts "
                "questions into the model's own template; set prompt.style=chat, or "
                "eval.endpoint=completions"
            )
        if self.eval.endpoint == "completions" and self.prompt.style == "chat":
            yield (
                "prompt.style=chat with eval.endpoint=completions: the chat template is the "
                "server's, which only its chat endpoint uses; set eval.endpoint=chat, or another "
                "prompt.style"
            )
