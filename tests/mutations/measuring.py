"""The rules of evaluations: who measures, and what follows from it (§4)."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_APART = "§4 who evaluates never trains"
_CLOSED = "§4 what comes after an evaluation has closed changes nothing"
_FOLLOWS = "§4 what follows from an evaluation is in the transaction that closes it"
_BEHIND = "§4 an update of a version that was left behind does not count"
_AGAIN = "§4 a version that is an earlier one again hands on the optimiser of that one"

_COHORT = "tests/coordinator/test_service_cohort.py::"
_EVALUATOR = "tests/coordinator/test_evaluator.py::"

MEASURING = (
    Mutation(
        _APART,
        "it is drawn to train",
        "coordinator/registry.py",
        "_NOT_NOW = BUSY | SILENT | GONE | EVALUATES",
        "_NOT_NOW = BUSY | SILENT | GONE",
        _COHORT + "test_who_evaluates_is_not_drawn_to_train",
    ),
    Mutation(
        _APART,
        "it trains on what it takes from the pool",
        "coordinator/batch/controls.py",
        '"evaluates, and never trains" if self._steps.evaluations.evaluates(worker_id) else ""',
        '""',
        _COHORT + "test_who_evaluates_is_never_given_a_task_to_train",
    ),
    Mutation(
        _CLOSED,
        "a late answer is counted",
        "coordinator/evaluating.py",
        "if opened is None or opened.version != version:",
        "if False:",
        _COHORT + "test_what_comes_after_the_close_is_late_and_changes_nothing",
    ),
    Mutation(
        _FOLLOWS,
        "it is only in memory",
        "coordinator/evaluator.py",
        "        self._findings.set_course(row)\n",
        "",
        _EVALUATOR + "test_the_best_version_is_known_and_a_run_without_improvement_is_to_stop",
    ),
    Mutation(
        _FOLLOWS,
        "an answer that a restart finds is not counted again",
        "coordinator/evaluator.py",
        "answered=len(findings.answers(row.run_id, row.version)),",
        "answered=0,",
        _EVALUATOR + "test_a_restart_finds_the_open_evaluation_as_it_was",
    ),
    Mutation(
        _BEHIND,
        "it is weighed by its staleness",
        "coordinator/batch/judging.py",
        "        fault = fault or self._left_behind(update)\n",
        "",
        _COHORT + "test_a_step_from_a_version_that_was_left_behind_is_refused",
    ),
    Mutation(
        _AGAIN,
        "its momentum is that of the version before",
        "coordinator/handover.py",
        "return Handed(as_of(self._state, then))",
        "return Handed(self._state)",
        _COHORT + "test_the_server_optimizer_goes_back_with_the_parameters",
    ),
)
