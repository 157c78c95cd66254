"""Whether a GGUF file answers as its model does: greedy answers in llama.cpp, token by token.

The model is loaded by Transformers, in 32 bits where memory allows. First both must tokenise every
prompt alike, and texts that tokenizers differ on; then each answer of llama.cpp is compared with
the model's up to where one of them ends. Where they diverge, the model's own logits say whether
rounding can have decided: how far the token that llama.cpp took is behind the model's.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mathtune import progress
from mathtune.errors import ModelError
from mathtune.exporting import runtime
from mathtune.records import Prompt

log = logging.getLogger(__name__)

PROBLEMS = 20
TOKENS = 20

ROUNDING: Mapping[str, float] = {
    "f32": 0.05, "f16": 0.05, "bf16": 0.5, "q8_0": 1.0, "q6_k": 3.0, "q5_k_m": 5.0, "q4_k_m": 10.0,
    "q4_0": 10.0,
}  # fmt: skip
"""By how many nats rounding can make another token win. llama.cpp rounds activations too: to 16
bits, or to 8 for the two last, which alone changes 17 of 50 answers of SmolLM2-135M-Instruct at
gaps of up to 0.26 nats; with Q8_0 weights 0.32 were seen, with Q4_0 5.4 (Gemma 3 270M)."""

FEW = 0.5
"""At most this share of equal answers is worth a warning."""

TEXTS = (
    "It's 3.14; they'll say 'don't', 'screen' and \"Tom's\" 1,234,567 times.",
    "  two  spaces\n\n\tand a tab\n \nx=<<3+4=7>>7 $1.50 50% (a/b)*c",
    "naïve café – 日本語 😀 ½ ﬁ Ωμέγα שלום",
    "CamelCase snake_case ALLCAPS a1b2c3 ... !!! #### 42",
)
"""What tokenizers differ on."""


@dataclass(frozen=True, slots=True)
class SameAnswers:
    """How a file's answers compare with its model's.

    Attributes:
        problems: Problems that both answered.
        same: Answers that are equal token by token.
        largest_gap: Of the others, how far the token that llama.cpp took is behind the model's at
            most, in nats of the model.
        tokens: Longest answer.
    """

    problems: int
    same: int
    largest_gap: float = 0.0
    tokens: int = TOKENS

    def __str__(self) -> str:
        text = (
            f"{self.same} of {self.problems} greedy answers of {self.tokens} tokens in llama.cpp "
            "are the model's"
        )
        if self.same == self.problems:
            return text
        return f"{text}; the others diverge at tokens at most {self.largest_gap:.2g} nats apart"

    def to_json(self) -> dict[str, float]:
        """Return the figures."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer of the model, and its logits ``[len(ids), vocabulary]``."""

    prompt: Prompt
    ids: tuple[int, ...]
    logits: Any


def model_answers(folder: Path, tokenizer: Any, prompts: Sequence[Prompt]) -> list[Answer]:
    """Return what a model folder answers, by Transformers.

    Raises:
        ModelError: The model cannot be loaded.
    """
    import psutil
    import torch

    from mathtune.config.schema import ModelConfig
    from mathtune.generation.engine import Decoding
    from mathtune.generation.hf import HFEngine
    from mathtune.models.compute import pick_compute
    from mathtune.models.loading import load_model, quiet_libraries

    quiet_libraries()
    count = _parameters(folder)
    narrow = not torch.cuda.is_available() and 4 * count > psutil.virtual_memory().available
    dtype = "bfloat16" if narrow else "float32"
    if narrow:
        log.info("the model is compared in bfloat16, as it does not fit into memory in float32")
    model = load_model(ModelConfig(name_or_path=str(folder)), pick_compute(dtype)).eval()
    found = []
    with progress.bar("answering in Transformers", len(prompts)) as bar, torch.no_grad():
        engine = HFEngine(model, tokenizer)
        decoding = Decoding(max_new_tokens=TOKENS)
        done = {each.problem_id: each.ids for each in engine.generate(prompts, decoding)}
        for number, prompt in enumerate(prompts, 1):
            ids = done[prompt.problem_id]
            whole = torch.tensor([[*prompt.ids, *ids]], device=model.device)
            logits = model(input_ids=whole, use_cache=False).logits[0, len(prompt.ids) - 1 : -1]
            found.append(Answer(prompt, ids, logits.float().cpu()))
            bar.update(number)
    return found


def _parameters(folder: Path) -> int:
    """Return the number of weights in a model folder."""
    from mathtune.models.files import parameter_count

    return parameter_count(str(folder)) or 0


def check(file: Path, kind: str, tokenizer: Any, answers: Sequence[Answer]) -> SameAnswers:
    """Compare a GGUF file's answers with its model's.

    Args:
        file: The file.
        kind: Type of its weights.
        tokenizer: The model's tokenizer.
        answers: The model's answers.

    Raises:
        ModelError: llama.cpp cannot load the file, tokenises differently, or answers differently.
    """
    context = max(len(answer.prompt.ids) for answer in answers) + 2 * TOKENS
    gaps = []
    with (
        progress.bar("answering in llama.cpp", len(answers)) as bar,
        runtime.opened(file, max(512, context)) as opened,
    ):
        _check_tokens(opened, tokenizer, answers)
        for number, answer in enumerate(answers, 1):
            gap = _gap(answer, opened.continue_(answer.prompt.ids, TOKENS), tokenizer)
            gaps += [] if gap is None else [gap]
            bar.update(number, f"{number - len(gaps)} the same")
    found = SameAnswers(len(answers), len(answers) - len(gaps), max(gaps, default=0.0))
    if not found.largest_gap <= ROUNDING[kind]:  # also where it is NaN
        raise ModelError(
            f"the GGUF file answers differently from its model: {found}, and rounding to "
            f"{kind.upper()} explains {ROUNDING[kind]:g}; nothing was written"
        )
    if found.same <= FEW * found.problems:
        log.warning(
            f"only {found.same} of {found.problems} answers survive rounding to {kind.upper()}; "
            "measure the file before you use it, or export a wider type"
        )
    return found


def _check_tokens(opened: runtime.Runtime, tokenizer: Any, answers: Sequence[Answer]) -> None:
    for answer in answers:
        text = answer.prompt.text
        if len(tokenizer("")["input_ids"]):  # BOS, which a chat template may have written too
            text = text.removeprefix(tokenizer.bos_token or "")
        _check_text(opened, tokenizer, text, answer.prompt.ids)
    for text in TEXTS:
        _check_text(opened, tokenizer, text, tokenizer(text)["input_ids"])


def _check_text(opened: runtime.Runtime, tokenizer: Any, text: str, ours: Sequence[int]) -> None:
    theirs = opened.tokenize(text)
    if list(ours) == theirs:
        return
    pairs = zip(ours, theirs, strict=False)
    at = next((n for n, (one, other) in enumerate(pairs) if one != other), len(theirs))
    one, other = (tokenizer.convert_ids_to_tokens(ids[at : at + 4]) for ids in (list(ours), theirs))
    raise ModelError(
        f"llama.cpp tokenises {text[:60]!r}… differently from the model's tokenizer ({other} in "
        f"place of {one}); nothing was written"
    )


def _gap(answer: Answer, theirs: Sequence[int], tokenizer: Any) -> float | None:
    """Return how far llama.cpp's token is behind the model's where they diverge; None if nowhere.

    llama.cpp also ends an answer at tokens that only some models mean as an end, such as
    ``<|im_end|>``, so answers are compared up to the first special token.
    """
    ours, end = answer.ids, tokenizer.eos_token_id
    special = set(tokenizer.all_special_ids)
    for at, logits in enumerate(answer.logits):
        one, other = (ids[at] if at < len(ids) else end for ids in (ours, theirs))
        if one in special and other in special:
            return None
        if one != other:
            return float(logits[one] - logits[other])
    return None if len(theirs) <= len(ours) else math.inf
