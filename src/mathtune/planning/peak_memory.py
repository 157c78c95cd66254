"""Peak memory of a recipe's training steps, from the model's configuration alone.

The model is built without data (see ``memory_trace.py``), held as the recipe holds it, and taken
through forward, backward and an optimiser step on the micro-batches that are largest.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any

import bitsandbytes as bnb
import torch
from accelerate.utils import convert_outputs_to_fp32
from bitsandbytes.functional import QuantState
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from transformers import AutoModelForCausalLM, Trainer
from transformers.training_args import OptimizerNames

from mathtune.config.schema import ModelConfig, Recipe
from mathtune.errors import ModelError
from mathtune.models.adapters import add_adapter, check_targets
from mathtune.models.compute import Compute
from mathtune.models.loading import ParameterCounts, count_parameters
from mathtune.planning.memory_trace import MemoryTrace, Use
from mathtune.records import Example
from mathtune.training.batching.micro_batches import Limits, collate
from mathtune.training.batching.padding_free import attention_within_examples
from mathtune.training.loss.supervised import summed_loss


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes at the moment when most are held, on one device.

    Attributes:
        by_use: Bytes a use; they add up to ``peak``.
        moment: ``backward`` (forward and backward of a micro-batch) or ``optimiser step``.
        pageable: Bytes of ``by_use`` that a paged optimiser can move to the host's memory.
        flops_per_token: Floating-point operations of forward and backward, a token of a
            micro-batch.
        kernels: Kernels that a micro-batch starts.
        parameters: What is held and trained.
    """

    by_use: Counter[Use]
    moment: str
    pageable: int
    flops_per_token: float
    kernels: int
    parameters: ParameterCounts

    @property
    def peak(self) -> int:
        """Sum over all uses."""
        return self.by_use.total()

    def sharded(self, devices: int) -> int:
        """Return the peak on each of several devices that share out weights and their states."""
        shared = sum(self.by_use[use] for use in (Use.WEIGHTS, Use.GRADIENTS, Use.OPTIMIZER))
        return self.peak - shared + shared // devices


def plan_memory(
    recipe: Recipe,
    hf_config: Any,
    compute: Compute,
    micro_batches: Sequence[Sequence[Example]],
    *,
    limits: Limits,
    accumulates: bool,
) -> MemoryPlan:
    """Return the peak over forward and backward of each micro-batch and an optimiser step.

    Args:
        recipe: Method, optimiser, checkpointing.
        hf_config: The model's Transformers configuration.
        compute: Types of numbers, and whether kernels work on lists of tensors as on a GPU.
        micro_batches: The largest ones; only lengths and what is supervised matter.
        limits: Those they were cut by.
        accumulates: Whether steps have several, so that the others' gradients are there already.

    Raises:
        ModelError: The model cannot be built, or the adapter does not fit it.
    """
    text = hf_config.get_text_config()
    trace = MemoryTrace(int(text.vocab_size), int(text.hidden_size))
    model = _build(recipe, hf_config, compute)
    with FakeTensorMode(), trace, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with trace.counting_as(Use.WEIGHTS):
            _give_storage(model)
        counts = count_parameters(model)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for parameter in trained:
            if accumulates:
                parameter.grad = torch.empty_like(parameter)
                trace.relabel(parameter.grad, Use.GRADIENTS)
            parameter.register_post_accumulate_grad_hook(
                lambda each: trace.relabel(each.grad, Use.GRADIENTS)
            )
        if recipe.train.gradient_checkpointing:
            model.activation_checkpointing_enable()
        if compute.autocast_bf16:
            model.forward = convert_outputs_to_fp32(model.forward)  # as accelerate does
        model.train()
        trace.restart_peak()
        before, tokens = (trace.flops, trace.kernels), 0
        for micro in micro_batches:
            if not accumulates:
                model.zero_grad()
            batch = collate(micro, padding_free=limits.padding_free)
            with attention_within_examples(model) if limits.padding_free else nullcontext():
                with torch.autocast("cpu", torch.bfloat16, enabled=compute.autocast_bf16):
                    smoothing = recipe.train.label_smoothing_factor
                    loss = summed_loss(model, batch, smoothing, limits.targets)
                loss.backward()
            tokens += batch.input_ids_BT.numel()
            del batch, loss
        passes = trace.peak
        flops, kernels = trace.flops - before[0], trace.kernels - before[1]
        with trace.counting_as(Use.OPTIMIZER):
            optimizer = _make_optimizer(recipe, model, trained, compute)
            _take_step(optimizer)
            states = trace.alive[Use.OPTIMIZER]
            step = trace.peak
    passes[Use.OPTIMIZER] = states  # they are there from the first step on
    by_use, moment = max((passes, "backward"), (step, "optimiser step"), key=_total)
    return MemoryPlan(
        by_use=+by_use,  # without zeros
        moment=moment,
        pageable=states if recipe.train.optim.startswith("paged_") else 0,
        flops_per_token=flops / tokens,
        kernels=round(kernels / len(micro_batches)),
        parameters=counts,
    )


def _total(peak: tuple[Counter[Use], str]) -> int:
    return peak[0].total()


def _build(recipe: Recipe, hf_config: Any, compute: Compute) -> Any:
    """Return the model on the meta device: shapes and types, no storage."""
    kernel = recipe.model.attn_implementation
    if kernel and (kernel.startswith(("flash_attention", "flex_attention")) or "/" in kernel):
        kernel = "sdpa"  # takes as much, and is there without the package or the GPU
    options = {"dtype": compute.dtype, "attn_implementation": kernel}
    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(hf_config, **options)
        except (ValueError, TypeError, ImportError) as error:
            first = str(error).strip().partition("\n")[0].rstrip(".")
            raise ModelError(
                f"model.name_or_path={recipe.model.name_or_path} cannot be planned: {first}; give "
                "a causal language model that Transformers has code for"
            ) from error
        if recipe.model.load_in_4bit:
            _quantise(model, recipe.model, compute)
        if recipe.adapter is not None:
            check_targets(model, recipe.adapter)
            # No SVD where there are no weights; PiSSA has the same parameters.
            plain = recipe.adapter.model_copy(update={"init_lora_weights": True})
            model = add_adapter(model, plain, recipe.seed)
    return model


def _quantise(model: Any, config: ModelConfig, compute: Compute) -> None:
    """Put bitsandbytes' 4-bit layers in, as ``from_pretrained`` does: all but the output layer."""
    head = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if type(module) is torch.nn.Linear and module is not head:
            model.set_submodule(name, _Linear4bit(module, config, compute.dtype))
    model.is_loaded_in_4bit = True  # what PEFT asks


class _Linear4bit(bnb.nn.Linear4bit):
    """bitsandbytes' layer around a weight without data, which its own constructor refuses."""

    def __init__(self, source: torch.nn.Linear, config: ModelConfig, dtype: torch.dtype) -> None:
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = source.in_features, source.out_features
        self.compute_dtype, self.compute_type_is_set = dtype, True
        self.support_avx512bf16_for_cpu = False
        self.bias = source.bias
        packed = torch.empty((source.weight.numel() + 1) // 2, 1, dtype=torch.uint8)
        self.weight: Any = torch.nn.Parameter(packed, requires_grad=False)
        self.weight.quant_type = self._type = config.bnb_4bit_quant_type
        self.weight.compress_statistics = self._doubled = config.bnb_4bit_use_double_quant

    def scales(self) -> QuantState:
        """Return one for 64 weights in float32, or in 8 bits with scales of their own."""
        blocks = math.ceil(self.in_features * self.out_features / 64)
        state = partial(
            QuantState,
            shape=torch.Size((self.out_features, self.in_features)),
            dtype=self.compute_dtype,
            blocksize=64,
            code=torch.empty(16),
            quant_type=self._type,
        )
        if not self._doubled:
            return state(absmax=torch.empty(blocks))
        of_scales = QuantState(
            absmax=torch.empty(math.ceil(blocks / 256)),
            blocksize=256,
            code=torch.empty(256),
            dtype=torch.float32,
        )
        absmax = torch.empty(blocks, dtype=torch.uint8)
        return state(absmax=absmax, offset=torch.empty(()), state2=of_scales)


def _give_storage(model: torch.nn.Module) -> None:
    """Replace each tensor on the meta device by one that has storage; tied ones stay tied."""
    made: dict[int, Any] = {}
    for module in list(model.modules()):
        for held in (module._parameters, module._buffers):
            for name, old in held.items():
                if old is None:
                    continue
                if id(old) not in made:
                    new = torch.empty(old.shape, dtype=old.dtype)
                    if held is module._parameters:
                        new = torch.nn.Parameter(new, requires_grad=old.requires_grad)
                    made[id(old)] = new
                held[name] = made[id(old)]
        if isinstance(module, _Linear4bit):
            module.weight.quant_state = module.quant_state = module.scales()


def _make_optimizer(
    recipe: Recipe, model: Any, trained: list[torch.nn.Parameter], compute: Compute
) -> torch.optim.Optimizer:
    train = recipe.train
    args: Any = SimpleNamespace(
        optim=OptimizerNames(train.optim),
        optim_args=None,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        adam_beta1=train.adam_beta1,
        adam_beta2=train.adam_beta2,
        adam_epsilon=1e-8,
    )
    kind, options = Trainer.get_optimizer_cls_and_kwargs(args, model)
    if (
        compute.device == "cuda"
        and kind.__module__.startswith("torch.optim")
        and (not options.get("fused"))
    ):
        options = {**options, "foreach": True}  # PyTorch's choice on GPUs: all tensors at once
    with unset_fake_temporarily():  # bitsandbytes computes a table of numbers here
        return kind(trained, **options)


def _take_step(optimizer: torch.optim.Optimizer) -> None:
    if not hasattr(optimizer, "init_state"):
        optimizer.step()
        return
    # bitsandbytes: its kernels work in place, so the states are all there is.
    optimizer.is_paged = False  # pages are set apart with CUDA
    for number, group in enumerate(optimizer.param_groups):
        for index, parameter in enumerate(group["params"]):
            optimizer.init_state(group, parameter, number, index)
