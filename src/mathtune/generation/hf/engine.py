"""Continuous batching over one shared prefix, for any Transformers causal language model.

The loop, step by step: free rows take the next prompts; one forward pass feeds the
last token of every running row and the whole prompt of every new one; each row gets its next
token, from the calculator where it has one waiting; rows that end are yielded and reused.
The few-shot prefix that all prompts share is computed once.

Left out on purpose: beam search (published results use one greedy or sampled path) and speculative
decoding.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mathtune.attention.onednn_linear import FastLinears, without_mixed_precision
from mathtune.errors import ModelError
from mathtune.generation.engine import Decoding, StreamedCompletion
from mathtune.generation.hf.memory import row_bytes, rows_that_fit
from mathtune.generation.hf.packed import PackedForward, unwrap
from mathtune.generation.hf.plain import PlainForward
from mathtune.generation.hf.probe import Probe, probe, rope_reason
from mathtune.generation.hf.rows import DecodeRow, Rules, eos_ids
from mathtune.generation.hf.sampling import (
    choose,
    first_not_finite,
    log_probabilities,
    row_generator,
)
from mathtune.generation.hf.schedule import Scheduler, shared_prefix, worth_sharing
from mathtune.generation.hf.streaming import WrittenText
from mathtune.generation.stops import Detokenizer, RowText
from mathtune.records import Completion, Prompt

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class GenerationStats:
    """What one ``generate`` call did.

    Attributes:
        rows: Most rows decoded at once.
        shared_prefix_tokens: Leading tokens of all prompts, computed once.
        prompt_tokens: All other prompt tokens computed.
        new_tokens: Tokens of all completions, insertions included.
        inserted_tokens: Tokens that the calculator wrote.
        steps: Forward passes after the prefix.
        seconds: Wall-clock time up to the last completion.
        plain_reason: Why rows were decoded one at a time, or None where they were packed.
    """

    rows: int = 0
    shared_prefix_tokens: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    inserted_tokens: int = 0
    steps: int = 0
    seconds: float = 0.0
    plain_reason: str | None = None


class HFEngine:
    """Decodes with a Transformers model in this process.

    Greedy output equals ``model.generate`` on one prompt at a time, up to rounding: matrix products
    round differently for different numbers of rows, which can turn the choice between two tokens
    whose logits agree in all but the last digits. The same inputs with the same ``rows`` give the
    same output on the same machine.

    Architectures that do not take their attention from Transformers' attention interface, or whose
    logits differ when packed, are decoded one row at a time: slow but correct, logged as a warning
    and recorded in ``stats.plain_reason``.

    Args:
        model: A causal language model, bare or wrapped by PEFT, quantised or not, on its device.
        tokenizer: Its tokenizer.
        rows: Most completions decoded at once; None is ``MAX_ROWS``. The memory budget may allow
            fewer.
        memory_budget_bytes: For keys, values and logits of all rows; None is a quarter of the
            memory free on CPU and 60 % of that on CUDA.
        prefill_tokens: Most prompt tokens computed in one step (one prompt at least), which bounds
            the memory of activations.
        on_progress: Called with the number of completions done and the number in all after each
            one.
        interrupted: Called before each step; once it returns True, no further completion comes.

    Attributes:
        stats: Figures of the last ``generate`` call.
    """

    name = "hf"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        rows: int | None = None,
        memory_budget_bytes: int | None = None,
        prefill_tokens: int = 2048,
        on_progress: Callable[[int, int], None] | None = None,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        for name, value in (("rows", rows), ("prefill_tokens", prefill_tokens)):
            if value is not None and value < 1:
                raise ModelError(f"{name} is {value}; give 1 or more")
        peft = getattr(model, "active_peft_config", None)
        if peft is not None and peft.is_prompt_learning:
            raise ModelError(
                f"the adapter type {peft.peft_type} puts virtual tokens before each prompt, which "
                "the hf engine does not do; use LoRA"
            )
        self._model = model
        self._tokenizer = tokenizer
        self._rows = rows
        self._budget = memory_budget_bytes
        self._prefill_tokens = prefill_tokens
        self._on_progress = on_progress
        self._interrupted = interrupted
        self._detokenizer = Detokenizer(tokenizer)
        self._probe: Probe | None = None
        self.stats = GenerationStats()

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        """Yield ``len(prompts) * decoding.samples`` completions, each as soon as it is complete.

        A completion that fills the model's context ends with ``StopReason.LENGTH``, as one that
        reaches ``max_new_tokens`` does. The model is in evaluation mode until the iterator is
        exhausted or closed, then in its former mode. Samples are seeded by problem id: prompts with
        the same id get the same random numbers.

        Raises:
            ModelError: A prompt is empty or leaves no room in the context, the memory budget does
                not hold one row, or the model's logits are not finite.
        """
        return self._run(tuple(prompts), self._limits(prompts, decoding), decoding)

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[StreamedCompletion]:
        """Yield one completion after each of its tokens, the whole one last.

        The tokens are those that ``generate`` returns for the prompt's first sample. An
        interruption ends the iterator without a whole completion.

        Raises:
            ModelError: As ``generate``.
        """
        decoding = replace(decoding, samples=1)
        return self._stream(prompt, self._limits([prompt], decoding), decoding)

    def _limits(self, prompts: Sequence[Prompt], decoding: Decoding) -> list[int]:
        """Return the most new tokens of each prompt."""
        config = unwrap(self._model).config.get_text_config(decoder=True)
        context = getattr(config, "max_position_embeddings", None)
        for prompt in prompts:
            if not prompt.ids:
                raise ModelError(
                    f"the prompt of problem {prompt.problem_id!r} has no tokens; render it first"
                )
            if context is not None and len(prompt.ids) >= context:
                raise ModelError(
                    f"the prompt of problem {prompt.problem_id!r} has {len(prompt.ids)} tokens and "
                    f"the model's context {context}, which leaves no room for an answer; use fewer "
                    "examples in the prompt or a model with a longer context"
                )
        most = decoding.max_new_tokens
        return [most if context is None else min(most, context - len(p.ids)) for p in prompts]

    @torch.no_grad()
    def _run(
        self, prompts: Sequence[Prompt], limits: Sequence[int], decoding: Decoding
    ) -> Iterator[Completion]:
        self.stats = stats = GenerationStats()
        if not prompts:
            return
        began = time.perf_counter()
        done, total = 0, len(prompts) * decoding.samples
        with self._evaluation_mode():
            for _, ended in self._decode(prompts, limits, decoding):
                for completion in ended:
                    done += 1
                    stats.seconds = time.perf_counter() - began
                    stats.new_tokens += len(completion.ids)
                    stats.inserted_tokens += completion.inserted_tokens
                    if self._on_progress is not None:
                        self._on_progress(done, total)
                    yield completion

    @torch.no_grad()
    def _stream(
        self, prompt: Prompt, limits: Sequence[int], decoding: Decoding
    ) -> Iterator[StreamedCompletion]:
        self.stats = GenerationStats()
        written = WrittenText(decoding.stop)
        with self._evaluation_mode():
            for active, ended in self._decode([prompt], limits, decoding):
                yield from map(written.so_far, active)
                yield from map(written.whole, ended)

    @contextmanager
    def _evaluation_mode(self) -> Iterator[None]:
        """Put the model into evaluation mode, and back into its former mode at the end."""
        was_training = self._model.training
        self._model.eval()
        try:
            with without_mixed_precision(self._model):
                yield
        finally:
            self._model.train(was_training)

    def _decode(
        self, prompts: Sequence[Prompt], limits: Sequence[int], decoding: Decoding
    ) -> Iterator[tuple[Sequence[DecodeRow], Sequence[Completion]]]:
        """Yield, after each step, the rows that go on and the completions that ended with it."""
        stats = self.stats
        ends = eos_ids(unwrap(self._model), self._tokenizer)
        rules = Rules(decoding, ends, self._tokenizer, self._detokenizer)
        prefix = shared_prefix(prompts)
        longest = max(len(p.ids) + limit for p, limit in zip(prompts, limits, strict=True))
        forward = self._forward(prompts[0].ids[:prefix], longest)
        tasks = len(prompts) * decoding.samples
        rows = 1
        if stats.plain_reason is None:
            assert self._probe is not None
            size = row_bytes(unwrap(self._model), longest - prefix, self._probe.bytes_per_token)
            rows = rows_that_fit(self._model, size, tasks, self._rows, self._budget)
        own = [prompt.ids[prefix:] for prompt in prompts]
        lengths = [len(ids) for ids in own]
        share = worth_sharing(lengths, decoding.samples)
        capacity = max(limits) if share else longest - prefix
        forward.reserve(rows, capacity, share_prompts=share)
        stats.rows, stats.shared_prefix_tokens = rows, prefix
        scheduler = Scheduler(lengths, decoding.samples, rows, self._prefill_tokens)
        active: list[DecodeRow] = []
        logits = spare = torch.empty(0)
        while (active or scheduler) and not self._interrupted():
            admission = scheduler.admit(len(active))
            if active or admission.starts:
                logits = forward.step(
                    [row.ids[-1] for row in active], [own[task.prompt] for task in admission.starts]
                )
                stats.steps += 1
                stats.prompt_tokens += sum(len(own[task.prompt]) for task in admission.starts)
            for task in (*admission.starts, *(task for task, _ in admission.copies)):
                prompt = prompts[task.prompt]
                active.append(
                    DecodeRow(
                        prompt,
                        task.sample,
                        limits[task.prompt],
                        RowText(self._detokenizer),
                        row_generator(decoding.seed, prompt.problem_id, task.sample),
                    )
                )
            if admission.copies:
                first = len(active) - len(admission.copies)
                for target, (_, source) in enumerate(admission.copies, first):
                    forward.copy_row(source, target)
                copied = [
                    spare if source == rows else logits[source] for _, source in admission.copies
                ]
                logits = torch.cat([logits[:first], torch.stack(copied)])
            if admission.keep is not None:
                forward.copy_row(admission.keep, rows)
                spare = logits[admission.keep].clone()
            ended = self._advance(active, logits, forward, rules, decoding)
            yield active, ended

    def _advance(
        self,
        active: list[DecodeRow],
        logits: Tensor,
        forward: PackedForward | PlainForward,
        rules: Rules,
        decoding: Decoding,
    ) -> list[Completion]:
        """Give every row its next token; remove those that end with it, and return them."""
        bad = first_not_finite(logits)
        if bad is not None:
            raise ModelError(
                f"the model's logits for problem {active[bad].prompt.problem_id!r} are not finite "
                "numbers; check its weights, or load it in float32 or bfloat16"
            )
        chosen = choose(logits, decoding, [row.generator for row in active])
        tokens = [rules.next_token(*pair) for pair in zip(active, chosen, strict=True)]
        if decoding.logprobs:
            for row, logprob in zip(active, log_probabilities(logits, tokens), strict=True):
                row.logprobs.append(logprob)
        ended = [rules.push(*pair) for pair in zip(active, tokens, strict=True)]
        completions = []
        # From the last row backwards, so that the row moved into a gap is one that goes on.
        for index in reversed(range(len(active))):
            reason = ended[index]
            if reason is None:
                continue
            completions.append(rules.complete(active[index], reason))
            for source, target in forward.remove(index, len(active)):
                active[target] = active[source]
            active.pop()
        return completions

    def _forward(self, prefix: Sequence[int], longest: int) -> PackedForward | PlainForward:
        """Return the path that works for the model, with the prefix computed."""
        linears = FastLinears(self._model)
        if self._probe is None:
            self._probe = probe(self._model, linears)
        reason = self._probe.reason or rope_reason(self._model, longest)
        if reason is None:
            return PackedForward(self._model, linears, prefix)
        self.stats.plain_reason = reason
        logger.warning("decoding one row at a time: %s", reason)
        return PlainForward(self._model, prefix)
