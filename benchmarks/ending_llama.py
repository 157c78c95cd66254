"""A Llama shape with random weights whose answers end at lengths like those of GSM8K's solutions.

Speed does not depend on what is said but on how much of it. The weights are drawn wide enough that
greedy output varies instead of falling into a loop. ``EndingLlama`` adds to the logit of the end of
text a term that grows with the position, so answers end at lengths that vary from problem to
problem. The term is part of the model's forward pass, so every engine gets it.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.modeling_outputs import CausalLMOutputWithPast

from mathtune.generation.engine import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.records import Prompt

VOCABULARY = 8192


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with 8k entries."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="</s>", pad_token="<pad>", padding_side="left"
    )


class EndingLlama(LlamaForCausalLM):
    """A Llama that is the likelier to end its text the further it is."""

    ends_at = 0.0  # position at which the end of text gets no bonus and no malus
    _per_token = 0.03  # of the logits' standard deviation

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        output = super().forward(
            input_ids=input_ids,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if position_ids is None:
            position_ids = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        last = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        kept = position_ids[:, last]
        bonus = (kept - self.ends_at) * (self._per_token * self.logit_scale)
        output.logits[..., self.config.eos_token_id] += bonus
        return output


def build_model(tokenizer: PreTrainedTokenizerFast) -> EndingLlama:
    """Return the model with random weights."""
    torch.manual_seed(0)
    model = EndingLlama(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=384,
            intermediate_size=1024,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            initializer_range=0.08,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).eval()
    model.logit_scale = 0.0
    ids = torch.randint(VOCABULARY, (1, 64))
    with torch.no_grad():
        model.logit_scale = model(ids).logits.std().item()
    return model


def set_lengths(
    model: EndingLlama, engine: HFEngine, prompts: list[Prompt], new_tokens: int, mean: float
) -> None:
    """Move the position around which answers end until they are ``mean`` tokens long."""
    low, high = 0.0, 2048.0
    for _ in range(12):
        model.ends_at = (low + high) / 2
        lengths = [len(c.ids) for c in engine.generate(prompts, Decoding(new_tokens))]
        longer = statistics.mean(lengths) > mean
        low, high = (low, model.ends_at) if longer else (model.ends_at, high)
