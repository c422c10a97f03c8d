"""The rules of §1, names."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_INCARNATION = "§1 the incarnation of a new or restored store is above all that were seen"
_TASK_ID = "§1 a task's id is never used twice"
_UPDATE_ID = "§1 an update's id follows from incarnation, task and worker"
_ONE_VERDICT = "§1 an update has one verdict for ever; what comes again is a copy"
_ONCE = "§1 a worker counts once for each run, kind and base version"
_SQUAT = "§1 only a message whose sender and digest hold takes an update id"
_TIMELINE = "§1 an update of another life, or of a base that was never made, is of another timeline"
_NEWER = "§1 a message that is newer than the store stops the coordinator"

NAMES = (
    Mutation(
        _INCARNATION,
        "a new store's incarnation is a constant",
        "coordinator/store.py",
        '"incarnation": int(now * 1000),',
        '"incarnation": 1,',
        "tests/coordinator/test_store.py"
        "::test_a_new_store_begins_a_life_that_is_above_all_older_ones",
    ),
    Mutation(
        _INCARNATION,
        "a restored store takes the time, whatever was seen",
        "coordinator/store.py",
        "max(above + 1, int(now * 1000), work.newest_incarnation() + 1)",
        "int(now * 1000)",
        "tests/coordinator/test_store.py"
        "::test_a_new_incarnation_is_above_the_stores_the_clocks_and_all_seen",
    ),
    Mutation(
        _INCARNATION,
        "a restored store keeps the open tasks of its old life",
        "coordinator/store.py",
        'work.end_open_tasks("the store was restored", now)',
        "pass",
        "tests/coordinator/test_store.py::test_a_new_incarnation_ends_the_tasks_of_the_old_one",
    ),
    Mutation(
        _INCARNATION,
        "a newer incarnation is not noted when it stops the coordinator",
        "coordinator/writing.py",
        "self._store.see_incarnation(error.incarnation)",
        "pass",
        "tests/coordinator/test_service_restored.py"
        "::test_a_new_life_is_above_every_one_that_was_seen",
    ),
    Mutation(
        _TASK_ID,
        "ids of tasks without the salt of the process that makes them",
        "coordinator/states.py",
        'identify("task", self.run_id, self.incarnation, self.salt, number)',
        'identify("task", self.run_id, self.incarnation, number)',
        "tests/coordinator/test_service_restored.py"
        "::test_tasks_made_after_a_restore_that_nobody_told_of_are_others",
    ),
    Mutation(
        _TASK_ID,
        "ids of tasks without the incarnation",
        "coordinator/states.py",
        'identify("task", self.run_id, self.incarnation, self.salt, number)',
        'identify("task", self.run_id, self.salt, number)',
        "tests/coordinator/test_run.py::test_task_ids_differ_between_runs_lives_and_numbers",
    ),
    Mutation(
        _TASK_ID,
        "a process begins to number tasks where the last one did",
        "coordinator/restoring.py",
        "next_task=stored.next_task",
        "next_task=0",
        "tests/coordinator/test_service_time.py"
        "::test_more_tasks_in_flight_after_a_restart_are_offered_at_once",
    ),
    Mutation(
        _UPDATE_ID,
        "ids of updates without the worker",
        "schemas/digest.py",
        'identify("update", incarnation, task_id, worker_id)',
        'identify("update", incarnation, task_id)',
        "tests/schemas/test_digest.py::test_an_update_is_named_by_life_task_and_worker",
    ),
    Mutation(
        _UPDATE_ID,
        "an id is believed as it comes",
        "coordinator/intake.py",
        "update.update_id != update_id_of(update.incarnation, update.task_id, update.worker_id)",
        "False",
        "tests/coordinator/test_intake.py::test_who_does_not_hold_its_id_takes_none",
    ),
    Mutation(
        _ONE_VERDICT,
        "the ledger has no unique key",
        "coordinator/schema.py",
        'Column("update_id", String, nullable=False, unique=True),',
        'Column("update_id", String, nullable=False),',
        "tests/coordinator/test_store.py::test_an_update_has_one_verdict_for_ever",
    ),
    Mutation(
        _ONE_VERDICT,
        "nobody looks whether there is a verdict",
        "coordinator/batch/judging.py",
        "if self._work.verdict_of(update.update_id) is None:",
        "if True:",
        "tests/coordinator/test_batch.py::test_an_update_that_comes_again_is_counted_once",
    ),
    Mutation(
        _ONE_VERDICT,
        "copies are not told apart",
        "coordinator/batch/judging.py",
        "self._work.raise_copies(update.update_id)",
        "pass",
        "tests/coordinator/test_batch.py"
        "::test_a_task_trained_again_with_other_bytes_is_a_copy_of_its_first_update",
    ),
    Mutation(
        _ONCE,
        "the machine counts a second update",
        "coordinator/round.py",
        "if update.counted_before:",
        "if False:",
        "tests/coordinator/test_run.py::test_a_worker_that_has_two_tasks_counts_once_in_a_version",
    ),
    Mutation(
        _ONCE,
        "the ledger does not say who counted",
        "coordinator/batch/judging.py",
        "            counted_before=self._work.counted_before(\n"
        "                update.run_id, kind, update.base_version, update.worker_id\n"
        "            ),",
        "            counted_before=False,",
        "tests/coordinator/test_batch.py::test_a_worker_counts_once_in_a_version",
    ),
    Mutation(
        _ONCE,
        "the index is not unique",
        "coordinator/schema.py",
        "        unique=True,\n        sqlite_where",
        "        sqlite_where",
        "tests/coordinator/test_store.py::test_a_worker_counts_once_for_a_version",
    ),
    Mutation(
        _SQUAT,
        "a payload is believed to have the digest it says",
        "coordinator/intake.py",
        "if digest_of(payload) != update.payload_digest:",
        "if False:",
        "tests/coordinator/test_batch.py"
        "::test_a_forged_copy_does_not_take_the_verdict_of_the_good_one",
    ),
    Mutation(
        _SQUAT,
        "parts together are believed to have the digest it says",
        "coordinator/batch/parts.py",
        "if digest_of_stream(chunks_of(payload)) != update.payload_digest:",
        "if False:",
        "tests/coordinator/test_service_uploads.py"
        "::test_parts_that_do_not_have_the_digest_together_are_sent_again",
    ),
    Mutation(
        _SQUAT,
        "any user of the broker may send in a worker's name",
        "coordinator/intake.py",
        "if sender is None or sender == worker_id:",
        "if True:",
        "tests/coordinator/test_service_senders.py"
        "::test_where_senders_are_users_nobody_speaks_for_another",
    ),
    Mutation(
        _SQUAT,
        "what takes no id is not recorded",
        "coordinator/batch/strays.py",
        "        self._work.record_stray(\n"
        "            digest, stray.verdict, stray.reason, claims, len(body), self._desk.now\n"
        "        )",
        "        assert claims",
        "tests/coordinator/test_batch.py::test_bytes_that_take_no_id_are_recorded_by_their_digest",
    ),
    Mutation(
        _TIMELINE,
        "the incarnation of an update does not matter",
        "coordinator/intake.py",
        "if update.incarnation != expected.incarnation or update.run_id != expected.run_id:",
        "if update.run_id != expected.run_id:",
        "tests/coordinator/test_batch.py"
        "::test_a_bad_update_is_refused_recorded_acked_and_kept_for_people",
    ),
    Mutation(
        _TIMELINE,
        "the digest of an update's base does not matter",
        "coordinator/intake.py",
        "if update.base_digest != expected.digest_of_version(update.base_version):",
        "if False:",
        "tests/coordinator/test_batch.py"
        "::test_a_bad_update_is_refused_recorded_acked_and_kept_for_people",
    ),
    Mutation(
        _NEWER,
        "an update of a newer incarnation is judged",
        "coordinator/intake.py",
        "if update.incarnation > expected.incarnation:",
        "if False:",
        "tests/coordinator/test_intake.py::test_a_newer_version_or_incarnation_is_not_judged",
    ),
    Mutation(
        _NEWER,
        "an update of a newer version is judged",
        "coordinator/intake.py",
        "and update.base_version > expected.version",
        "and False",
        "tests/coordinator/test_service_restored.py"
        "::test_an_update_of_a_newer_version_stops_it_and_stays_with_the_broker",
    ),
    Mutation(
        _NEWER,
        "a control message of a newer incarnation is taken",
        "coordinator/batch/steps.py",
        "if incarnation > ours:",
        "if False:",
        "tests/coordinator/test_service_restored.py"
        "::test_a_message_of_a_newer_incarnation_stops_it",
    ),
    Mutation(
        _NEWER,
        "a task of a newer incarnation that the broker gave up is taken up",
        "coordinator/batch/parked.py",
        "        self._steps.refuse_newer(task.incarnation)\n",
        "",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_task_of_a_newer_incarnation_stops_it_and_stays_with_the_broker",
    ),
    Mutation(
        _NEWER,
        "a worker may have trained on a version that was not made",
        "coordinator/batch/presences.py",
        "if same and run.version < presence.last_version <= run.policy.rounds:",
        "if False:",
        "tests/coordinator/test_service_restored.py"
        "::test_a_worker_that_has_trained_on_a_version_not_made_stops_it",
    ),
    Mutation(
        _NEWER,
        "an incarnation is believed that no clock has reached",
        "coordinator/intake.py",
        "if incarnation > expected.newest_incarnation:",
        "if False:",
        "tests/coordinator/test_intake.py::test_an_incarnation_that_no_clock_gives_is_malformed",
    ),
)
