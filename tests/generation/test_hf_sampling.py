"""Sampling: the right distribution, and the same samples whatever the batch."""

from __future__ import annotations

import collections
import math

import pytest
import torch

from mathtune.generation import Decoding
from mathtune.generation.hf import HFEngine
from mathtune.generation.hf.sampling import choose, row_generator
from mathtune.records import Prompt
from models_for_tests import tiny_model
from tokenizers_for_tests import bpe


@pytest.fixture(scope="module")
def engines():
    tokenizer = bpe()
    model = tiny_model("llama", len(tokenizer)).eval()
    return {rows: HFEngine(model, tokenizer, rows=rows) for rows in (1, 3, 8, 64)}


PROMPTS = [Prompt(f"p{i}", "", (*range(10, 30), 30 + i, *range(40, 43 + i))) for i in range(5)]


def samples(engine, prompts=PROMPTS, **options):
    decoding = Decoding(**{"max_new_tokens": 8, "temperature": 1.0, "samples": 4, **options})
    return {(c.problem_id, c.sample): c.ids for c in engine.generate(prompts, decoding)}


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_samples_do_not_depend_on_the_batch(engines, top_p):
    wanted = samples(engines[1], top_p=top_p)
    assert len(wanted) == 20
    for rows in (3, 8, 64):
        assert samples(engines[rows], top_p=top_p) == wanted
    # Nor on which problems are asked, nor in what order.
    some = [PROMPTS[3], PROMPTS[0]]
    fewer = samples(engines[8], some, top_p=top_p, samples=2)
    assert fewer == {key: wanted[key] for key in fewer}


def test_samples_of_a_problem_differ_and_so_do_seeds(engines):
    found = samples(engines[8])
    for prompt in PROMPTS:
        assert len({found[prompt.problem_id, i] for i in range(4)}) == 4
    assert samples(engines[8], seed=1) != found
    assert samples(engines[8]) == found


def test_greedy_samples_are_equal(engines):
    found = samples(engines[3], temperature=0.0)
    for prompt in PROMPTS:
        assert len({found[prompt.problem_id, i] for i in range(4)}) == 1


def draws(logits, count, **options):
    decoding = Decoding(**options)
    generators = [row_generator(0, "p", i) for i in range(count)]
    return collections.Counter(choose(logits.expand(count, -1), decoding, generators))


def test_frequencies_follow_the_tempered_softmax():
    logits = torch.tensor([0.0, math.log(2), math.log(4), -math.inf])
    found = draws(logits, 20_000, temperature=2.0)
    # At temperature 2 the weights 1, 2, 4 become 1, sqrt(2), 2; three standard errors are 0.011.
    total = 1 + math.sqrt(2) + 2
    for token, weight in enumerate([1, math.sqrt(2), 2]):
        assert found[token] / 20_000 == pytest.approx(weight / total, abs=0.011)
    assert found[3] == 0


def test_top_p_keeps_the_smallest_set_that_reaches_it():
    logits = torch.tensor([0.1, 0.5, 0.05, 0.3, 0.05]).log()
    assert set(draws(logits, 3000, temperature=1.0, top_p=0.5)) == {1}
    assert set(draws(logits, 3000, temperature=1.0, top_p=0.6)) == {1, 3}
    found = draws(logits, 20_000, temperature=1.0, top_p=0.85)
    assert set(found) == {0, 1, 3}
    assert found[1] / 20_000 == pytest.approx(0.5 / 0.9, abs=0.011)


def test_top_p_on_a_flat_distribution_over_a_large_vocabulary():
    found = draws(torch.zeros(2000), 2000, temperature=1.0, top_p=0.5)
    assert len(found) > 1000  # all are equal, so none can be told to be outside the nucleus
    slope = torch.linspace(0, 1, 2000)
    found = draws(slope, 2000, temperature=1.0, top_p=0.5)
    # The nucleus is the upper tail that holds half of (e^x) on [0, 1]: x > ln((1 + e) / 2) = 0.62.
    assert min(found) / 2000 == pytest.approx(0.62, abs=0.01)


def test_a_low_temperature_is_greedy():
    logits = torch.tensor([1.0, 3.0, 2.999])
    assert set(draws(logits, 100, temperature=1e-30)) == {1}
