"""The rules of §3, the worker."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ONE_STEP = "§3 a task leaves the inbox and its update enters the outbox in one transaction"
_DONE = "§3 a task that was done is not trained again"
_ATTEMPTS = "§3 an attempt is on disk before it begins, and there are three"
_LEAVES = "§3 a single message leaves the outbox on its confirm, parts only on a verdict"
_ASKS = "§3 on connecting and after an upload the worker asks what became of its updates"
_DOUBTED = "§3 `unknown` and `missing` are believed only some time after sending"
_CLOCK = "§3 only the coordinator's clock decides; who does not know it trains"
_MONOTONIC = "§3 running timers are monotonic; a jump of the clock is logged and shifts none"
_RESTORED = "§3 no timer that is restored is longer than a new one, and none ends at once"

WORKING = (
    Mutation(
        _ONE_STEP,
        "two transactions, one after the other",
        "worker/store.py",
        "(update.task_id,))\n            before = self._finished_before(update)",
        "(update.task_id,))\n        with self._db.transaction():\n"
        "            before = self._finished_before(update)",
        "tests/worker/test_store.py::test_a_crash_while_finishing_leaves_everything_or_nothing",
    ),
    Mutation(
        _LEAVES,
        "what rotted while the agent slept is sent as if it was just written",
        "worker/shipping.py",
        " and is_just_written(self._store.payload_age_s(update_id))",
        "",
        "tests/worker/test_service.py::test_what_rotted_while_the_agent_slept_is_not_sent",
    ),
    Mutation(
        _LEAVES,
        "a payload is removed while a power cut may bring back the row that names it",
        "worker/database.py",
        "if waits and db.total_changes > before:",
        "if True:",
        "tests/worker/test_store.py"
        "::test_the_file_of_a_released_update_goes_with_the_next_that_is_durable",
    ),
    Mutation(
        _ONE_STEP,
        "the payload is not durable when its row is written",
        "worker/payloads.py",
        "        write_chunks_durably(\n            self._disk,\n            self._folder / name,\n"
        "            passed(),\n            lambda: self._folder / file_of(described()),\n"
        "            over=self._spares.find(),\n        )",
        "        unsynced = self._disk.create(self._folder / name)\n"
        "        for chunk in passed():\n            unsynced.write(chunk)\n"
        "        unsynced.close()\n"
        "        self._disk.move(self._folder / name, self._folder / file_of(described()))",
        "tests/worker/test_store.py::test_a_finished_update_outlives_a_power_cut",
    ),
    Mutation(
        _DONE,
        "a task that comes again is taken again",
        "worker/assignment.py",
        'case TaskCame(tag, task, "open" | "done"):',
        "case TaskCame(tag, task) if False:",
        "tests/worker/test_session.py::test_a_task_that_was_done_is_acked_and_not_trained_again",
    ),
    Mutation(
        _DONE,
        "the mark goes with the update",
        "worker/store.py",
        '            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))\n'
        "        self._remove_payload(update_id, at_once=not may_linger)\n\n    def settle",
        '            self._db.execute("DELETE FROM outbox WHERE update_id = ?", (update_id,))\n'
        '            self._db.execute("DELETE FROM marks WHERE update_id = ?", (update_id,))\n'
        "        self._remove_payload(update_id, at_once=not may_linger)\n\n    def settle",
        "tests/worker/test_store.py::test_a_released_update_leaves_its_mark",
    ),
    Mutation(
        _DONE,
        "marks that the outbox needs are swept",
        "worker/store.py",
        '"AND update_id NOT IN (SELECT update_id FROM outbox) "\n',
        '" "\n',
        "tests/worker/test_store.py::test_old_marks_are_swept_and_those_of_the_outbox_are_not",
    ),
    Mutation(
        _DONE,
        "nobody looks whether another process has finished it since",
        "worker/effects.py",
        "return self._finished(task.task_id) or (gone,)",
        "return (gone,)",
        "tests/worker/test_service.py"
        "::test_an_orphan_that_finishes_after_the_new_agent_looked_is_found",
    ),
    Mutation(
        _ATTEMPTS,
        "attempts are not stored",
        "worker/effects.py",
        "if not (store.inbox.begin_attempt(start) if said else store.inbox.begin(task, start)):",
        "if False:",
        "tests/worker/test_service.py"
        "::test_an_attempt_is_on_disk_before_the_training_that_may_take_all_down_begins",
    ),
    Mutation(
        _ATTEMPTS,
        "an agent that starts begins a fourth",
        "worker/assignment.py",
        "    if attempts >= ATTEMPTS_MAX:\n",
        "    if False:\n",
        "tests/worker/test_session.py"
        "::test_three_crashes_count_though_the_machine_went_down_with_them",
    ),
    Mutation(
        _ATTEMPTS,
        "a training that crashes is tried for ever",
        "worker/assignment.py",
        'case "crash" | "model" | "cancelled" if attempts >= ATTEMPTS_MAX:',
        'case "crash" | "model" | "cancelled" if attempts < 0:',
        "tests/worker/test_session.py"
        "::test_three_crashes_and_the_task_is_declined_and_its_version_sat_out",
    ),
    Mutation(
        _LEAVES,
        "an upload leaves the outbox when it is confirmed",
        "worker/sending.py",
        "        if parcel.parts == 0:\n            return None",
        "        if True:\n            return None",
        "tests/worker/test_session.py::test_an_upload_in_parts_stays_until_its_verdict",
    ),
    Mutation(
        _LEAVES,
        "what was on its way when the connection was lost is not sent again",
        "worker/sending.py",
        "return replace(shipment, phase=Due(math.inf, _remaining(shipment.phase)))",
        "return shipment",
        "tests/worker/test_session.py::test_a_cut_upload_goes_on_where_it_was",
    ),
    Mutation(
        _LEAVES,
        "the end of an upload is sent with parts unconfirmed",
        "worker/sending.py",
        "if not phase.left and not flying:",
        "if not phase.left:",
        "tests/worker/test_session.py::test_an_upload_in_parts_stays_until_its_verdict",
    ),
    Mutation(
        _ASKS,
        "a worker that comes online asks nothing",
        "worker/asking.py",
        "return replace(ask_again(asking, now), silent=0, unsent=0)",
        "return replace(ask_again(asking, math.inf), silent=0, unsent=0)",
        "tests/worker/test_session.py::test_coming_online_the_worker_asks_how_things_stand",
    ),
    Mutation(
        _ASKS,
        "a worker does not ask after an upload",
        "worker/asking.py",
        "ask_again(asking, moment.now + _UPDATE_ANSWER_S)",
        "ask_again(asking, math.inf)",
        "tests/worker/test_session.py"
        "::test_an_update_that_was_not_answered_is_asked_for_and_the_worker_says_its_version",
    ),
    Mutation(
        _ASKS,
        "parts that are missing are not sent again",
        "worker/sending.py",
        "            return _again(shipment, parts, moment)",
        "            return shipment, ()",
        "tests/worker/test_session.py::test_only_missing_parts_are_sent_again",
    ),
    Mutation(
        _DOUBTED,
        "`unknown` is believed at once",
        "worker/sending.py",
        "        case AwaitingVerdict(doubted_until) if doubted_until <= moment.now:\n"
        "            return _again(shipment, None, moment)",
        "        case AwaitingVerdict():\n            return _again(shipment, None, moment)",
        "tests/worker/test_session.py"
        "::test_an_upload_just_sent_is_not_sent_again_because_it_is_unknown",
    ),
    Mutation(
        _DOUBTED,
        "the wait does not grow",
        "worker/sending.py",
        "wait_s = min(_DOUBT_MOST_S, _DOUBT_S * 2.0 ** min(shipment.uploads, 10))",
        "wait_s = _DOUBT_S",
        "tests/worker/test_sending.py"
        "::test_an_upload_that_stays_unknown_is_sent_again_ever_less_often",
    ),
    Mutation(
        _CLOCK,
        "a worker goes by its own clock",
        "worker/asking.py",
        "return None if self.heard_s is None else self.heard_s + now - self.heard_at",
        "return now",
        "tests/worker/test_asking.py"
        "::test_the_coordinators_time_is_what_it_said_and_what_has_passed_since",
    ),
    Mutation(
        _CLOCK,
        "a worker that does not know the time declines",
        "worker/fitness.py",
        "        and moment.coordinator_s is not None\n"
        "        and task.not_after < moment.coordinator_s\n",
        "        and (moment.coordinator_s is None or task.not_after < moment.coordinator_s)\n",
        "tests/worker/test_session.py::test_a_worker_that_does_not_know_the_time_trains",
    ),
    Mutation(
        _MONOTONIC,
        "timers follow the system's clock",
        "coordinator/clock.py",
        "return time.monotonic() + self._offset",
        "return time.time()",
        "tests/coordinator/test_clock.py::test_a_clock_that_is_set_moves_no_timer_and_is_logged_once",
    ),
    Mutation(
        _MONOTONIC,
        "a jump is not logged",
        "coordinator/clock.py",
        "if abs(drift - self._told) > JUMP_S:",
        "if False:",
        "tests/coordinator/test_clock.py::test_a_clock_that_is_set_moves_no_timer_and_is_logged_once",
    ),
    Mutation(
        _RESTORED,
        "leases end when the store says, however far away that is",
        "coordinator/tasks.py",
        "lease_end = min(max(task.lease_end, first), limit)",
        "lease_end = max(task.lease_end, first)",
        "tests/coordinator/test_tasks.py"
        "::test_restored_leases_end_in_order_and_none_later_than_a_new_one",
    ),
    Mutation(
        _RESTORED,
        "leases that ended while it was down end at once",
        "coordinator/tasks.py",
        "lease_end = min(max(task.lease_end, first), limit)",
        "lease_end = min(task.lease_end, limit)",
        "tests/coordinator/test_service_time.py"
        "::test_who_answered_in_time_while_it_was_down_is_not_late",
    ),
    Mutation(
        _RESTORED,
        "the deadline is when the store says, however far away that is",
        "coordinator/restoring.py",
        "deadline_at = min(max(row.deadline_at, now + grace_s), now + opened_with.deadline_s)",
        "deadline_at = max(row.deadline_at, now + grace_s)",
        "tests/coordinator/test_service_time.py"
        "::test_a_clock_that_went_back_between_two_starts_starves_nobody",
    ),
    Mutation(
        _RESTORED,
        "a deadline that passed while it was down has passed",
        "coordinator/restoring.py",
        "deadline_at = min(max(row.deadline_at, now + grace_s), now + opened_with.deadline_s)",
        "deadline_at = min(row.deadline_at, now + opened_with.deadline_s)",
        "tests/coordinator/test_service_time.py"
        "::test_a_deadline_that_passed_while_it_was_down_waits_for_what_had_come",
    ),
    Mutation(
        _RESTORED,
        "time without a coordinator counts for the end of a run",
        "coordinator/writing.py",
        "self._ran_s = self._noted_ran_s = row.ran_s",
        "self._ran_s = self._noted_ran_s = now - row.started_at",
        "tests/coordinator/test_service_time.py"
        "::test_a_clock_that_was_far_behind_when_a_run_began_does_not_end_it",
    ),
)
