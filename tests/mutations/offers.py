"""The rules of §2, offer, take, lease."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_FORWARD = "§2 what comes late changes no task back"
_ACKED = "§2 a task is acked only when it is stored and `taken` is known"
_DECLINED = "§2 a task given up is forgotten only when `declined` is confirmed"
_NO_VERSION = "§2 a pool task pins no version: who takes it trains on the current one"
_NOT_FOUND = "§2 a worker that finds no queue waits and tries again"
_GATE = "§2 who may not take a task has no consumer: the gate is never a requeue"
_LEASE = "§2 a lease begins with `taken` and is not prolonged"
_LAPSED = "§2 the end of a lease makes a new task that replaces the old one"
_LATE_REFUSE = "§2 late = refuse: what is replaced, late or stale does not count"
_LATE_WEIGH = "§2 late = weigh: an old task stays answerable, and both count"
_OWN = "§2 nobody ends a task that another holds"
_DOUBT = "§2 a task is published again, under its id, only while its publish is in doubt"
_TWO = "§2 two workers that hold one task both count"
_QUORUM = "§2 a deadline without quorum extends the round and replaces what may be lost"
_PAUSED = "§2 after too many extensions the run pauses, keeps its sum, and resumes by itself"
_START = "§2 start refuses a goal above the tasks in flight, and warns of too few workers"

_RESTS = "tests/broker/test_rabbitmq_rests.py::"
_WHEN = "tests/broker/rabbitmq/test_rests.py::"

OFFERS = (
    Mutation(
        _FORWARD,
        "who takes a task later becomes its worker",
        "coordinator/rows.py",
        "work.take_task(",
        "work.update_task(",
        "tests/coordinator/test_batch.py::test_two_workers_with_one_task_both_count",
    ),
    Mutation(
        _FORWARD,
        "a task may be declined a second time",
        "coordinator/dispatch.py",
        "        return run, []  # ended already, or another worker has it\n",
        '        return run, [EndTask(event.task_id, "declined", event.reason)]\n',
        "tests/coordinator/test_batch.py::test_what_comes_late_changes_no_task_that_has_ended",
    ),
    Mutation(
        _FORWARD,
        "a task whose lease ended cannot be answered any more",
        "coordinator/batch/judging.py",
        'if task is not None and task.state == "lapsed" and task.is_of(update.worker_id):',
        "if False:",
        "tests/coordinator/test_service_time.py"
        "::test_an_answer_after_its_lease_counts_beside_that_of_its_replacement",
    ),
    Mutation(
        _ACKED,
        "a task is acked before it is stored",
        "worker/assignment.py",
        "(*_no_more(work), KeepTask(task))",
        "(*_no_more(work), Ack(tag), KeepTask(task))",
        "tests/worker/test_session.py"
        "::test_a_task_is_acked_once_it_is_stored_and_its_taking_confirmed",
    ),
    Mutation(
        _ACKED,
        "a task is acked with `taken` on its way",
        "worker/keeping.py",
        "return replace(work, say_at=say_at, tries=work.tries + 1), (said,)",
        "return replace(work, tag=NO_DELIVERY, say_at=say_at, tries=work.tries + 1), "
        "(said, *declining.acked(work.tag))",
        "tests/worker/test_session.py"
        "::test_a_task_is_acked_once_it_is_stored_and_its_taking_confirmed",
    ),
    Mutation(
        _ACKED,
        "a task that the disk did not take is acked",
        "worker/keeping.py",
        "else (Reject(work.tag, requeue=True),)\n",
        "else (Ack(work.tag),)\n",
        "tests/worker/test_session.py"
        "::test_a_worker_without_room_gives_one_task_back_once_and_takes_no_other",
    ),
    Mutation(
        _ACKED,
        "`taken` is not said again when the connection is back",
        "worker/assignment.py",
        "            return keeping.say_taken(replace(work, tries=0), options, moment)",
        "            return work, ()",
        "tests/worker/test_session.py::test_taken_is_said_again_when_the_connection_is_back",
    ),
    Mutation(
        _ACKED,
        "`taken` is said once, answered or not",
        "worker/assignment.py",
        "            return keeping.say_taken(work, options, moment)\n"
        "        case TaskCame(tag, task) if task.task_id == this",
        "            return work, ()\n        case TaskCame(tag, task) if task.task_id == this",
        "tests/worker/test_session.py::test_taken_is_said_again_until_a_start_comes",
    ),
    Mutation(
        _ACKED,
        "an ack is kept back though nobody comes back soon",
        "broker/rabbitmq/rests.py",
        "if queue not in self._came_back or",
        "if",
        _WHEN + "test_who_never_came_back_does_not_rest",
    ),
    Mutation(
        _ACKED,
        "who came back soon once is waited for for ever",
        "broker/rabbitmq/rests.py",
        "            self._came_back.discard(queue)",
        "            pass",
        _WHEN + "test_who_came_back_late_does_not_rest",
    ),
    Mutation(
        _ACKED,
        "an ack that is kept back is told only to who comes back",
        "broker/rabbitmq/rests.py",
        "        self._look_again(queue, self._rest_s)\n",
        "",
        _WHEN + "test_a_rest_ends_in_time",
    ),
    Mutation(
        _ACKED,
        "an ack that is kept back is forgotten when the connection ends in good order",
        "broker/rabbitmq/link.py",
        "        self._rests.close()\n",
        "",
        _RESTS + "test_stopping_tells_what_was_acked",
    ),
    Mutation(
        _DECLINED,
        "the task leaves the inbox as soon as `declined` is sent",
        "worker/declining.py",
        "return replace(work, say_at=math.inf, tries=work.tries + 1), (Say(ref, message),)",
        "return replace(work, say_at=math.inf, tries=work.tries + 1), "
        "(DropTask(task.task_id), Say(ref, message))",
        "tests/worker/test_session.py::test_a_task_that_cannot_be_done_is_declined_and_then_acked",
    ),
    Mutation(
        _DECLINED,
        "a `declined` in doubt is not said again",
        "worker/declining.py",
        "            return _declined(replace(work, tries=0), options, moment)",
        "            return work, ()",
        "tests/worker/test_session.py::test_a_decline_that_is_in_doubt_is_said_again",
    ),
    Mutation(
        _NO_VERSION,
        "who takes a task is told the version that it was offered in",
        "coordinator/dispatch.py",
        "[GrantTask(task.task_id, event.worker_id, base_version, lease_end)]",
        "[GrantTask(task.task_id, event.worker_id, task.version, lease_end)]",
        "tests/coordinator/test_run.py::test_a_worker_that_asks_again_is_told_the_current_version",
    ),
    Mutation(
        _NOT_FOUND,
        "the end of a consumer is not noticed",
        "worker/effects.py",
        "            return (events.ConsumerEnded(reason),)",
        "            return ()",
        "tests/worker/test_service.py"
        "::test_a_worker_whose_queue_is_gone_takes_tasks_when_it_is_there_again",
    ),
    Mutation(
        _NOT_FOUND,
        "a worker does not pause before it consumes again",
        "worker/session.py",
        "session, actions = _work(_rest(session, moment), event, moment)",
        "session, actions = _work(session, event, moment)",
        "tests/worker/test_session.py::test_a_missing_queue_is_tried_again_ever_less_often",
    ),
    Mutation(
        _GATE,
        "a worker consumes without leave",
        "worker/session.py",
        "        asked.may_take\n        and not asked.run_is_over",
        "        not asked.run_is_over",
        "tests/worker/test_session.py::test_without_leave_nothing_is_consumed",
    ),
    Mutation(
        _GATE,
        "a worker goes on to consume when its leave is taken back",
        "worker/session.py",
        "wanted = Waiting(session.asking.queue) if _wants_task(session, moment) else Idle()",
        "wanted = Waiting(session.asking.queue) if _wants_task(session, moment) else session.work",
        "tests/worker/test_session.py::test_leave_taken_back_ends_the_consumer",
    ),
    Mutation(
        _GATE,
        "a leave is good for many tasks",
        "worker/session.py",
        "        asking=asking.ask_again(session.asking, moment.now),\n        sending=sending.add",
        "        sending=sending.add",
        "tests/worker/test_session.py::test_a_leave_is_good_for_one_task",
    ),
    Mutation(
        _GATE,
        "an answer to an older question gives leave",
        "worker/asking.py",
        "    if ref != asking.question:\n        return asking\n    wait_s",
        "    wait_s",
        "tests/worker/test_session.py::test_an_answer_to_an_older_question_allows_nothing",
    ),
    Mutation(
        _GATE,
        "a consumer that rests tells what was acked, and is sent the next",
        "broker/rabbitmq/consumers.py",
        "        if self.is_resting:\n            return\n        settled",
        "        settled",
        _RESTS + "test_while_it_rests_nothing_comes_and_others_get_it",
    ),
    Mutation(
        _GATE,
        "a consumer whose credit is not used up rests",
        "broker/rabbitmq/consumers.py",
        "return self.is_consuming and len(self.held) >= self.order.prefetch",
        "return self.is_consuming",
        _RESTS + "test_one_that_more_may_come_to_does_not_rest",
    ),
    Mutation(
        _GATE,
        "an ack that was kept back is told before the end of the consumer",
        "broker/rabbitmq/consumers.py",
        "        self.is_resting = False\n        self.cancel()\n        self.flush()\n",
        "        self.is_resting = False\n        self.flush()\n        self.cancel()\n",
        _RESTS + "test_when_a_rest_ends_the_ack_is_told_behind_the_end",
    ),
    Mutation(
        _GATE,
        "everyone may take a task at any time",
        "coordinator/states.py",
        "return barred(phase_of(state), bar, fresh, hold) is None",
        "return True",
        "tests/coordinator/test_run.py"
        "::test_a_worker_may_take_a_task_if_it_has_not_trained_on_the_current_version",
    ),
    Mutation(
        _GATE,
        "who has an update on its way may take another task",
        "coordinator/batch/presences.py",
        "return bar_of_tasks(self._tasks(presence), sent, late)",
        "return None",
        "tests/coordinator/test_service_tries.py"
        "::test_who_gives_a_task_up_after_its_lease_is_not_waited_for",
    ),
    Mutation(
        _GATE,
        "an update that never comes is waited for for ever",
        "coordinator/work.py",
        "if over_at is None or over_at > since or ",
        "if True or ",
        "tests/coordinator/test_service_tries.py"
        "::test_an_update_that_never_comes_is_not_waited_for_for_ever",
    ),
    Mutation(
        _LEASE,
        "who asks again gets a new lease",
        "coordinator/dispatch.py",
        "    if lease_end is None:\n",
        "    if True:\n",
        "tests/coordinator/test_batch.py::test_who_asks_again_gets_the_same_lease",
    ),
    Mutation(
        _LEASE,
        "a lease that ended a moment ago is granted again",
        "coordinator/dispatch.py",
        "    run = replace_lapsed(run, now, actions)\n    run, granted",
        "    run, granted",
        "tests/coordinator/test_run.py"
        "::test_a_worker_that_asks_again_after_its_lease_ended_is_not_granted_a_lapsed_task",
    ),
    Mutation(
        _LAPSED,
        "leases never end",
        "coordinator/tasks.py",
        "return task if task.lease_end is not None and task.lease_end <= now else None",
        "return None",
        "tests/coordinator/test_service_time.py::test_a_lease_that_ends_offers_a_task_in_its_place",
    ),
    Mutation(
        _LAPSED,
        "the task that follows does not say which it replaces",
        "coordinator/dispatch.py",
        "        else:\n            run = _offered(run, task.task_id, actions)",
        '        else:\n            run = _offered(run, "", actions)',
        "tests/coordinator/test_run.py"
        "::test_a_lease_that_ends_frees_its_slot_for_a_task_that_replaces_it",
    ),
    Mutation(
        _LATE_REFUSE,
        "the store does not note that a task was replaced",
        "coordinator/rows.py",
        "work.update_task(action.replaces, replaced=True)",
        "pass",
        "tests/coordinator/test_batch.py"
        "::test_late_stale_and_replaced_updates_are_refused_with_their_verdict",
    ),
    Mutation(
        _LATE_REFUSE,
        "a replaced task counts",
        "coordinator/round.py",
        'if policy.late == "refuse" and update.task.replaced:',
        "if False:",
        "tests/coordinator/test_run.py"
        "::test_when_late_updates_are_refused_a_replaced_task_does_not_count",
    ),
    Mutation(
        _LATE_REFUSE,
        "an update of an older version counts",
        "coordinator/round.py",
        'if policy.late == "refuse" and staleness > 0:',
        "if False:",
        "tests/coordinator/test_round.py::test_an_old_base_is_late_if_late_updates_are_refused",
    ),
    Mutation(
        _LATE_REFUSE,
        "tasks in training stay when the round closes",
        "coordinator/run.py",
        '    if run.policy.late == "refuse" or why == "rolled back":\n        # Their',
        "    if False:\n        # Their",
        "tests/coordinator/test_run.py"
        "::test_when_late_updates_are_refused_the_tasks_in_training_end_with_the_round",
    ),
    Mutation(
        _LATE_WEIGH,
        "a replaced task is refused",
        "coordinator/round.py",
        'if policy.late == "refuse" and update.task.replaced:',
        "if update.task.replaced:",
        "tests/coordinator/test_run.py"
        "::test_when_late_updates_are_weighed_a_lapsed_task_and_its_replacement_both_count",
    ),
    Mutation(
        _LATE_WEIGH,
        "tasks in training end with the round",
        "coordinator/run.py",
        '    if run.policy.late == "refuse" or why == "rolled back":\n        # Their',
        "    if True:\n        # Their",
        "tests/coordinator/test_run.py"
        "::test_when_late_updates_are_weighed_the_tasks_in_training_stay",
    ),
    Mutation(
        _LATE_WEIGH,
        "staleness has no limit",
        "coordinator/round.py",
        "if staleness > policy.max_staleness:",
        "if False:",
        "tests/coordinator/test_batch.py::test_an_update_too_far_behind_is_stale",
    ),
    Mutation(
        _OWN,
        "a worker may decline the task of another",
        "coordinator/dispatch.py",
        'if task is None or task.worker_id not in ("", event.worker_id):',
        "if task is None:",
        "tests/coordinator/test_run.py::test_a_worker_cannot_decline_the_task_of_another",
    ),
    Mutation(
        _OWN,
        "a worker that counted ends the task of another by asking for it",
        "coordinator/dispatch.py",
        'if task.worker_id in ("", event.worker_id):',
        "if True:",
        "tests/coordinator/test_run.py::test_a_worker_that_counted_does_not_end_the_task_of_another",
    ),
    Mutation(
        _DOUBT,
        "after a connect nothing is published again",
        "coordinator/connection.py",
        "self._tasks.publish_doubted(self._content.unpublished())",
        "pass",
        "tests/coordinator/test_service_connection.py"
        "::test_a_task_in_doubt_is_published_again_after_a_restart",
    ),
    Mutation(
        _DOUBT,
        "after a connect everything is published again",
        "coordinator/writing.py",
        "return [row.task_id for row in rows if not row.published]",
        "return [row.task_id for row in rows]",
        "tests/coordinator/test_service_connection.py"
        "::test_a_confirmed_task_is_not_published_again_after_a_restart",
    ),
    Mutation(
        _DOUBT,
        "a task that came back is not tried again",
        "coordinator/connection.py",
        "                if self._tasks.handle(event):\n"
        "                    self._retry_later(redeclare=isinstance(event, Returned))\n",
        "                self._tasks.handle(event)\n",
        "tests/coordinator/test_service_connection.py"
        "::test_a_task_that_came_back_is_published_when_there_is_a_queue",
    ),
    Mutation(
        _TWO,
        "a task is granted to its first worker only",
        "coordinator/dispatch.py",
        "    lease_end = task.lease_end\n",
        '    if task.worker_id not in ("", event.worker_id):\n'
        '        return run, [DenyTask(event.task_id, event.worker_id, "another has it")]\n'
        "    lease_end = task.lease_end\n",
        "tests/coordinator/test_batch.py::test_two_workers_with_one_task_both_count",
    ),
    Mutation(
        _QUORUM,
        "a round closes at its deadline whatever was counted",
        "coordinator/run.py",
        "    if state.counted >= run.policy.quorum:\n        run = replace_untaken",
        "    if True:\n        run = replace_untaken",
        "tests/coordinator/test_run.py"
        "::test_a_deadline_without_quorum_extends_the_round_and_keeps_what_was_counted",
    ),
    Mutation(
        _QUORUM,
        "untaken tasks are not offered anew",
        "coordinator/run.py",
        'run = replace_untaken(run, run.next_task, "nobody took it by the deadline", actions)',
        "pass",
        "tests/coordinator/test_run.py"
        "::test_a_deadline_without_quorum_offers_untaken_tasks_again_in_case_they_were_lost",
    ),
    Mutation(
        _QUORUM,
        "a task that later ones overtook is not offered anew",
        "coordinator/run.py",
        "        run = replace_untaken(run, run.newest_taken, "
        '"later tasks were taken before it", actions)\n',
        "",
        "tests/coordinator/test_run.py"
        "::test_a_task_that_later_ones_overtook_is_offered_again_at_a_deadline",
    ),
    Mutation(
        _PAUSED,
        "a round is extended for ever",
        "coordinator/run.py",
        "if state.extensions >= run.policy.max_extensions:",
        "if False:",
        "tests/coordinator/test_run.py::test_more_missed_deadlines_than_allowed_pause_the_run",
    ),
    Mutation(
        _PAUSED,
        "what was counted is forgotten at the pause",
        "coordinator/run.py",
        "return Paused(run, state.counted, state.opened_at, _again_at(run, now)), actions",
        "return Paused(run, 0, state.opened_at, _again_at(run, now)), actions",
        "tests/coordinator/test_run.py::test_what_was_counted_before_the_pause_is_kept",
    ),
    Mutation(
        _PAUSED,
        "a paused run does not resume",
        "coordinator/run.py",
        "if not enough or state.seen <= state.sent:",
        "if True:",
        "tests/coordinator/test_service_time.py::test_a_paused_run_goes_on_when_a_worker_is_seen",
    ),
    Mutation(
        _PAUSED,
        "a worker that has counted is one to resume for",
        "coordinator/run.py",
        "seen=state.seen - who if counted else state.seen | who,",
        "seen=state.seen | who,",
        "tests/coordinator/test_run.py"
        "::test_a_worker_that_counted_before_the_pause_is_not_seen_a_second_time",
    ),
    Mutation(
        _PAUSED,
        "it resumes for updates that are on their way",
        "coordinator/run.py",
        "if not enough or state.seen <= state.sent:",
        "if not enough:",
        "tests/coordinator/test_on_its_way.py"
        "::test_a_paused_run_does_not_go_on_for_an_update_that_is_on_its_way",
    ),
    Mutation(
        _PAUSED,
        "it waits for updates that could only be refused",
        "coordinator/batch/presences.py",
        'if state == "taken" or late == "weigh"',
        "if True",
        "tests/coordinator/test_on_its_way.py"
        "::test_a_paused_run_does_not_go_on_for_an_update_that_is_on_its_way",
    ),
    Mutation(
        _PAUSED,
        "it waits for ever for an update of a lease that is over",
        "coordinator/work.py",
        '(state == "taken" and not in_pause)',
        'state == "taken"',
        "tests/coordinator/test_on_its_way.py"
        "::test_a_paused_run_goes_on_in_the_end_whatever_is_said_to_be_on_its_way",
    ),
    Mutation(
        _PAUSED,
        "it resumes when another update comes of a worker whose update is on its way",
        "coordinator/run.py",
        "sent = another and event.worker_id in state.sent",
        "sent = False",
        "tests/coordinator/test_on_its_way.py"
        "::test_what_else_comes_of_a_worker_does_not_end_a_pause",
    ),
    Mutation(
        _PAUSED,
        "it waits for all where one has sent its update",
        "coordinator/run.py",
        "enough = state.counted + len(state.seen) >= ",
        "enough = state.counted + len(state.seen - state.sent) >= ",
        "tests/coordinator/test_run.py"
        "::test_a_paused_run_resumes_for_who_is_needed_beside_an_update_that_is_on_its_way",
    ),
    Mutation(
        _START,
        "any goal is taken",
        "settings/agreement.py",
        "if rounds.goal > rounds.tasks_in_flight:",
        "if False:",
        "tests/coordinator/test_startup.py::test_a_goal_above_the_tasks_in_flight_is_refused",
    ),
    Mutation(
        _START,
        "nobody is warned",
        "coordinator/startup.py",
        "if train < goal:",
        "if False:",
        "tests/coordinator/test_startup.py::test_a_goal_above_the_workers_ever_seen_is_warned_of",
    ),
)
