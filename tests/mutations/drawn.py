"""The rules of §2 on workers that are drawn, and of §4 on a policy that changes."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_DRAWN = "§2 workers are drawn for free slots, and one has one direct task at a time"
_ONE = "§2 a direct task is one worker's: nobody else takes, declines or answers it"
_LEASE = "§2 the lease of a direct task runs from its offer"
_OWED = "§2 a lapsed direct task counts until somebody is drawn in its place"
_STALE = "§2 a direct task ends when its update could not count any more"
_POLICY = "§4 what a version is made of changes with the next version, timing at once"
_PAUSED = "§4 a paused run takes another policy at once"

_DIRECT = "tests/coordinator/test_run_direct.py::"
_SERVICE = "tests/coordinator/test_service_direct.py::"
_CHANGED = "tests/coordinator/test_run_policy.py::"
_CHANGED_SERVICE = "tests/coordinator/test_service_policy.py::"

DRAWN = (
    Mutation(
        _DRAWN,
        "a worker that has a direct task is offered another",
        "coordinator/dispatch.py",
        "if missing > 0 and worker_id not in run.tasks.asked:",
        "if missing > 0:",
        _DIRECT + "test_a_worker_that_has_a_task_gets_no_second_one",
    ),
    Mutation(
        _DRAWN,
        "whoever is drawn is offered a task, whether or not a slot is free",
        "coordinator/dispatch.py",
        "if missing > 0 and worker_id not in run.tasks.asked:",
        "if worker_id not in run.tasks.asked:",
        _DIRECT + "test_more_workers_than_there_are_slots_get_no_task",
    ),
    Mutation(
        _DRAWN,
        "nobody is drawn for a slot that stayed free",
        "coordinator/dispatch.py",
        "draw_at = now + DRAW_AGAIN_S if missing > 0 else None",
        "draw_at = None",
        _DIRECT + "test_where_too_few_can_be_drawn_more_are_drawn_after_a_while",
    ),
    Mutation(
        _DRAWN,
        "a worker that is seen is not drawn before the while is over",
        "coordinator/run.py",
        "return draw_soon(state, now), []",
        "return state, []",
        _DIRECT + "test_where_too_few_can_be_drawn_a_worker_that_is_seen_leads_to_a_draw",
    ),
    Mutation(
        _DRAWN,
        "after a restart free slots stay free",
        "coordinator/restoring.py",
        "deadline_at, row.extensions, draw_at=now)",
        "deadline_at, row.extensions, draw_at=now + 1e9)",
        _SERVICE + "test_a_lease_that_ended_is_made_up_for_by_who_is_drawn_after_a_restart",
    ),
    Mutation(
        _ONE,
        "anybody takes a direct task",
        "coordinator/dispatch.py",
        '    if task.offered_to not in ("", event.worker_id):\n'
        '        return run, [DenyTask(event.task_id, event.worker_id, "it was',
        '    if False:\n        return run, [DenyTask(event.task_id, event.worker_id, "it was',
        _DIRECT + "test_a_direct_task_is_granted_to_its_worker_only",
    ),
    Mutation(
        _ONE,
        "anybody answers a direct task",
        "coordinator/round.py",
        'if update.task.worker_id not in ("", update.worker_id):',
        "if False:",
        _DIRECT + "test_an_update_of_another_worker_neither_counts_nor_ends_a_direct_task",
    ),
    Mutation(
        _ONE,
        "an update that does not count ends the direct task of another",
        "coordinator/dispatch.py",
        'if task is None or task.offered_to not in ("", update.worker_id):',
        "if task is None:",
        _DIRECT + "test_an_update_of_another_worker_neither_counts_nor_ends_a_direct_task",
    ),
    Mutation(
        _ONE,
        "an update of another worker answers a lapsed direct task",
        "coordinator/batch/judging.py",
        'task.state == "lapsed" and task.is_of(update.worker_id):',
        'task.state == "lapsed":',
        _SERVICE + "test_another_worker_does_not_answer_a_direct_task_whose_lease_has_ended",
    ),
    Mutation(
        _ONE,
        "an update of any version answers a direct task",
        "coordinator/round.py",
        "if update.task.base_version not in (None, update.base_version):",
        "if False:",
        _DIRECT + "test_an_update_of_another_version_than_the_pinned_one_does_not_count",
    ),
    Mutation(
        _LEASE,
        "the store has no lease of a direct task that nobody took",
        "coordinator/rows.py",
        "lease_end=action.lease_end,\n        ended_at",
        "lease_end=None,\n        ended_at",
        _SERVICE
        + "test_a_drawn_worker_and_the_version_it_is_to_train_on_are_written_with_its_task",
    ),
    Mutation(
        _OWED,
        "the task of who is drawn next does not replace the lapsed one",
        "coordinator/dispatch.py",
        'replaces, lease_end = run.owed[0] if run.owed else "", now + run.policy.lease_s',
        'replaces, lease_end = "", now + run.policy.lease_s',
        _DIRECT + "test_when_late_updates_are_refused_a_replaced_direct_task_does_not_count",
    ),
    Mutation(
        _OWED,
        "a lapsed task that was answered is replaced",
        "coordinator/dispatch.py",
        "owed=tuple(owed for owed in run.owed if owed != update.task_id)",
        "owed=run.owed",
        _DIRECT + "test_a_lapsed_task_is_answerable_until_somebody_can_be_drawn_in_its_place",
    ),
    Mutation(
        _OWED,
        "after a restart nobody knows whom to replace",
        "coordinator/restoring.py",
        "owed=work.owed_tasks(row.run_id, row.version),",
        "owed=[],",
        _SERVICE + "test_a_lease_that_ended_is_made_up_for_by_who_is_drawn_after_a_restart",
    ),
    Mutation(
        _STALE,
        "a direct task holds its slot to the end of its lease",
        "coordinator/run.py",
        "run = end_stale(replace(run, owed=()), actions)",
        "run = replace(run, owed=())",
        _DIRECT + "test_a_direct_task_ends_when_its_update_would_be_too_stale_to_count",
    ),
)

CHANGING = (
    Mutation(
        _POLICY,
        "the open round takes another goal",
        "coordinator/policy.py",
        "            self,\n            **timing,",
        "            self,\n            goal=by.goal,\n            **timing,",
        _CHANGED + "test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one",
    ),
    Mutation(
        _POLICY,
        "a policy that waits is forgotten",
        "coordinator/changing.py",
        "return replace(run, next_policy=waits, ends_at=event.ends_at)",
        "return replace(run, ends_at=event.ends_at)",
        _CHANGED + "test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one",
    ),
    Mutation(
        _POLICY,
        "after a restart the open round goes by what is set",
        "coordinator/restoring.py",
        "opened_with = RoundPolicy.from_json(row.policy)",
        "opened_with = policy",
        _CHANGED_SERVICE + "test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one",
    ),
    Mutation(
        _POLICY,
        "a shorter deadline waits for the next version",
        "coordinator/run.py",
        "deadline_at = min(state.deadline_at, now + run.policy.deadline_s)",
        "deadline_at = state.deadline_at",
        _CHANGED + "test_a_shorter_deadline_holds_for_the_open_round",
    ),
    Mutation(
        _POLICY,
        "leases of different lengths are in the order in which they began",
        "coordinator/changing.py",
        "if policy.lease_s != run.policy.lease_s:",
        "if False:",
        _CHANGED + "test_a_shorter_lease_holds_for_who_has_a_task",
    ),
    Mutation(
        _POLICY,
        "a version does not say which policy made it",
        "coordinator/versions.py",
        "policy=policy.as_json(),",
        "policy={},",
        _CHANGED_SERVICE + "test_the_open_round_keeps_its_goal_and_the_next_has_the_new_one",
    ),
    Mutation(
        _PAUSED,
        "a paused run waits for a version that may never come",
        "coordinator/run.py",
        "run = renewed(told(state.run, event), now, actions)",
        "run = told(state.run, event)",
        _CHANGED + "test_a_paused_run_takes_another_policy_at_once",
    ),
    Mutation(
        _PAUSED,
        "it does not close although what it has is enough",
        "coordinator/run.py",
        "    if state.counted >= run.policy.quorum:\n"
        '        return _close(state, "deadline", actions)\n'
        "    return _resumed(state, actions, now) if changed",
        "    return _resumed(state, actions, now) if changed",
        _CHANGED + "test_a_paused_run_closes_if_what_it_has_is_enough_now",
    ),
)
