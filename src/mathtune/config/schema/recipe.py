"""A whole recipe."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, model_validator

from mathtune.config.schema.contradictions import contradictions
from mathtune.config.schema.data import DataConfig
from mathtune.config.schema.evaluation import EvalConfig
from mathtune.config.schema.learning import (
    DpoConfig,
    GkdConfig,
    GrpoConfig,
    RFTConfig,
    SelectConfig,
    VerifierConfig,
)
from mathtune.config.schema.model import AdapterConfig, ModelConfig
from mathtune.config.schema.prompt import PromptConfig
from mathtune.config.schema.section import SAME_RESULT, Section, Seed
from mathtune.config.schema.train import TrackingConfig, TrainConfig


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
    gkd: GkdConfig = GkdConfig()
    dpo: DpoConfig = DpoConfig()
    verifier: VerifierConfig = VerifierConfig()
    eval: EvalConfig = EvalConfig()
    select: SelectConfig = SelectConfig()
    rft: RFTConfig = RFTConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if faults := list(contradictions(self)):
            raise ValueError("\x1e".join(faults))  # split again in wording.py
        return self

    @property
    def teacher(self) -> ModelConfig | None:
        """The teacher of ``gkd`` as a model to load, held as the recipe's own; None without one."""
        if self.train.objective != "gkd":
            return None
        return self.model.model_copy(
            update={
                "name_or_path": self.gkd.teacher_model_name_or_path,
                "revision": self.gkd.teacher_revision,
                "from_config": None,
                "train_tokenizer": None,
            }
        )
