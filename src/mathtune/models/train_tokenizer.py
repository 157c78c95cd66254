"""A tokenizer for a model trained from scratch: digits one by one, and any text encodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import PostProcessor, TemplateProcessing
from transformers import PreTrainedTokenizerFast

from mathtune.records import Problem

BOS, EOS, PAD = "<s>", "</s>", "<pad>"

# A word with the space before it, one digit, one symbol, or one run of white space. Symbols stay
# separate so that `<<`, `=` and `>>` are always the same tokens, wherever they are.
_PIECES = r" ?[A-Za-z]+|\d|\s|[^\sA-Za-z\d]"


SAMPLE = 20_000
"""Problems that are enough text for byte-pair merges to settle; more only takes longer."""


def training_texts(problems: Sequence[Problem]) -> Iterator[str]:
    """Yield the texts on which a recipe's tokenizer is trained: evenly spaced problems."""
    for problem in problems[:: max(1, len(problems) // SAMPLE)]:
        yield f"{problem.question}\n{problem.answer}"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on ``texts``.

    Digits are single tokens, because numbers are read digit by digit. All 256 bytes are in the
    alphabet, so there is no unknown token.

    Args:
        texts: Training texts.
        vocab_size: Entries, special tokens included; at least 300.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = _leading_bos(tokenizer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=PAD
    )


def _leading_bos(tokenizer: Tokenizer) -> PostProcessor:
    return TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
