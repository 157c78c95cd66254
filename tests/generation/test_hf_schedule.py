"""Which completion takes which row."""

from __future__ import annotations

from mathtune.generation.hf.schedule import Admission, Scheduler, Task, worth_sharing


def test_longest_first_within_rows_and_prefill_budget():
    scheduler = Scheduler([5, 9, 7], samples=1, rows=2, prefill_tokens=100)
    assert scheduler.admit(0) == Admission((Task(1, 0), Task(2, 0)), (), None)
    assert scheduler.admit(2) == Admission((), (), None)
    assert scheduler.admit(1) == Admission((Task(0, 0),), (), None)
    assert not scheduler

    scheduler = Scheduler([5, 9, 7], samples=1, rows=8, prefill_tokens=16)
    assert scheduler.admit(0).starts == (Task(1, 0), Task(2, 0))  # 9 + 7 = 16
    assert scheduler.admit(2).starts == (Task(0, 0),)


def test_one_prompt_may_be_over_the_prefill_budget():
    scheduler = Scheduler([50, 40], samples=1, rows=8, prefill_tokens=10)
    assert scheduler.admit(0).starts == (Task(0, 0),)
    assert scheduler.admit(1).starts == (Task(1, 0),)


def test_samples_of_a_prompt_copy_it():
    scheduler = Scheduler([4, 6], samples=3, rows=4, prefill_tokens=100)
    # Rows 0 and 1 start prompts 1 and 0; rows 2 and 3 copy row 0.
    assert scheduler.admit(0) == Admission(
        (Task(1, 0), Task(0, 0)), ((Task(1, 1), 0), (Task(1, 2), 0)), keep=1
    )


def test_waiting_samples_are_copied_from_the_spare_row():
    scheduler = Scheduler([4], samples=5, rows=2, prefill_tokens=100)
    assert scheduler.admit(0) == Admission((Task(0, 0),), ((Task(0, 1), 0),), keep=0)
    assert scheduler.admit(1) == Admission((), ((Task(0, 2), 2),), keep=None)
    assert scheduler.admit(0) == Admission((), ((Task(0, 3), 2), (Task(0, 4), 2)), keep=None)
    assert not scheduler


def test_a_prompt_is_stored_once_where_it_is_long_and_has_many_samples():
    assert worth_sharing([10, 30], samples=4)
    assert not worth_sharing([10, 30], samples=3)
    assert not worth_sharing([10, 20], samples=16)
