import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordinator.guard import (
    BEGINNING,
    ROLL_BACKS_MAX,
    Course,
    Decision,
    Improved,
    Measured,
    Nothing,
    RollBack,
    Rules,
    Stop,
    course_of,
    follow,
    norm_jump,
)

PLAIN = Rules(smoothing=1, sureness=0.0)


def measured(*values: float, error: float = 0.0) -> list[Measured]:
    return [Measured(version, version, value, error) for version, value in enumerate(values)]


def decisions(rules: Rules, given: list[Measured]) -> list[Decision]:
    course, found = BEGINNING, []
    for each in given:
        course, decision = follow(course, each, rules)
        found.append(decision)
    return found


def best_of(course: Course) -> int:
    assert course.best is not None
    return course.best.version


def test_the_first_measurement_is_the_best_so_far() -> None:
    course, decision = course_of(measured(2.0), PLAIN)
    assert isinstance(decision, Improved)
    assert best_of(course) == 0


def test_the_best_version_is_the_one_with_the_best_value() -> None:
    course, _ = course_of(measured(2.0, 1.0, 1.5, 1.2), PLAIN)
    assert best_of(course) == 1


def test_higher_may_be_better() -> None:
    rules = Rules("accuracy", "higher", smoothing=1, sureness=0.0)
    course, _ = course_of(measured(0.2, 0.6, 0.5), rules)
    assert best_of(course) == 1


def test_a_run_stops_after_patience_versions_without_improvement_and_says_why() -> None:
    rules = Rules(smoothing=1, sureness=0.0, patience=3)
    found = decisions(rules, measured(2.0, 1.0, 1.1, 1.2, 1.3))
    assert [type(each) for each in found[:4]] == [Improved, Improved, Nothing, Nothing]
    stop = found[4]
    assert isinstance(stop, Stop)
    assert stop.version == 1
    assert "no improvement for 3 versions" in stop.why
    assert "loss 1.3 of version 4" in stop.why


def test_an_improvement_begins_the_patience_anew() -> None:
    rules = Rules(smoothing=1, sureness=0.0, patience=3)
    found = decisions(rules, measured(2.0, 2.1, 2.1, 1.0, 1.1, 1.1))
    assert not any(isinstance(each, Stop) for each in found)


def test_patience_counts_versions_and_not_evaluations() -> None:
    rules = Rules(smoothing=1, sureness=0.0, patience=10)
    given = [Measured(0, 0, 1.0), Measured(5, 5, 1.0), Measured(10, 10, 1.0)]
    assert isinstance(decisions(rules, given)[-1], Stop)


def test_without_patience_a_run_never_stops() -> None:
    found = decisions(PLAIN, measured(1.0, *[2.0] * 500))
    assert not any(isinstance(each, Stop) for each in found)


def test_a_gain_below_min_delta_is_no_improvement() -> None:
    rules = Rules(smoothing=1, sureness=0.0, min_delta=0.1)
    course, _ = course_of(measured(1.0, 0.95), rules)
    assert best_of(course) == 0
    course, _ = course_of(measured(1.0, 0.85), rules)
    assert best_of(course) == 1


def test_small_gains_that_add_up_are_an_improvement() -> None:
    rules = Rules(smoothing=1, sureness=0.0, min_delta=0.1)
    course, _ = course_of(measured(1.0, 0.96, 0.92, 0.88), rules)
    assert best_of(course) == 3


def test_a_gain_within_two_standard_errors_is_no_improvement() -> None:
    rules = Rules(smoothing=1, sureness=2.0)
    # The difference of two means of error 0.1 each has one of 0.141.
    course, _ = course_of(measured(1.0, 0.75, error=0.1), rules)
    assert best_of(course) == 0
    course, _ = course_of(measured(1.0, 0.70, error=0.1), rules)
    assert best_of(course) == 1


def test_a_single_lucky_value_is_averaged_away() -> None:
    rules = Rules(smoothing=3, sureness=0.0, min_delta=0.3)
    course, _ = course_of(measured(1.0, 0.5, 1.0, 1.0), rules)
    assert best_of(course) == 0  # averaged 0.75 is not better by 0.3


LIAR, HONEST = 1e11, 0.02


def spoiled(place: int, values: list[float]) -> list[Measured]:
    """Measurements of which one has a worker in it that says 1e12, one of ten."""
    found = measured(*values, error=HONEST)
    found[place] = replace(found[place], value=LIAR, standard_error=LIAR)
    return found


def test_the_best_by_itself_stays_best_while_the_average_still_falls() -> None:
    rules = Rules(smoothing=3, sureness=0.0, patience=3)
    course, decision = course_of(measured(1.0, 0.5, 0.02, 0.1), rules)
    assert isinstance(decision, Improved), "the average has fallen from 0.39 to 0.24"
    assert decision.version == best_of(course) == 2
    assert "best by itself" in decision.why


def test_patience_is_counted_from_the_last_fall_of_the_average() -> None:
    rules = Rules(smoothing=3, sureness=0.0, patience=2)
    found = decisions(rules, measured(1.0, 0.5, 0.02, 0.1, 0.9, 0.9))
    assert [type(each) for each in found] == [*4 * [Improved], Nothing, Stop]
    stop = found[-1]
    assert isinstance(stop, Stop)
    assert stop.version == 2


def test_what_was_best_by_itself_gives_way_once_it_is_no_longer_averaged_over() -> None:
    rules = Rules(smoothing=3, sureness=0.0)
    course, _ = course_of(measured(9.0, 0.1, 0.2, 0.2, 0.2), rules)
    assert best_of(course) == 4


@pytest.mark.parametrize("place", [0, 1, 4])
@pytest.mark.parametrize("smoothing", [1, 3])
def test_one_worker_with_a_huge_loss_does_not_stop_a_run_that_improves(
    place: int, smoothing: int
) -> None:
    rules = Rules(smoothing=smoothing, patience=3)
    falling = [10.0 - version for version in range(9)]
    found = decisions(rules, spoiled(place, falling))
    assert not any(isinstance(each, Stop) for each in found)
    course, _ = course_of(spoiled(place, falling), rules)
    assert best_of(course) == 8
    assert course.best is not None
    assert course.best.value < 3.5


def test_a_measurement_without_an_error_does_not_outdo_one_that_has_a_large_one() -> None:
    given = [Measured(0, 0, 1.0, 0.3), Measured(1, 1, 0.9, 0.0)]
    course, _ = course_of(given, Rules(smoothing=1))
    assert best_of(course) == 0


def test_far_worse_than_the_best_goes_back_to_it() -> None:
    rules = Rules(smoothing=1, sureness=0.0, guard=2.0)
    found = decisions(rules, measured(2.0, 1.0, 1.9, 2.1))
    back = found[3]
    assert isinstance(found[2], Nothing)
    assert isinstance(back, RollBack)
    assert back.version == 1
    assert "loss 2.1 of version 3 is worse than 1 of version 1" in back.why


def test_far_worse_where_higher_is_better() -> None:
    rules = Rules("accuracy", "higher", smoothing=1, sureness=0.0, guard=2.0)
    assert isinstance(decisions(rules, measured(0.8, 0.5))[1], Nothing)
    assert isinstance(decisions(rules, measured(0.8, 0.39))[1], RollBack)


def test_a_value_that_is_no_number_goes_back_if_there_is_a_guard() -> None:
    guarded = Rules(smoothing=1, sureness=0.0, guard=2.0)
    assert isinstance(decisions(guarded, measured(1.0, math.nan))[1], RollBack)
    assert isinstance(decisions(PLAIN, measured(1.0, math.nan))[1], Nothing)


def test_the_first_value_may_be_no_number() -> None:
    course, decision = course_of(measured(math.nan), Rules(guard=2.0))
    assert isinstance(decision, Nothing)
    assert course.best is None


def test_a_factor_of_a_best_that_is_not_above_zero_means_nothing() -> None:
    rules = Rules(smoothing=1, sureness=0.0, guard=2.0)
    assert isinstance(decisions(rules, measured(-1.0, 5.0))[1], Nothing)


def test_versions_that_were_made_before_the_way_back_change_nothing() -> None:
    rules = Rules(smoothing=1, sureness=0.0, guard=2.0, patience=2)
    given = [
        Measured(0, 0, 1.0),
        Measured(1, 3, 5.0),  # goes back; version 3 was current by then
        Measured(2, 4, 5.0),
        Measured(3, 4, 0.1),
    ]
    found = decisions(rules, given)
    assert isinstance(found[1], RollBack)
    assert [type(each) for each in found[2:]] == [Nothing, Nothing]
    course, _ = course_of(given, rules)
    assert best_of(course) == 0


def test_what_is_measured_after_the_way_back_is_averaged_from_the_best_on() -> None:
    rules = Rules(smoothing=3, sureness=0.0, guard=2.0)
    course, _ = course_of([Measured(0, 0, 1.0), Measured(1, 1, 9.0), Measured(2, 2, 1.0)], rules)
    assert course.newest is not None
    assert course.newest.value == 1.0


def test_going_back_again_and_again_stops_the_run() -> None:
    rules = Rules(smoothing=1, sureness=0.0, guard=2.0)
    found = decisions(rules, measured(1.0, *[9.0] * (ROLL_BACKS_MAX + 1)))
    assert all(isinstance(each, RollBack) for each in found[1:-1])
    stop = found[-1]
    assert isinstance(stop, Stop)
    assert stop.version == 0
    assert f"went back {ROLL_BACKS_MAX} times" in stop.why


def test_an_improvement_forgives_going_back() -> None:
    rules = Rules(smoothing=1, sureness=0.0, guard=2.0)
    found = decisions(rules, measured(1.0, 9.0, 9.0, 9.0, 0.5, 9.0))
    assert isinstance(found[-1], RollBack)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=40))
def test_the_best_is_never_worse_than_the_first_and_was_measured(values: list[float]) -> None:
    course, _ = course_of(measured(*values), Rules(smoothing=1, sureness=0.0, guard=3.0))
    assert course.best is not None
    assert course.best.value == values[course.best.version] <= values[0]


STEADY = [1.0, 1.1, 0.9, 1.0]


def test_a_step_far_longer_than_those_before_is_not_taken() -> None:
    assert norm_jump(9.9, STEADY, 10.0) == ""
    why = norm_jump(10.1, STEADY, 10.0)
    assert "norm 10.1 is longer than 1" in why


def test_every_step_is_taken_without_a_guard_or_with_too_few_before_it() -> None:
    assert norm_jump(1e9, STEADY, 0.0) == ""
    assert norm_jump(1e9, [1.0, 1.0], 10.0) == ""
    assert norm_jump(1e9, [0.0] * 5, 10.0) == ""


@pytest.mark.parametrize("norm", [math.inf, math.nan])
def test_a_step_that_is_not_finite_is_not_taken(norm: float) -> None:
    assert norm_jump(norm, [], 10.0) == "its step is not finite"
    assert norm_jump(norm, [], 0.0) == ""


def test_a_change_of_scale_that_lasts_is_accepted() -> None:
    norms = [1.0] * 10
    refused = 0
    while norm_jump(100.0, norms, 10.0):
        norms.append(100.0)
        refused += 1
    assert refused == 5
