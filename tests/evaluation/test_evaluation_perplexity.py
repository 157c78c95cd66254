from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence

import pytest

from mathtune.errors import DataError, ModelError
from mathtune.evaluation.perplexity import perplexity
from mathtune.records import Example


def example(name: str, tokens: int, prompt_tokens: int) -> Example:
    return Example(
        problem_id=name,
        ids=tuple(range(tokens)),
        supervised=(False,) * prompt_tokens + (True,) * (tokens - prompt_tokens),
        prompt_tokens=prompt_tokens,
    )


def returning(*scores: Sequence[float | None]):
    return lambda examples: iter(scores)


def test_by_hand() -> None:
    # First example: prompt of 2 tokens, then p = 1/2 and 1/8; second: prompt of 1, then p = 1/4.
    # Completion: (1/2 * 1/8 * 1/4)^(-1/3) = 64^(1/3) = 4.
    # Whole text has one more token with p = 1/64 (the first token of each is never scored):
    # (64 * 64)^(1/4) = 8.
    found = perplexity(
        [example("a", 4, 2), example("b", 2, 1)],
        returning(
            [None, math.log(1 / 64), math.log(1 / 2), math.log(1 / 8)], [0.0, math.log(1 / 4)]
        ),
    )
    assert found.completion == pytest.approx(4.0, rel=1e-12)
    assert found.whole_text == pytest.approx(8.0, rel=1e-12)
    assert (found.completion_tokens, found.whole_text_tokens) == (3, 4)
    assert found.result() == {
        "completion": found.completion,
        "whole_text": found.whole_text,
        "completion_tokens": 3,
        "whole_text_tokens": 4,
    }


def test_a_uniform_model_has_its_vocabulary_for_perplexity() -> None:
    def uniform(examples: Sequence[Example]) -> Iterator[list[float]]:
        for item in examples:
            yield [0.0] + [-math.log(50_257)] * (len(item.ids) - 1)

    found = perplexity([example(str(n), 3 + n, 1 + n % 2) for n in range(40)], uniform)
    assert found.completion == pytest.approx(50_257, rel=1e-9)
    assert found.whole_text == pytest.approx(50_257, rel=1e-9)


def test_the_same_in_any_order_to_the_last_bit() -> None:
    draw = random.Random(0)
    items = [example(str(n), draw.randint(2, 60), 1) for n in range(200)]
    scores = {e.problem_id: [0.0, *(-draw.expovariate(1) for _ in e.ids[1:])] for e in items}

    def scorer(examples: Sequence[Example]) -> Iterator[list[float]]:
        return (scores[e.problem_id] for e in examples)

    found = perplexity(items, scorer)
    for _ in range(5):
        draw.shuffle(items)
        assert perplexity(items, scorer) == found


def test_long_examples_weigh_more_than_short_ones() -> None:
    # 9 tokens at p = 1/2 and 1 at p = 1/1024: exp of (9 ln 2 + 10 ln 2)/10 = 2^1.9, while a mean
    # over examples would give (2 + 1024)/2 = 513.
    found = perplexity(
        [example("long", 10, 1), example("short", 2, 1)],
        returning([0.0] + [-math.log(2)] * 9, [0.0, -math.log(1024)]),
    )
    assert found.completion == pytest.approx(2**1.9)


def test_what_cannot_be_right_is_refused() -> None:
    one = [example("a", 3, 1)]
    for scores in ([[0.0, -1.0]], [], [[0.0, -1.0, -1.0]] * 2):
        with pytest.raises(ModelError, match="one per token"):
            perplexity(one, returning(*scores))
    for value in (math.nan, 0.5, None):
        with pytest.raises(ModelError, match="token 2 of problem 'a'"):
            perplexity(one, returning([0.0, -1.0, value]))
    with pytest.raises(DataError, match="solved problems"):
        perplexity([example("a", 2, 2)], returning([0.0, -1.0]))
    with pytest.raises(DataError, match="0 examples"):
        perplexity([], returning())


def test_a_hopeless_model_is_infinitely_perplexed_not_an_error() -> None:
    assert perplexity([example("a", 2, 1)], returning([0.0, -math.inf])).completion == math.inf
    assert perplexity([example("a", 2, 1)], returning([0.0, -1e6])).completion == math.inf
