"""The rules of §4, receive, commit, ack."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_CHECKED = "§4 an update is checked fully before it is counted or added"
_SYNCED = "§4 the spool is synced before the verdict is committed"
_AFTER = "§4 a delivery is acked after the commit, and not before"
_FOLDERS = "§4 files and folders are there after a power cut, whole or not at all"
_OVER = "§4 a file is written over only when nobody reads it and its name is gone"
_ROWS = "§4 a commit is on disk when it returns, and so is the database's name"
_EPOCH = "§4 every write checks the epoch, and who was overtaken writes nothing more"
_LOCK = "§4 a writer takes the lock before it reads"
_FAILED = "§4 after a write that failed, the state is loaded again and nothing is tried on memory"
_CLOSE = "§4 a round closes in the transaction of its last verdict; what comes later is of the next"
_SUM = "§4 the sum is made again from the ledger and the spool, in the order of arrival"
_KEPT = "§4 the spool keeps what a setting says, and always the open round"
_SEEDS = "§4 chance derives from the run's seed and a name"
_PARTS = "§4 parts are kept by their place, durable before they are acked"
_VERDICT = "§4 only the end of an upload gets a verdict, and only with all parts there"
_DRAINING = "§4 after the last version what still comes is recorded as `after end`"

_POWER_CUTS = (
    "tests/simulation/test_power_cuts.py"
    "::test_its_power_cut_at_any_step_it_counts_the_same_updates_into_the_same_models"
)

RECEIVING = (
    Mutation(
        _CHECKED,
        "the numbers of an update are not looked at",
        "coordinator/intake.py",
        "return inspect(payload, expected.layout, expected.max_norm, codec, update_id, passed)",
        "return None",
        "tests/coordinator/test_batch.py"
        "::test_a_bad_update_is_refused_recorded_acked_and_kept_for_people",
    ),
    Mutation(
        _CHECKED,
        "an update for a task that was never offered counts",
        "coordinator/round.py",
        "if update.task is None:",
        "if False:",
        "tests/coordinator/test_round.py::test_a_task_that_is_not_of_this_run_is_unknown",
    ),
    Mutation(
        _SYNCED,
        "no sync before the commit",
        "coordinator/writing.py",
        "            self._spool.sync()\n",
        "",
        "tests/coordinator/test_service_disk.py"
        "::test_nothing_is_lost_or_counted_twice_when_a_write_fails",
    ),
    Mutation(
        _SYNCED,
        "a sync that does nothing",
        "coordinator/spool.py",
        "            self._file.sync()\n            self._synced",
        "            self._synced",
        "tests/coordinator/test_spool.py::test_a_sync_that_failed_is_not_tried_again",
    ),
    Mutation(
        _SYNCED,
        "a segment that is full is left without a sync",
        "coordinator/spool.py",
        "            self._flush()\n            self._file.cut()",
        "            self._file.cut()",
        "tests/coordinator/test_spool.py"
        "::test_one_sync_is_for_all_segments_that_were_filled_since_the_last",
    ),
    Mutation(
        _AFTER,
        "deliveries are acked before the commit",
        "coordinator/service.py",
        "        effects = self._run.transact(arrivals, due, "
        "self._connection.notes(), self._fetched)\n",
        "        for _, delivery in arrivals:\n"
        "            self._transport.ack(delivery.tag)\n"
        "        effects = self._run.transact(arrivals, due, "
        "self._connection.notes(), self._fetched)\n",
        "tests/coordinator/test_service_disk.py"
        "::test_nothing_is_lost_or_counted_twice_when_a_write_fails",
    ),
    Mutation(
        _AFTER,
        "deliveries are not acked",
        "coordinator/carrying.py",
        "self._transport.ack(effect.tag)",
        "pass",
        "tests/coordinator/test_batch.py::test_what_has_its_verdict_is_not_delivered_again",
    ),
    Mutation(
        _OVER,
        "who reads a file is not asked",
        "disk/os_disk.py",
        "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        locked",
        "        locked",
        "tests/disk/test_spares.py::test_who_has_it_in_place_keeps_it_and_it_serves_once_that_ends",
    ),
    Mutation(
        _OVER,
        "who has opened a file does not look whether it still has its name",
        "disk/os_disk.py",
        "is_it = os.path.samestat(os.fstat(file.fileno()), path.stat())",
        "is_it = True",
        "tests/disk/test_spares.py::test_who_opens_it_too_late_finds_no_file",
    ),
    Mutation(
        _OVER,
        "a file that has a second name is written over",
        "disk/os_disk.py",
        "if locked.st_nlink == 1 and",
        "if",
        "tests/disk/test_os_disk.py::TestOsDisk::test_what_has_another_name_stays_as_it_was",
    ),
    Mutation(
        _OVER,
        "of a file that is written over the bits are believed",
        "coordinator/uploadfiles.py",
        "            pages.write(0, bytes(_BITS_END))\n",
        "",
        "tests/coordinator/test_uploadfiles.py"
        "::test_a_power_cut_at_any_step_believes_nothing_of_what_is_written_over",
    ),
    Mutation(
        _OVER,
        "that a file has no bits is not waited for",
        "coordinator/uploadfiles.py",
        "            pages.write(0, bytes(_BITS_END))\n            pages.sync()\n",
        "            pages.write(0, bytes(_BITS_END))\n",
        "tests/coordinator/test_uploadfiles.py"
        "::test_a_power_cut_at_any_step_believes_nothing_of_what_is_written_over",
    ),
    Mutation(
        _OVER,
        "who has taken a file over keeps others from holding it",
        "disk/os_disk.py",
        "            fcntl.flock(descriptor, fcntl.LOCK_UN)\n",
        "",
        "tests/coordinator/test_spool.py::test_a_view_of_a_segment_that_was_written_over_stays_too",
    ),
    Mutation(
        _OVER,
        "a segment that somebody reads keeps the others from being written over",
        "disk/spares.py",
        "                self._given.add(file)\n",
        "",
        "tests/coordinator/test_spool.py"
        "::test_a_segment_that_somebody_reads_keeps_no_other_from_being_written_over",
    ),
    Mutation(
        _OVER,
        "a segment is written over before its new name is durable",
        "coordinator/spool.py",
        "        self._disk.sync_folder(self._folder)\n\n    def _is_full",
        "\n    def _is_full",
        "tests/coordinator/test_spool.py"
        "::test_the_folder_is_synced_before_a_segment_is_written_over",
    ),
    Mutation(
        _FOLDERS,
        "the name of a new segment is not synced",
        "coordinator/spool.py",
        "        self._end = self._synced = self._file.tell()\n"
        "        self._disk.sync_folder(self._folder)\n",
        "        self._end = self._synced = self._file.tell()\n",
        "tests/coordinator/test_spool.py::test_what_was_synced_outlives_a_power_cut",
    ),
    Mutation(
        _FOLDERS,
        "a file is written in place",
        "disk/durable.py",
        "partial = path.with_name(PARTIAL + path.name)",
        "partial = path",
        "tests/disk/test_durable.py::test_a_file_is_written_whole_or_not_at_all",
    ),
    Mutation(
        _FOLDERS,
        "a file gets its name before it is synced",
        "disk/durable.py",
        "            file.sync()\n",
        "",
        "tests/disk/test_durable.py::test_a_file_written_durably_outlives_a_power_cut",
    ),
    Mutation(
        _FOLDERS,
        "a file's name is not synced",
        "disk/durable.py",
        "        raise\n    disk.sync_folder(path.parent)\n",
        "        raise\n",
        "tests/disk/test_durable.py::test_a_file_written_durably_outlives_a_power_cut",
    ),
    Mutation(
        _FOLDERS,
        "the file of a version is not durable when its row is written",
        "coordinator/models.py",
        "        write_chunks_durably(self._disk, path, chunks())\n",
        "        file = self._disk.create(path)\n"
        "        for chunk in chunks():\n"
        "            file.write(chunk)\n"
        "        file.close()\n",
        "tests/coordinator/test_models.py::test_a_version_outlives_a_power_cut",
    ),
    Mutation(
        _FOLDERS,
        "a folder's name is not synced",
        "disk/durable.py",
        "        disk.make_folder(folder)\n        disk.sync_folder(folder.parent)\n",
        "        disk.make_folder(folder)\n",
        "tests/disk/test_durable.py"
        "::test_each_folder_made_is_synced_in_the_one_above_and_its_owners_alone",
    ),
    Mutation(
        _FOLDERS,
        "a folder that is there is believed to be durable",
        "disk/durable.py",
        "    with contextlib.suppress(PermissionError):\n        disk.sync_folder(folder.parent)\n",
        "",
        "tests/disk/test_durable.py"
        "::test_a_folder_that_is_there_is_synced_all_the_same_in_the_one_above",
    ),
    Mutation(
        _ROWS,
        "the coordinator's commits are not synced",
        "coordinator/store.py",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=OFF",
        "tests/coordinator/test_store.py::test_commits_reach_the_disk_before_they_return",
    ),
    Mutation(
        _ROWS,
        "the worker's commits are not synced",
        "worker/database.py",
        "PRAGMA synchronous = FULL",
        "PRAGMA synchronous = OFF",
        "tests/worker/test_store.py::test_a_commit_is_synced_before_it_is_one",
    ),
    Mutation(
        _ROWS,
        "the name of the coordinator's database is not synced",
        "coordinator/store.py",
        "disk.sync_folder(path.parent)  # or the file may be gone with all that it holds",
        "pass",
        "tests/coordinator/test_store.py::test_a_new_store_outlives_a_power_cut",
    ),
    Mutation(
        _ROWS,
        "the name of the worker's database is not synced",
        "worker/store.py",
        "            disk.sync_folder(folder)\n",
        "",
        "tests/worker/test_store.py::test_a_new_stores_first_task_outlives_a_power_cut",
    ),
    Mutation(
        _EPOCH,
        "a transaction does not check it",
        "coordinator/store.py",
        "                self._require_epoch(self._writer)\n                yield",
        "                yield",
        "tests/coordinator/test_store.py::test_nothing_is_written_before_an_epoch_is_taken",
    ),
    Mutation(
        _EPOCH,
        "a process that starts takes the epoch of the one before",
        "coordinator/store.py",
        "values(epoch=schema.store.c.epoch + 1)",
        "values(epoch=schema.store.c.epoch)",
        "tests/coordinator/test_store.py::test_who_takes_an_epoch_fences_the_one_before",
    ),
    Mutation(
        _EPOCH,
        "the file of a version is written unchecked",
        "coordinator/writing.py",
        "with self._store.leading() as work:  # the file is written outside of the transaction",
        "with self._store.reading() as work:",
        "tests/coordinator/test_service_disk.py"
        "::test_a_fenced_coordinator_does_not_write_the_file_of_a_version",
    ),
    Mutation(
        _LOCK,
        "a writer takes the lock at its first write",
        "coordinator/store.py",
        '"BEGIN" if reading else "BEGIN IMMEDIATE"',
        '"BEGIN" if reading else "BEGIN DEFERRED"',
        "tests/coordinator/test_store.py"
        "::test_who_is_to_write_waits_before_it_reads_and_not_at_its_commit",
    ),
    Mutation(
        _FAILED,
        "the state is not loaded again",
        "coordinator/service.py",
        "        self._run.load()\n        self._mend_at",
        "        self._mend_at",
        "tests/coordinator/test_service_disk.py"
        "::test_nothing_is_lost_or_counted_twice_when_a_write_fails",
    ),
    Mutation(
        _FAILED,
        "the connection is kept, and what was delivered with it",
        "coordinator/service.py",
        "        self._transport.disconnect()\n        self._forget_connection()\n"
        "        self._trouble = f",
        "        self._trouble = f",
        "tests/coordinator/test_service_disk.py"
        "::test_nothing_is_lost_or_counted_twice_when_a_write_fails",
    ),
    Mutation(
        _FAILED,
        "the spool is used again as it is",
        "coordinator/service.py",
        "        self._spool.close()\n",
        "",
        "tests/coordinator/test_service_disk.py"
        "::test_a_segment_that_could_not_be_synced_is_closed_and_used_again",
    ),
    Mutation(
        _FAILED,
        "a spool that failed takes more",
        "coordinator/spool.py",
        "        if self._failed:\n            raise StoreError",
        "        if False:\n            raise StoreError",
        "tests/coordinator/test_spool.py"
        "::test_after_a_failed_write_nothing_more_is_taken_until_it_is_closed",
    ),
    Mutation(
        _CLOSE,
        "the goal closes nothing",
        "coordinator/run.py",
        "    if counted >= run.policy.goal:\n",
        "    if False:\n",
        "tests/coordinator/test_run.py"
        "::test_the_goal_closes_a_round_in_the_step_of_its_last_update",
    ),
    Mutation(
        _CLOSE,
        "what came together is judged together, though the round closed in between",
        "coordinator/writing.py",
        "while arrivals and not batch.steps.closed:",
        "while arrivals:",
        "tests/coordinator/test_batch.py::test_what_comes_with_the_goal_is_of_the_next_round",
    ),
    Mutation(
        _SUM,
        "after a restart the sum is empty",
        "coordinator/writing.py",
        "policy.algorithm, stored.counted)",
        "policy.algorithm, [])",
        "tests/coordinator/test_service_time.py::test_a_paused_run_keeps_its_sum_over_a_restart",
    ),
    Mutation(
        _SUM,
        "updates are added again in any order",
        "coordinator/work.py",
        '                table.c.verdict == "counted",\n            )\n'
        "            .order_by(table.c.arrival)",
        '                table.c.verdict == "counted",\n            )\n'
        "            .order_by(table.c.update_id)",
        "tests/coordinator/test_store.py::test_updates_of_a_round_come_in_the_order_of_arrival",
    ),
    Mutation(
        _SUM,
        "arrival numbers may be given again",
        "coordinator/schema.py",
        "    sqlite_autoincrement=True,\n",
        "",
        "tests/coordinator/test_store.py::test_an_arrival_number_is_never_given_again",
    ),
    Mutation(
        _SUM,
        "what comes from the spool is believed",
        "coordinator/spooled.py",
        "    if digest_of_stream(chunks_of(payload)) != row.payload_digest:\n        raise Damaged",
        "    if False:\n        raise Damaged",
        "tests/coordinator/test_replay.py::test_a_changed_byte_of_an_update_is_found",
    ),
    Mutation(
        _SUM,
        "a counted update is not added",
        "coordinator/batch/judging.py",
        "            self._steps.effects.append(AddToSum(_counted(arrived, verdict), where))\n",
        "",
        "tests/coordinator/test_service.py::test_two_answers_make_the_next_version",
    ),
    Mutation(
        _KEPT,
        "one round less is kept",
        "coordinator/versions.py",
        "needed = [work.oldest_segment(self._run_id, version - rounds)]",
        "needed = [work.oldest_segment(self._run_id, version - rounds + 1)]",
        "tests/coordinator/test_versions.py::test_updates_of_as_many_closed_rounds_are_kept_as_set",
    ),
    Mutation(
        _KEPT,
        "the segment in use may go",
        "coordinator/spool.py",
        "first_kept = min(before_segment, self._number)",
        "first_kept = before_segment",
        "tests/coordinator/test_spool.py::test_old_segments_are_forgotten_but_never_the_one_in_use",
    ),
    Mutation(
        _SEEDS,
        "every task has the run's seed",
        "coordinator/telling.py",
        "seed=derive_seed(self._facts.run_seed, effect.task_id),",
        "seed=self._facts.run_seed,",
        "tests/coordinator/test_batch.py::test_every_task_has_a_seed_of_its_own",
    ),
    Mutation(
        _PARTS,
        "parts are numbered as they come",
        "coordinator/uploadfiles.py",
        "start, _ = part_span(index, shape.payload_bytes, shape.part_bytes)",
        "start = (file.here | file.new).bit_count() * shape.part_bytes",
        "tests/coordinator/test_service_uploads.py"
        "::test_parts_may_come_in_any_order_and_more_than_once",
    ),
    Mutation(
        _PARTS,
        "parts of one update are kept together, whatever upload they are of",
        "coordinator/uploadfiles.py",
        "        return self._folder / upload[0] / upload[1]\n",
        "        return self._folder / upload[0] / upload[0]\n",
        "tests/coordinator/test_service_uploads.py"
        "::test_an_upload_with_other_bytes_does_not_mix_with_the_first",
    ),
    Mutation(
        _PARTS,
        "a part is acked before it is on disk",
        "coordinator/uploadfiles.py",
        "            file.pages.sync()\n            if file.adopted:\n",
        "            if file.adopted:\n",
        "tests/coordinator/test_uploadfiles.py"
        "::test_a_power_cut_at_any_step_leaves_no_part_that_is_not_there",
    ),
    Mutation(
        _PARTS,
        "a part is acked before it is known to be here",
        "coordinator/uploadfiles.py",
        "            file.pages.write(_BITS, bits)\n            file.pages.sync()\n",
        "            file.pages.write(_BITS, bits)\n",
        "tests/coordinator/test_uploadfiles.py"
        "::test_a_part_that_was_acked_outlives_every_crash_and_power_cut",
    ),
    Mutation(
        _PARTS,
        "a part is acked before its file has a name on disk",
        "coordinator/uploadfiles.py",
        "            self._sync_name(upload)\n",
        "",
        "tests/coordinator/test_uploadfiles.py"
        "::test_a_power_cut_at_any_step_leaves_no_part_that_is_not_there",
    ),
    Mutation(
        _PARTS,
        "a part that is there is believed to be durable",
        "coordinator/uploadfiles.py",
        "            if file.adopted:\n",
        "            if file.adopted or not file.new:\n",
        "tests/coordinator/test_uploadfiles.py"
        "::test_after_a_sync_that_failed_a_part_is_written_again",
    ),
    Mutation(
        _PARTS,
        "a verdict is committed before the upload has its name in the spool on disk",
        "coordinator/spool.py",
        "            if self._has_new_name:\n"
        "                self._disk.sync_folder(self._folder)\n",
        "            if self._has_new_name:\n",
        "tests/coordinator/test_uploadfiles.py"
        "::test_an_upload_that_the_ledger_names_outlives_a_power_cut",
    ),
    Mutation(
        _PARTS,
        "anyone may fill the disk with parts",
        "coordinator/batch/parts.py",
        "if self._judging.task_of(about) is None:  # or anyone could fill the disk",
        "if False:",
        "tests/coordinator/test_service_uploads.py"
        "::test_parts_for_a_task_that_was_never_offered_take_no_room",
    ),
    Mutation(
        _PARTS,
        "parts of an upload that has its verdict stay",
        "coordinator/batch/parts.py",
        "        if self._judging.is_copy(update):\n            self._forget(update)\n",
        "        if self._judging.is_copy(update):\n",
        "tests/coordinator/test_service_uploads.py"
        "::test_parts_that_a_crash_left_after_the_verdict_go_when_the_end_comes_again",
    ),
    Mutation(
        _VERDICT,
        "an upload is judged with parts missing",
        "coordinator/batch/parts.py",
        "        if missing:  # no verdict: the worker asks what is missing, and sends it again\n",
        "        if False:\n",
        "tests/coordinator/test_service_uploads.py::test_a_worker_learns_which_parts_are_missing",
    ),
    Mutation(
        _DRAINING,
        "it is judged as if the run went on",
        "coordinator/run.py",
        "return state, [judge_after_end(event, version).record(event.update_id, version)]",
        "return state, [judge(event, version, state.run.policy).record(event.update_id, version)]",
        "tests/coordinator/test_run.py::test_what_comes_after_the_end_is_recorded_as_that",
    ),
    Mutation(
        _DRAINING,
        "started again it records nothing more",
        "coordinator/restoring.py",
        "return Draining(run, now + policy.drain_s)",
        "return Draining(run, now)",
        "tests/coordinator/test_service_time.py"
        "::test_a_run_that_ended_says_so_and_records_what_still_comes",
    ),
)
