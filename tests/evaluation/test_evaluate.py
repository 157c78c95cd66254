from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mathtune.errors import DataError, RunError
from mathtune.evaluation.evaluate import Counts, Evaluation, evaluate, regrade
from mathtune.evaluation.predictions.rows import FIELDS, prompt_hash, read_rows, write_rows
from mathtune.evaluation.predictions.timing import read_timing, timing_path
from mathtune.generation.engine import Decoding
from mathtune.generation.scripted import ScriptedEngine
from mathtune.records import Completion, Problem, ProblemSet, Prompt, StopReason, content_id


def problem(number: int) -> Problem:
    question = f"Tom has {number} apples and gets 3 more. How many has he?"
    answer = f"He has {number}+3=<<{number}+3={number + 3}>>{number + 3}.\n#### {number + 3}"
    return Problem(
        content_id(question, answer), question, answer, str(number + 3), type="sum", steps=1
    )


PROBLEMS = ProblemSet("sums", tuple(problem(number) for number in range(12)))
GREEDY = Decoding(max_new_tokens=50)


def prompt_for(problem: Problem) -> Prompt:
    return Prompt(problem.id, f"Question: {problem.question}\nAnswer:", (1, 2, 3))


def answers(problems: ProblemSet = PROBLEMS) -> dict[str, str]:
    """Right for even numbers, one too many for odd ones."""
    return {p.id: f" #### {int(p.gold) + i % 2}" for i, p in enumerate(problems.problems)}


def run(path: Path, engine: Any = None, decoding: Decoding = GREEDY, **others: Any) -> Evaluation:
    arguments: dict[str, Any] = {"problems": PROBLEMS, "prompts": prompt_for, "style": "qa"}
    return evaluate(
        engine or ScriptedEngine(answers()), decoding=decoding, path=path, **arguments | others
    )


class Backwards(ScriptedEngine):
    """Finishes in another order than asked, as continuous batching does, and may die on the way."""

    def __init__(self, answers: Any, dies_after: int | None = None) -> None:
        super().__init__(answers)
        self.dies_after = dies_after

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        for made, completion in enumerate(super().generate(prompts[::-1], decoding)):
            if made == self.dies_after:
                raise KeyboardInterrupt
            yield completion


def test_rows_say_all_there_is_to_know(tmp_path: Path) -> None:
    found = run(tmp_path / "base.jsonl", model="base")
    assert found.counts == Counts(generated=12)
    assert (found.model, found.set, found.calculator) == ("base", "sums", False)
    rows = read_rows(tmp_path / "base.jsonl")
    assert tuple(rows) == found.rows
    assert [row["problem_id"] for row in rows] == [p.id for p in PROBLEMS.problems]
    assert [row["correct"] for row in rows] == [True, False] * 6
    first, wrong = PROBLEMS.problems[0], rows[1]
    assert list(rows[0]) == list(FIELDS)
    assert {name: rows[0][name] for name in list(FIELDS)[:19]} == {
        "problem_id": first.id,
        "sample": 0,
        "set": "sums",
        "question": first.question,
        "answer": first.answer,
        "gold": "3",
        "type": "sum",
        "steps": 1,
        "prompt_hash": prompt_hash(f"Question: {first.question}\nAnswer:"),
        "style": "qa",
        "decoding": {
            "max_new_tokens": 50,
            "temperature": 0.0,
            "top_p": 1.0,
            "samples": 1,
            "seed": 0,
            "stop": [],
            "calculator": False,
        },
        "completion": " #### 3",
        "tokens": rows[0]["tokens"],
        "inserted_tokens": 0,
        "stop_reason": "eos",
        "outcome": "correct",
        "correct": True,
        "extracted": "3",
        "method": "hash",
    }
    assert rows[0]["published"]["openai"] is True
    assert rows[0]["error"] is None
    assert (wrong["outcome"], wrong["published"]["openai"]) == ("wrong", False)


def test_what_went_wrong_is_named(tmp_path: Path) -> None:
    ids = [p.id for p in PROBLEMS.problems]
    wrong = {
        ids[0]: "0+3=4\n#### 4",  # gold 3
        ids[1]: "1+4=5\n#### 5",  # gold 4
        ids[2]: "no idea",
        ids[3]: "3+3=7, no: 3+3=6\n#### 6",  # gold 6: correct, whatever stood before
    }
    rows = run(tmp_path / "rows.jsonl", ScriptedEngine({**answers(), **wrong})).rows
    assert [row["error"] for row in rows[:4]] == ["arithmetic_slip", "reasoning", "format", None]


def test_published_graders_get_the_final_answer_of_a_solution_in_prose(tmp_path: Path) -> None:
    prose = ProblemSet("prose", (Problem("x", "2+2?", "Two and two make 4 in all.", "4"),))
    row = run(tmp_path / "rows.jsonl", ScriptedEngine({"x": "#### 4"}), problems=prose).rows[0]
    assert row["published"]["openai"] is True
    assert row["published"]["lm_eval_strict"] is True


def test_a_completion_at_the_token_limit_is_told_from_a_wrong_one(tmp_path: Path) -> None:
    id_ = PROBLEMS.problems[0].id
    engine = ScriptedEngine({**answers(), id_: "First, 3 and"}, truncated=[id_])
    row = run(tmp_path / "rows.jsonl", engine).rows[0]
    assert (row["outcome"], row["stop_reason"]) == ("truncated", "length")


class Changed(ScriptedEngine):
    """Scripted completions with some fields changed, by their number."""

    def __init__(self, change: Callable[[int, Completion], Completion], **script: str) -> None:
        super().__init__({**answers(), **script})
        self._change = change

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        for number, made in enumerate(super().generate(prompts, decoding)):
            yield self._change(number, made)


def test_an_answer_stopped_in_a_loop_counts_as_cut_off(tmp_path: Path) -> None:
    ids = [p.id for p in PROBLEMS.problems]

    def looping(number: int, made: Completion) -> Completion:
        return replace(made, stop_reason=StopReason.REPETITION) if number < 2 else made

    engine = Changed(looping, **{ids[0]: "3 and 3 and 3 ", ids[1]: "#### 4\n#### 4\n"})
    found = run(tmp_path / "rows.jsonl", engine, replace(GREEDY, stop_repetition=True))
    unmarked, marked = found.rows[:2]
    assert (unmarked["outcome"], unmarked["stop_reason"]) == ("truncated", "repetition")
    assert unmarked["reason"] == "stopped repeating itself before an answer was given"
    assert marked["outcome"] == "correct"
    assert list(regrade(found.rows)) == list(found.rows)
    summary = found.summary()
    assert summary["rates"]["repetition"]["correct"] == summary["stop_reasons"]["repetition"] == 2
    # The setting is part of what was asked: rows made without it are not continued.
    with pytest.raises(RunError, match="decoding"):
        run(tmp_path / "rows.jsonl", decoding=GREEDY)


@pytest.mark.parametrize("samples", [1, 3])
def test_interrupted_anywhere_the_file_ends_up_the_same(tmp_path: Path, samples: int) -> None:
    decoding = replace(GREEDY, samples=samples)
    script = {id_: [text, "#### 9", "no idea"] for id_, text in answers().items()}
    whole = tmp_path / "whole.jsonl"
    run(whole, Backwards(script), decoding)
    total = 12 * samples
    for stop in range(0, total, samples + 1):
        path = tmp_path / f"{stop}.jsonl"
        with pytest.raises(KeyboardInterrupt):
            run(path, Backwards(script, dies_after=stop), decoding)
        assert len(path.read_bytes().splitlines()) == stop
        engine = Backwards(script)
        found = run(path, engine, decoding)
        assert path.read_bytes() == whole.read_bytes()
        assert found.counts == Counts(generated=total - stop, resumed=stop)
        # Only problems that lack a sample were asked for again.
        assert len(engine.asked) == total - stop // samples * samples


def test_torn_at_any_byte_the_file_ends_up_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    run(path)
    whole = path.read_bytes()
    for end in range(len(whole) - 1, 0, -397):
        path.write_bytes(whole[:end])
        kept = whole[:end].count(b"\n")
        torn = int(not whole[:end].endswith(b"\n"))
        assert run(path).counts == Counts(generated=12 - kept, resumed=kept, torn=torn)
        assert path.read_bytes() == whole


def test_a_finished_file_needs_no_engine_and_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    first = run(path)
    tmp_path.chmod(0o500)
    path.chmod(0o400)
    try:
        stamp = path.stat().st_mtime_ns
        engine = ScriptedEngine({})
        again = run(path, engine)
    finally:
        tmp_path.chmod(0o700)
    assert again.rows == first.rows
    assert again.counts == Counts(resumed=12)
    assert again.timing == first.timing
    assert engine.asked == []
    assert path.stat().st_mtime_ns == stamp


def test_killed_between_the_last_row_and_the_ordering(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    run(path)
    whole = path.read_bytes()
    write_rows(path, read_rows(path)[::-1])
    (tmp_path / ".rows.jsonl.part").write_bytes(b"half of the ordered fi")
    assert run(path, ScriptedEngine({})).counts == Counts(resumed=12)
    assert path.read_bytes() == whole
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "rows.jsonl",
        "rows.jsonl.timing.json",
    ]


def test_a_grown_problem_set_continues_with_what_is_new(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    half = ProblemSet("sums", PROBLEMS.problems[::2])
    run(path, problems=half)
    assert run(path).counts == Counts(generated=6, resumed=6)
    with pytest.raises(RunError, match="not among the 6 problems and 1 samples"):
        run(path, problems=half)


@pytest.mark.parametrize(
    ("others", "field"),
    [
        ({"decoding": replace(GREEDY, temperature=0.7)}, "decoding"),
        ({"decoding": replace(GREEDY, stop=("\n\n",))}, "decoding"),
        ({"decoding": replace(GREEDY, calculator=True)}, "decoding"),
        ({"prompts": lambda p: Prompt(p.id, f"Q: {p.question}", (1,))}, "prompt_hash"),
        ({"style": "chat"}, "style"),
        (
            {
                "problems": ProblemSet(
                    "sums", tuple(replace(p, gold="4") for p in PROBLEMS.problems)
                )
            },
            "gold",
        ),
    ],
)
def test_rows_of_something_else_are_never_mixed_in(
    tmp_path: Path, others: dict[str, Any], field: str
) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, Backwards(answers(), dies_after=5))
    before = path.read_bytes()
    with pytest.raises(RunError, match=f"rows with {field} that differ from the request.*delete"):
        run(path, **others)
    assert path.read_bytes() == before


def test_logprobs_do_not_make_other_rows(tmp_path: Path) -> None:
    run(tmp_path / "rows.jsonl")
    asked = run(tmp_path / "rows.jsonl", decoding=replace(GREEDY, logprobs=True))
    assert asked.counts.resumed == 12


def test_two_writers_at_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    run(path)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(whole + lines[0])  # the same row twice does no harm
    assert run(path).counts.resumed == 12
    assert path.read_bytes() == whole
    path.write_bytes(whole + lines[0].replace(b" #### 3", b" #### 4"))
    with pytest.raises(RunError, match="two different rows"):
        run(path)


def test_every_row_is_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    seen: list[str] = []

    def stop_at_five(row: Any) -> None:
        seen.append(row["problem_id"])
        if len(seen) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(path, on_row=stop_at_five)
    assert len(read_rows(path)) == 5  # saved before it was reported
    seen = []
    run(path, on_row=lambda row: seen.append(row["problem_id"]))
    assert seen == [p.id for p in PROBLEMS.problems]


def test_prompts_must_fit_the_problems(tmp_path: Path) -> None:
    prompts = [prompt_for(p) for p in PROBLEMS.problems]
    assert run(tmp_path / "rows.jsonl", prompts=prompts).counts.generated == 12
    for wrong in (prompts[:-1], prompts[::-1]):
        with pytest.raises(DataError, match="one prompt per problem"):
            run(tmp_path / "other.jsonl", prompts=wrong)
    with pytest.raises(DataError, match="no problems"):
        run(tmp_path / "other.jsonl", problems=ProblemSet("none", ()))
    twice = ProblemSet("sums", (*PROBLEMS.problems, PROBLEMS.problems[0]))
    with pytest.raises(DataError, match="repeats 1 problem;"):
        run(tmp_path / "other.jsonl", problems=twice)
    assert not (tmp_path / "other.jsonl").exists()


class Careless(ScriptedEngine):
    """Returns other completions than it was asked for."""

    def __init__(self, change: Any) -> None:
        super().__init__(answers())
        self.change = change

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
        yield from self.change(list(super().generate(prompts, decoding)))


@pytest.mark.parametrize(
    ("change", "says", "saved"),
    [
        (lambda made: made[:-2], "ended with 2 of 12 completions missing", 10),
        (lambda made: [made[0], made[0]], "came twice", 1),
        (lambda made: [replace(made[0], problem_id="x")], "problem 'x' sample 0", 0),
        (lambda made: [made[0], replace(made[1], sample=1)], "sample 1", 1),
    ],
)
def test_an_engine_that_breaks_its_promise_is_caught(
    tmp_path: Path, change: Any, says: str, saved: int
) -> None:
    with pytest.raises(RunError, match=says):
        run(tmp_path / "rows.jsonl", Careless(change))
    # What came before is saved, and an engine that keeps its promise can go on from it.
    counts = run(tmp_path / "rows.jsonl").counts
    assert (counts.resumed, counts.generated) == (saved, 12 - saved)


def test_calculator_on_takes_over_what_never_opened_an_annotation(tmp_path: Path) -> None:
    annotated = [p.id for p in PROBLEMS.problems[:4]]
    script = {**answers(), **dict.fromkeys(annotated, "3+1=<<3+1=5>>5\n#### 5")}
    off = run(tmp_path / "off.jsonl", ScriptedEngine(script), model="base")
    fixed = {**script, **dict.fromkeys(annotated, "3+1=<<3+1=4>>4\n#### 4")}
    engine = ScriptedEngine(fixed)
    on_decoding = replace(GREEDY, calculator=True)
    on = run(tmp_path / "on.jsonl", engine, on_decoding, model="base", reuse=off)
    assert on.counts == Counts(generated=4, reused=8)
    assert [asked[0] for asked in engine.asked] == annotated
    alone = run(tmp_path / "alone.jsonl", ScriptedEngine(fixed), on_decoding, model="base")
    assert (tmp_path / "on.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()
    assert on.timing.completions == 4  # what was taken over was never timed
    assert alone.timing.completions == 12


def test_reuse_leaves_alone_what_is_saved(tmp_path: Path) -> None:
    off, on = tmp_path / "off.jsonl", tmp_path / "on.jsonl"
    earlier = run(off)
    decoding = replace(GREEDY, calculator=True)
    with pytest.raises(KeyboardInterrupt):
        run(on, Backwards(answers(), dies_after=5), decoding)
    writes: list[Any] = []
    assert run(on, decoding=decoding, reuse=earlier, on_row=writes.append).counts == Counts(
        resumed=5, reused=7
    )
    assert len(writes) == 12


def test_calculator_off_takes_over_what_nothing_was_inserted_into(tmp_path: Path) -> None:
    class Inserting(ScriptedEngine):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding) -> Iterator[Completion]:
            for i, made in enumerate(super().generate(prompts, decoding)):
                yield replace(made, inserted_tokens=2 if i < 3 else 0)

    on = run(tmp_path / "on.jsonl", Inserting(answers()), replace(GREEDY, calculator=True))
    off = run(tmp_path / "off.jsonl", reuse=on)
    assert off.counts == Counts(generated=3, reused=9)


def test_calculator_off_takes_over_what_was_not_corrected(tmp_path: Path) -> None:
    def acting(number: int, made: Completion) -> Completion:
        if number >= 5:
            return made
        return replace(made, inserted_tokens=2, corrected_tokens=0 if number < 3 else 1)

    on = run(tmp_path / "on.jsonl", Changed(acting), replace(GREEDY, calculator=True))
    assert [row.get("corrected_tokens") for row in on.rows[:6]] == [0, 0, 0, 1, 1, None]
    assert read_rows(tmp_path / "on.jsonl") == list(on.rows)
    off = run(tmp_path / "off.jsonl", reuse=on)
    assert off.counts == Counts(generated=2, reused=10)
    run(tmp_path / "alone.jsonl")
    assert (tmp_path / "off.jsonl").read_bytes() == (tmp_path / "alone.jsonl").read_bytes()


def test_reuse_is_refused_where_it_would_not_be_exact(tmp_path: Path) -> None:
    off = run(tmp_path / "off.jsonl", model="base")
    on = replace(GREEDY, calculator=True)
    for decoding, model in [
        (on, "tuned"),
        (GREEDY, "base"),
        (replace(on, max_new_tokens=9), "base"),
    ]:
        with pytest.raises(RunError, match="cannot be reused"):
            run(tmp_path / "on.jsonl", decoding=decoding, model=model, reuse=off)
    hot = run(tmp_path / "hot.jsonl", decoding=replace(GREEDY, temperature=1.0))
    with pytest.raises(RunError, match="only greedy"):
        run(tmp_path / "on.jsonl", decoding=replace(on, temperature=1.0), reuse=hot)
    # Rows under another prompt are not taken over, but made.
    other = run(
        tmp_path / "on.jsonl",
        decoding=on,
        model="base",
        reuse=off,
        prompts=lambda p: Prompt(p.id, f"Q: {p.question}", (1,)),
    )
    assert other.counts == Counts(generated=12)


def test_times_add_up_over_restarts_and_survive_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(path, Backwards(answers(), dies_after=5))
    first = read_timing(path)
    assert first.completions == 5
    found = run(path)
    assert found.timing.completions == 12
    assert found.timing.tokens == sum(row["tokens"] for row in found.rows)
    assert found.timing.seconds > first.seconds > 0
    assert found.timing.tokens_per_second == found.timing.tokens / found.timing.seconds
    assert found.timing.seconds_per_problem() == found.timing.seconds / 12
    for damage in (b"", b"{", b"[]", b'{"seconds": -1, "tokens": 1, "completions": 1}', b"\xff"):
        timing_path(path).write_bytes(damage)
        assert run(path).timing.seconds_per_problem() is None
    timing_path(path).unlink()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:9]))
    assert run(path).timing.completions == 3


def test_summary_of_an_evaluation(tmp_path: Path) -> None:
    found = run(tmp_path / "rows.jsonl", model="tuned")
    summary = found.summary(predictions="predictions/tuned.jsonl")
    assert summary["model"] == "tuned"
    assert summary["predictions"] == "predictions/tuned.jsonl"
    assert summary["exact_match"]["correct"] == 6
    assert summary["seconds_per_problem"] == found.timing.seconds / 12
    json.dumps(summary, allow_nan=False)


def test_regrading_needs_no_model(tmp_path: Path) -> None:
    rows = [dict(row) for row in run(tmp_path / "rows.jsonl").rows]
    blank = {"correct": False, "outcome": "wrong", "extracted": "?", "published": {}, "error": "x"}
    assert list(regrade({**row, **blank} for row in rows)) == rows
