"""A tokenizer as llama.cpp reads it: tokens, their types, merges or scores, and special tokens.

llama.cpp has two algorithms for the models written here. For byte-level BPE the file names the
pattern that cuts a text into words, from a list in llama.cpp's code, so a tokenizer whose pattern
is not on it cannot be written. For SentencePiece's BPE it holds a score a token instead of merges.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mathtune.errors import ModelError

log = logging.getLogger(__name__)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""llama.cpp's types of tokens."""

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS: Mapping[str, str] = {
    rf"{_LETTERS}|\p{{N}}{{1,3}}|{_REST}": "llama-bpe",  # Llama 3
    rf"{_LETTERS}|\p{{N}}|{_REST}": "qwen2",
    # The toy model's. llama.cpp's "bloom" cuts in fewer places, each of them one of these, and the
    # toy has no merge across the others.
    r" ?[A-Za-z]+|\d|\s|[^\sA-Za-z\d]": "bloom",
}
"""Pattern of a Split pre-tokenizer → llama.cpp's name of it."""

_SPACE = "▁"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a GGUF file holds of a tokenizer.

    Attributes:
        model: ``gpt2`` (byte-level BPE) or ``llama`` (SentencePiece's BPE).
        pre: Name of the pattern for words; for SentencePiece ``default``.
        tokens: Text of each token, by id.
        types: Type of each token.
        merges: Of byte-level BPE, best first.
        scores: Of SentencePiece's BPE, by id: the higher, the earlier it is merged.
        space_prefix: Whether a space goes before every text.
    """

    model: str
    pre: str
    tokens: list[str]
    types: list[int]
    merges: list[str]
    scores: list[float]
    space_prefix: bool = False


def vocabulary_of(tokenizer: Any, rows: int) -> Vocabulary:
    """Return a fast Transformers tokenizer as llama.cpp reads it.

    Args:
        tokenizer: The tokenizer.
        rows: Number of tokens that the model has embeddings for; ids beyond the tokenizer's are
            filled with unused tokens.

    Raises:
        ModelError: llama.cpp would tokenise differently.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    model = state["model"]
    if model["type"] != "BPE":
        raise _unfit(tokenizer, f"its model is {model['type']}, and only BPE can be written")
    merges = [tuple(m.split(" ", 1)) if isinstance(m, str) else tuple(m) for m in model["merges"]]
    tokens, types = _tokens(state, tokenizer, rows)
    if model.get("byte_fallback"):
        prefix = _space_prefix(tokenizer, state)
        scores = _scores(tokenizer, model["vocab"], merges, tokens, types)
        return Vocabulary("llama", "default", tokens, types, [], scores, prefix)
    pre = _pattern_name(tokenizer, state)
    return Vocabulary("gpt2", pre, tokens, types, [" ".join(merge) for merge in merges], [])


def write(writer: Any, tokenizer: Any, found: Vocabulary) -> None:
    """Write a vocabulary, the special tokens and the chat template with a ``GGUFWriter``."""
    writer.add_tokenizer_model(found.model)
    writer.add_tokenizer_pre(found.pre)
    writer.add_token_list(found.tokens)
    writer.add_token_types(found.types)
    if found.scores:
        writer.add_token_scores(found.scores)
        writer.add_add_space_prefix(found.space_prefix)
    writer.add_token_merges(found.merges)
    for role in ("bos", "eos", "unk", "pad"):
        token = getattr(tokenizer, f"{role}_token_id")
        if token is not None and token < len(found.tokens):
            getattr(writer, f"add_{role}_token_id")(token)
    plain, whole = (tokenizer("1", add_special_tokens=on)["input_ids"] for on in (False, True))
    added = len(whole) - len(plain)
    first = added > 0 and whole[0] == tokenizer.bos_token_id
    last = added > 0 and whole[-1] == tokenizer.eos_token_id
    if added != first + last:
        raise _unfit(tokenizer, "it puts other tokens than BOS and EOS around a text")
    writer.add_add_bos_token(first)
    writer.add_add_eos_token(last)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)


def _tokens(state: Mapping[str, Any], tokenizer: Any, rows: int) -> tuple[list[str], list[int]]:
    texts = {at: text for text, at in state["model"]["vocab"].items()}
    fallback, unknown = state["model"].get("byte_fallback"), tokenizer.unk_token
    kinds = dict.fromkeys(texts, NORMAL)
    for at, text in texts.items():
        if fallback and len(text) == 6 and text.startswith("<0x") and text.endswith(">"):
            kinds[at] = BYTE
    for added in state["added_tokens"]:
        at, text = added["id"], added["content"]
        kinds[at] = CONTROL if added["special"] else USER_DEFINED
        # What llama.cpp finds in a text as it is written there.
        texts[at] = text.replace(_SPACE, " ") if fallback and not added["special"] else text
        if fallback and text == unknown:
            kinds[at] = UNKNOWN
    if beyond := sum(at >= rows for at in texts):
        log.info(f"left out {beyond} tokens that the model has no embeddings for")
    if unused := sum(at not in texts for at in range(rows)):
        log.info(f"filled {unused} embeddings that no token uses with unused tokens")
    return (
        [texts.get(at, f"[PAD{at}]") for at in range(rows)],
        [kinds.get(at, UNUSED) for at in range(rows)],
    )


def _pattern_name(tokenizer: Any, state: Mapping[str, Any]) -> str:
    """Return llama.cpp's name of how a byte-level tokenizer cuts a text into words."""
    if (normalizer := state["normalizer"]) is not None and normalizer["type"] != "NFC":
        raise _unfit(tokenizer, f"it normalises texts ({normalizer['type']})")
    steps = list(_steps(state["pre_tokenizer"]))
    (last,) = steps[-1:] or [{"type": "nothing"}]
    if last["type"] != "ByteLevel":
        raise _unfit(tokenizer, f"its last step is {last['type']}, not ByteLevel")
    if last["add_prefix_space"]:
        raise _unfit(tokenizer, "it puts a space before every text")
    if last["use_regex"]:
        digits = [step["type"] == "Digits" and step["individual_digits"] for step in steps[:-1]]
        if not digits:
            return "gpt-2"
        if digits == [True]:
            return "smollm"
    elif len(steps) == 2 and steps[0]["type"] == "Split" and steps[0]["behavior"] == "Isolated":
        pattern = steps[0]["pattern"].get("Regex", "")
        if pattern in PATTERNS:
            return PATTERNS[pattern]
        raise _unfit(tokenizer, f"its pattern for words is not in llama.cpp: {pattern}")
    kinds = ", ".join(step["type"] for step in steps)
    raise _unfit(tokenizer, f"its steps are not in llama.cpp: {kinds}")


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if pre_tokenizer is None:
        return
    if pre_tokenizer["type"] == "Sequence":
        for step in pre_tokenizer["pretokenizers"]:
            yield from _steps(step)
    else:
        yield pre_tokenizer


def _space_prefix(tokenizer: Any, state: Mapping[str, Any]) -> bool:
    """Return whether a SentencePiece tokenizer puts a space before a text."""
    normalizer = state["normalizer"] or {"type": "Sequence", "normalizers": []}
    steps = normalizer.get("normalizers", [normalizer])
    prepended, replaced = (
        [step for step in steps if step["type"] == kind] for kind in ("Prepend", "Replace")
    )
    if len(prepended) + len(replaced) != len(steps):
        raise _unfit(tokenizer, f"it normalises texts ({', '.join(s['type'] for s in steps)})")
    cuts = list(_steps(state["pre_tokenizer"]))
    for cut in cuts:
        if cut["type"] == "Metaspace" and not cut.get("split", True):
            return bool(cut.get("prepend_scheme", "always") != "never")
        # Gemma's cuts at spaces, which its normaliser has replaced before.
        if cut["type"] != "Split" or cut["pattern"] != {"String": " "} or not replaced:
            raise _unfit(tokenizer, f"it cuts texts into words ({cut['type']})")
    return bool(prepended)


def _scores(
    tokenizer: Any,
    vocabulary: Mapping[str, int],
    merges: Sequence[tuple[str, ...]],
    tokens: Sequence[str],
    types: Sequence[int],
) -> list[float]:
    """Return SentencePiece's scores: the negative rank of the merge that makes a token.

    SentencePiece merges the pair whose union has the highest score, any two tokens whose union is
    one. Merges say the same if they list every such pair; those of other tokenizers do not.
    """
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(merges):
        ranks.setdefault("".join(merge), rank)
    listed = set(merges)
    scores = [0.0] * len(tokens)
    for token, at in vocabulary.items():
        if at >= len(tokens) or types[at] != NORMAL:
            continue
        scores[at] = -float(ranks.get(token, len(merges)))
        for cut in range(1, len(token)):
            pair = token[:cut], token[cut:]
            if pair not in listed and pair[0] in vocabulary and pair[1] in vocabulary:
                raise _unfit(
                    tokenizer, f"its merges are not SentencePiece's ({pair[0]!r} + {pair[1]!r})"
                )
    return scores


def _unfit(tokenizer: Any, why: str) -> ModelError:
    return ModelError(
        f"tokenizer {tokenizer.name_or_path!r} cannot be written as GGUF, because llama.cpp would "
        f"tokenise differently: {why}; use the merged model (--to merged) in Transformers or vLLM"
    )
