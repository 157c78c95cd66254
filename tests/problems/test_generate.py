"""The word-problem generator: every template, and the promises of ``generate``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import pytest

from mathtune.arithmetic import evaluate
from mathtune.errors import DataError
from mathtune.problems.contamination import overlap
from mathtune.problems.generate import (
    BASE_TYPES,
    HELD_OUT,
    NEW_TYPES,
    TEMPLATES,
    TYPES,
    Draw,
    Story,
    Template,
    choose_templates,
    generate,
    themes,
)
from mathtune.problems.generate.asides import ASIDES
from mathtune.problems.generate.words import PEOPLE, Noun
from mathtune.records import Problem, content_id

ANNOTATION = re.compile(r"<<([^=<>]+)=([^=<>]+)>>")
SAMPLES = 60


@pytest.fixture(scope="module")
def samples() -> dict[str, list[Problem]]:
    return {name: generate(SAMPLES, seed=3, templates=[name], split="all") for name in TEMPLATES}


def test_there_are_enough_templates_themes_types_and_steps() -> None:
    assert len(TEMPLATES) >= 60
    assert len({template.theme for template in TEMPLATES.values()}) >= 10
    assert {template.steps for template in TEMPLATES.values()} == {1, 2, 3, 4, 5}
    by_type = defaultdict(list)
    for template in TEMPLATES.values():
        by_type[template.type].append(template)
    assert set(by_type) == set(TYPES) == set(BASE_TYPES) | set(NEW_TYPES)
    assert not set(BASE_TYPES) & set(NEW_TYPES)
    for type_name, templates in by_type.items():
        assert len(templates) >= 4, type_name
        assert any(template.held_out for template in templates), type_name
        assert len({template.theme for template in templates}) >= 3, type_name


def test_both_groups_of_types_have_easy_and_hard_templates() -> None:
    for group in (BASE_TYPES, NEW_TYPES):
        assert {t.steps for t in TEMPLATES.values() if t.type in group} == {1, 2, 3, 4, 5}


def test_no_template_is_left_out_of_its_modules_list() -> None:
    modules = [m for m in vars(themes).values() if isinstance(m, ModuleType)]
    written = {t.name for m in modules for t in vars(m).values() if isinstance(t, Template)}
    assert written == set(TEMPLATES)
    assert {template.theme for template in TEMPLATES.values()} == set(ASIDES)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_stated_calculation_is_exact(name: str, samples: dict[str, list[Problem]]) -> None:
    for problem in samples[name]:
        *lines, last = problem.answer.split("\n")
        assert len(lines) == problem.steps == TEMPLATES[name].steps
        for line in lines:
            [(expression, result)] = ANNOTATION.findall(line)
            assert re.fullmatch(r"[0-9.+\-*/()]+", expression)
            assert re.fullmatch(r"(0|[1-9]\d*)(\.\d*[1-9])?", result)  # no trailing zeros
            assert evaluate(expression) == Fraction(result) > 0
            # As GSM8K writes it: the expression, "=", perhaps "$", the annotation, the result.
            assert re.search(rf"{re.escape(expression)}=\$?<<[^>]*>>{re.escape(result)}", line)
        assert last == f"#### {problem.gold}"
        assert problem.gold == result


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_number_of_a_solution_has_a_source(
    name: str, samples: dict[str, list[Problem]]
) -> None:
    """A number comes from the question, from an earlier result, or is a constant of conversion."""
    words = {"half": "2", "dozen": "12", "three": "3", "four": "4", "Two": "2", "two": "2"}
    words |= {"minutes": "60", "ml": "1000", "kg": "1000", "meters": "1000", "km": "1000"}
    words |= {"rectangular": "2", "field": "2", "third": "3", "%": "100"}
    for problem in samples[name]:
        question = problem.question
        known = {Fraction(n) for n in re.findall(r"\d+(?:\.\d+)?", question)}
        known |= {Fraction(value) for word, value in words.items() if word in question}
        for expression, result in ANNOTATION.findall(problem.answer):
            used = {Fraction(n) for n in re.findall(r"\d+(?:\.\d+)?", expression)}
            assert used <= known, (problem.question, expression)
            known.add(Fraction(result))


@pytest.mark.parametrize("name", TEMPLATES)
def test_texts_are_varied_and_well_formed(name: str, samples: dict[str, list[Problem]]) -> None:
    asked, first = set(), 0
    names = {person.name for person in PEOPLE}
    for problem in samples[name]:
        assert (problem.question + problem.answer).isascii()
        assert not re.search(r"\s\s|\s[.,?]|\.\.|[{}]|\b1 \w+s (are|have)\b", problem.question)
        assert problem.question[0].isupper() or problem.question[0].isdigit()
        assert problem.question.count("?") == 1
        sentences = re.split(r"(?<=[.?]) ", problem.question)
        first += sentences[0].endswith("?") and len(sentences) > 1
        [question] = [sentence for sentence in sentences if sentence.endswith("?")]
        masked = re.sub(r"\d[\d.]*", "#", question)
        asked.add(" ".join("X" if w.rstrip(".,?'s") in names else w for w in masked.split()[:5]))
        assert "He " not in sentences[0] and "She " not in sentences[0]
        for sentence in sentences:
            assert sentence[0].isupper() or sentence[0].isdigit(), problem.question
    assert first > 0  # the question comes first in some
    assert len(asked) >= 3


def test_about_one_problem_in_five_holds_a_fact_that_is_not_needed() -> None:
    fixed = [re.escape(text).replace(r"\#", r"\d+") for pool in ASIDES.values() for text in pool]
    general = re.compile("|".join(fixed))
    problems = generate(5000, seed=1, split="all")
    distracted = sum(bool(general.search(problem.question)) for problem in problems)
    # The templates with a distractor of their own are not counted, so the share is a little lower.
    assert 0.14 < distracted / len(problems) < 0.23


def test_it_is_named_counted_and_identified_as_a_record() -> None:
    for problem in generate(50, seed=5):
        assert problem.source == "generated"
        assert problem.type in TYPES
        assert problem.id == content_id(problem.question, problem.answer)


def test_the_same_arguments_give_the_same_problems_in_another_process() -> None:
    code = (
        "from mathtune.problems.generate import generate\n"
        "print([p.id for p in generate(200, seed=11)])"
    )
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        printed = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        ).stdout
        assert printed.strip() == str([problem.id for problem in generate(200, seed=11)])
    assert generate(200, seed=11) != generate(200, seed=12)


def test_a_shorter_call_is_the_start_of_a_longer_one() -> None:
    assert generate(300, seed=2)[:100] == generate(100, seed=2)


def test_no_question_comes_twice() -> None:
    questions = [problem.question for problem in generate(20_000, seed=4)]
    assert len(set(questions)) == len(questions)


def test_held_out_templates_are_in_no_training_problem() -> None:
    assert not {template.name for template in choose_templates()} & HELD_OUT
    assert {template.name for template in choose_templates(split="held_out")} == HELD_OUT
    train = generate(3000, seed=0)
    held_out = generate(3000, seed=0, split="held_out")
    assert {p.type for p in held_out} == set(TYPES) == {p.type for p in train}
    # A held-out text shares a long window with no training text, names and numbers apart.
    assert not {o.train_id for o in overlap(_without_names(train), _without_names(held_out), 16)}
    for name in HELD_OUT:
        with pytest.raises(DataError, match="No template has"):
            generate(1, templates=[name], split="train")


def test_parts_share_no_calculation() -> None:
    train = generate(4000, seed=0, part="train")
    test = generate(400, seed=1, part="test")
    chains = [{tuple(ANNOTATION.findall(p.answer)) for p in side} for side in (train, test)]
    assert len(test) == 400
    assert not chains[0] & chains[1]


def test_excluded_questions_and_ids_do_not_come() -> None:
    first = generate(50, seed=9)
    by_question = generate(50, seed=9, exclude=[p.question for p in first])
    by_id = generate(50, seed=9, exclude={p.id for p in first})
    assert not {p.question for p in first} & {p.question for p in by_question}
    assert not {p.id for p in first} & {p.id for p in by_id}


def test_types_and_templates_narrow_the_choice() -> None:
    assert {p.type for p in generate(200, types=["average", "profit"])} == {"average", "profit"}
    assert {p.type for p in generate(20, templates=["sale_tag"])} == {"percent_change"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"types": ["avrage"]}, "did you mean 'average'"),
        ({"templates": ["sale_tags"]}, "did you mean 'sale_tag'"),
        ({"split": "test"}, "split is 'test'"),
        ({"part": "dev"}, "part is 'dev'"),
        ({"types": ["average"], "templates": ["sale_tag"]}, "widen one"),
        ({"n": -1}, "-1 problems"),
    ],
)
def test_faults_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        generate(**{"n": 1, **arguments})


def test_an_exhausted_template_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(d: Draw) -> Story:
        sides = d.number(1, 3)
        area = sides * sides
        return Story(
            (f"A tile is {sides} cm wide.",), "How large is it?", (f"It is {area:=}.",), area, "So."
        )

    # 3 tiles; question first, last, or behind "If"; with and without the distractor: 18 texts.
    small = Template("small", "sport", "rectangle", 1, False, tell)
    monkeypatch.setitem(TEMPLATES, "small", small)
    assert len(generate(18, templates=["small"])) == 18
    with pytest.raises(DataError, match=r"'small' gave no new question .* 18 of 19 problems"):
        generate(19, templates=["small"])


def test_draws_are_uniform_and_within_bounds() -> None:
    draw = Draw(0)
    drawn = [int(draw.number(3, 9, 3)) for _ in range(3000)]
    assert set(drawn) == {3, 6, 9}
    assert all(900 < drawn.count(value) < 1100 for value in (3, 6, 9))
    a, b = zip(*(draw.two_of((1, 2, 3)) for _ in range(300)), strict=True)
    assert all(x != y for x, y in zip(a, b, strict=True)) and set(a) == set(b) == {1, 2, 3}


def test_nouns_agree_with_their_number() -> None:
    box = Noun("box", "boxes")
    assert (box(1), box(2), box.word(1), box.a) == ("1 box", "2 boxes", "box", "a box")
    assert Noun("apple", "apples").a == "an apple"


def test_no_template_is_a_gsm8k_test_question_in_disguise(
    samples: dict[str, list[Problem]], real_data: Path
) -> None:
    with (real_data / "gsm8k" / "test.jsonl").open(encoding="utf-8") as rows:
        questions = [json.loads(row)["question"] for row in rows]
    test = [Problem(str(i), question, "", "") for i, question in enumerate(questions)]
    assert len(test) == 1319
    ours = [problem for problems in samples.values() for problem in problems]
    assert not list(overlap(ours, test, n=13))
    # The gate does see a disguised question: other numbers, same text.
    disguised = re.sub(r"\d+", "77", questions[0])
    assert list(overlap([Problem("x", disguised, "", "")], test, n=13))


def _without_names(problems: list[Problem]) -> list[Problem]:
    pattern = re.compile(r"\b(" + "|".join(person.name for person in PEOPLE) + r")\b")
    return [Problem(p.id, pattern.sub("X", p.question), "", "") for p in problems]


def test_max_number_bounds_every_number_of_the_calculations() -> None:
    small = generate(300, seed=4, types=BASE_TYPES, max_number=20)
    numbers = [
        number
        for problem in small
        for calculation in re.findall(r"<<(.*?)>>", problem.answer)
        for number in re.split(r"[-+*/=()]", calculation)
        if number
    ]
    assert max(map(int, numbers)) <= 20  # int() would refuse 2.5
    assert small[:50] == generate(50, seed=4, types=BASE_TYPES, max_number=20)
    with pytest.raises(DataError, match="raise max_number=1"):
        generate(5, types=["profit"], max_number=1)
