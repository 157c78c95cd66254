"""Names that Transformers knows, for checking a recipe before training."""

from transformers.trainer_utils import SchedulerType
from transformers.training_args import OptimizerNames

OPTIMIZERS = tuple(item.value for item in OptimizerNames)
SCHEDULES = tuple(item.value for item in SchedulerType)
