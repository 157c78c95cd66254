"""``model`` and ``adapter``: which weights, and what is trained of them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from mathtune.config.schema.section import SAME_RESULT, Fraction01, Positive, Section
from mathtune.errors import did_you_mean

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
