"""The loss at supervised positions is the model's own cross-entropy, however the step is cut."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mathtune.prompts import Renderer
from mathtune.records import Problem, content_id
from mathtune.training.batching.micro_batches import Limits, collate, cut, supervised_count
from mathtune.training.loss.supervised import summed_loss, token_logprobs
from models_for_tests import ARCHITECTURES, tiny_model
from tokenizers_for_tests import bpe

TOKENIZER = bpe()
QUESTIONS = [
    ("Tom has 3 apples. " * n + "How many?", "He has 3. " * (n % 4) + "#### 3") for n in range(1, 8)
]
EXAMPLES = [
    Renderer(TOKENIZER, "qa").example(Problem(content_id(q, a), q, a, "3")) for q, a in QUESTIONS
]


def reference_loss(model, examples):
    """Each example alone, full logits, the textbook shift: no batching, no padding, no hook."""
    total = torch.zeros((), dtype=torch.float64)
    for example in examples:
        ids = torch.tensor([example.ids])
        logits = model(input_ids=ids).logits[0, :-1].double()
        on = torch.tensor(example.supervised[1:])
        total = total + F.cross_entropy(logits[on], ids[0, 1:][on], reduction="sum")
    return total


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_equals_the_models_own_full_logits(name):
    model = tiny_model(name, len(TOKENIZER)).eval()
    with torch.no_grad():
        ours = sum(summed_loss(model, collate([example])).double() for example in EXAMPLES)
        batched = summed_loss(model, collate(EXAMPLES)).double()
        expected = reference_loss(model, EXAMPLES)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(batched, expected, rtol=1e-5, atol=0)


def test_only_supervised_tokens_carry_loss():
    """Replacing a supervised token changes the targets; a prompt's last token is no target."""
    batch = collate(EXAMPLES[:1])
    example = EXAMPLES[0]
    expected = [token for token, on in zip(example.ids, example.supervised, strict=True) if on]
    assert batch.targets_N.tolist() == expected
    assert batch.columns_N.tolist()[0] == example.prompt_tokens - 1
    assert batch.targets_N.tolist()[-1] == TOKENIZER.eos_token_id


def test_label_smoothing_matches_the_definition():
    """(1 − ε) · nll + ε · mean over the vocabulary of −log p (Szegedy et al. 2016)."""
    model = tiny_model("llama", len(TOKENIZER)).eval()
    batch = collate(EXAMPLES[:2])
    with torch.no_grad():
        smooth = summed_loss(model, batch, label_smoothing=0.1)
        logits = torch.cat(
            [
                model(input_ids=torch.tensor([e.ids])).logits[0, :-1][
                    torch.tensor(e.supervised[1:])
                ]
                for e in EXAMPLES[:2]
            ]
        )
        targets = torch.cat(
            [torch.tensor(e.ids)[1:][torch.tensor(e.supervised[1:])] for e in EXAMPLES[:2]]
        )
        logp = logits.log_softmax(-1)
        expected = (-0.9 * logp.gather(1, targets[:, None]).sum()) - 0.1 * logp.mean(-1).sum()
    torch.testing.assert_close(smooth, expected, rtol=1e-5, atol=0)


def test_cut_keeps_every_example_once_within_limits():
    limits = Limits(max_examples=3, max_tokens=150, max_supervised_tokens=40)
    pieces = list(cut(EXAMPLES, limits))
    assert sorted(e.problem_id for piece in pieces for e in piece) == sorted(
        e.problem_id for e in EXAMPLES
    )
    for piece in pieces:
        width = max(len(e.ids) for e in piece)
        assert len(piece) == 1 or (len(piece) <= 3 and len(piece) * width <= 150)
        assert len(piece) == 1 or supervised_count(piece) <= 40


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_token_logprobs_do_not_depend_on_the_batch(rows):
    model = tiny_model("gemma2", len(TOKENIZER)).eval()
    scored = list(token_logprobs(model, EXAMPLES, Limits(rows, 10**6, 10**6)))
    for example, logprobs in zip(EXAMPLES, scored, strict=True):
        with torch.no_grad():
            full = model(input_ids=torch.tensor([example.ids])).logits[0, :-1].log_softmax(-1)
        expected = full.gather(1, torch.tensor(example.ids)[1:, None])[:, 0]
        assert logprobs[0] == 0.0
        torch.testing.assert_close(torch.tensor(logprobs[1:]), expected, rtol=1e-4, atol=1e-4)
