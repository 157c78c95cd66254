"""Every knob of a recipe, once: its type, its default and what it does.

Names are the ones Hugging Face users know (``TrainingArguments``, ``SFTConfig``, ``LoraConfig``,
``BitsAndBytesConfig``). The text under a field is its only documentation, which
``mathtune recipes --knobs`` prints.
"""

from mathtune.config.schema.data import (
    FILE_ENDINGS,
    DataConfig,
    Source,
    SourceConfig,
    Sources,
    TestSetConfig,
    TestSets,
)
from mathtune.config.schema.evaluation import SEED_PROBLEM, EvalConfig
from mathtune.config.schema.learning import (
    DpoConfig,
    GkdConfig,
    GrpoConfig,
    RFTConfig,
    SelectConfig,
    VerifierConfig,
)
from mathtune.config.schema.model import ATTENTION, AdapterConfig, ModelConfig
from mathtune.config.schema.prompt import PromptConfig
from mathtune.config.schema.recipe import Recipe
from mathtune.config.schema.section import (
    SAME_RESULT,
    Fraction01,
    Positive,
    Section,
    Seed,
    Unrecorded,
)
from mathtune.config.schema.train import OptimizerName, TrackingConfig, TrainConfig

__all__ = [
    "ATTENTION",
    "FILE_ENDINGS",
    "SAME_RESULT",
    "SEED_PROBLEM",
    "AdapterConfig",
    "DataConfig",
    "DpoConfig",
    "EvalConfig",
    "Fraction01",
    "GkdConfig",
    "GrpoConfig",
    "ModelConfig",
    "OptimizerName",
    "Positive",
    "PromptConfig",
    "RFTConfig",
    "Recipe",
    "Section",
    "Seed",
    "SelectConfig",
    "Source",
    "SourceConfig",
    "Sources",
    "TestSetConfig",
    "TestSets",
    "TrackingConfig",
    "TrainConfig",
    "Unrecorded",
    "VerifierConfig",
]
