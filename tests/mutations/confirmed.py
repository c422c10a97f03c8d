"""The rules of §5, nothing confirmed and lost."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_PUBLISHED = "§5 publishes are mandatory and confirmed; what is refused or returned was not taken"
_ALTERNATE = "§5 no exchange has an alternate, or a misrouted update is confirmed and lost"
_DEAD = "§5 what the broker gives up is dead-lettered at least once, and nothing is dropped for it"
_PARKED = "§5 `parked` is never given up, `refused` gives way at its old end"
_POISON = "§5 an attempt at a parked message is stored before it is decoded; three are poison"
_ALONE = "§5 a parked message is taken up alone and last, and blamed for nothing but itself"
_DISK = "§5 after a failed write the disk is tried before anything is taken from the broker"
_NAME = "§5 the digest is a model's name, its offset a hint; anything else is `model gone`"
_BACK = "§5 after each connect the current version is read back, and written again if need be"
_SEGMENT = "§5 where a version lies is known again soon after a segment was begun"
_ONCE = "§5 --once waits a little for the task that follows on `model gone`"
_STALENESS = "§5 start refuses a staleness above the versions that are kept"

CONFIRMED = (
    Mutation(
        _PUBLISHED,
        "publishes are not mandatory",
        "broker/rabbitmq/publisher.py",
        "mandatory=True,",
        "mandatory=False,",
        "tests/broker/test_rabbitmq.py::TestRabbitTransport::test_what_no_queue_takes_comes_back",
    ),
    Mutation(
        _PUBLISHED,
        "what a full queue refuses counts as confirmed",
        "broker/rabbitmq/publisher.py",
        "if not taken:",
        "if False:",
        "tests/broker/test_rabbitmq.py::TestRabbitTransport::test_a_full_queue_refuses",
    ),
    Mutation(
        _PUBLISHED,
        "what no queue took leaves the outbox",
        "worker/effects.py",
        "return tuple(events.Unpublished(ref, reason) for ref in self._settled(token))\n"
        "            case wire.Doubtful",
        "return tuple(events.Published(ref) for ref in self._settled(token))\n"
        "            case wire.Doubtful",
        "tests/worker/test_service.py::test_an_update_that_no_queue_takes_stays_until_one_does",
    ),
    Mutation(
        _ALTERNATE,
        "exchanges have one",
        "broker/rabbitmq/declaring.py",
        "exchange.kind, durable=True, callback=then)",
        'exchange.kind, durable=True, arguments={"alternate-exchange": "lost"}, callback=then)',
        "tests/broker/rabbitmq/test_declaring.py"
        "::test_no_exchange_has_an_alternate_or_a_misrouted_update_would_be_confirmed_and_lost",
    ),
    Mutation(
        _DEAD,
        "the broker may lose it on the way",
        "broker/topology.py",
        'arguments["x-dead-letter-strategy"] = "at-least-once"',
        'arguments["x-dead-letter-strategy"] = "at-most-once"',
        "tests/broker/test_topology.py::test_what_workers_send_is_dead_lettered_at_least_once",
    ),
    Mutation(
        _DEAD,
        "updates are not dead-lettered at all",
        "broker/topology.py",
        "            dead_letter_exchange=self.dead_exchange,\n            max_bytes=_UPDATES",
        "            max_bytes=_UPDATES",
        "tests/broker/test_topology.py::test_what_workers_send_is_dead_lettered_at_least_once",
    ),
    Mutation(
        _DEAD,
        "full queues drop the oldest",
        "broker/topology.py",
        '    overflow: Literal["reject-publish", "drop-head"] = "reject-publish"',
        '    overflow: Literal["reject-publish", "drop-head"] = "drop-head"',
        "tests/broker/test_topology.py::test_what_is_dead_lettered_at_least_once_refuses_when_full",
    ),
    Mutation(
        _PARKED,
        "parked messages are given up after twenty deliveries",
        "broker/topology.py",
        "            delivery_limit=NO_DELIVERY_LIMIT,\n",
        "",
        "tests/coordinator/test_service_disk.py"
        "::test_what_was_given_up_is_kept_however_often_it_cannot_be_taken_up",
    ),
    Mutation(
        _PARKED,
        "copies of refused messages fill their queue for good",
        "broker/topology.py",
        'self._name("refused"), "quorum", overflow="drop-head", max_bytes',
        'self._name("refused"), "quorum", max_bytes',
        "tests/broker/test_topology.py::test_what_is_parked_is_refused_when_full_and_never_dropped",
    ),
    Mutation(
        _POISON,
        "attempts are counted in memory",
        "coordinator/writing.py",
        "            with self._store.transaction() as work:\n"
        "                self._attempts[digest] = work.attempt_parked(digest)\n",
        "            self._attempts[digest] = 1\n",
        "tests/coordinator/test_service_parked.py"
        "::test_a_message_that_ends_three_processes_is_poison",
    ),
    Mutation(
        _POISON,
        "a message may end any number of processes",
        "coordinator/batch/parked.py",
        "if attempts > POISON_ATTEMPTS:",
        "if False:",
        "tests/coordinator/test_service_parked.py"
        "::test_a_message_that_ends_three_processes_is_poison",
    ),
    Mutation(
        _POISON,
        "a message that was taken keeps its attempts",
        "coordinator/batch/batch.py",
        "        self._work.forget_parked(digest_of(delivery.body))\n",
        "",
        "tests/coordinator/test_service_parked.py"
        "::test_a_copy_that_is_parked_again_and_again_is_a_copy",
    ),
    Mutation(
        _ALONE,
        "an attempt begins before what came with it is done",
        "coordinator/service.py",
        "        self._work_off(arrivals, due)\n"
        "        for source, delivery in parked:\n"
        "            self._run.note_attempt(delivery)\n",
        "        for _, delivery in parked:\n"
        "            self._run.note_attempt(delivery)\n"
        "        self._work_off(arrivals, due)\n"
        "        for source, delivery in parked:\n",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_update_is_no_poison_because_of_another_message",
    ),
    Mutation(
        _ALONE,
        "what the disk stops counts as an attempt until the disk is mended",
        "coordinator/service.py",
        "        self._spool.close()\n        self._run.take_back_attempts()\n",
        "        self._spool.close()\n",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_update_is_no_poison_because_a_supervisor_restarts_what_the_disk_stops",
    ),
    Mutation(
        _ALONE,
        "an attempt that cannot be taken back at once never is",
        "coordinator/writing.py",
        "            self._attempts.clear()\n",
        "        self._attempts.clear()\n",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_update_is_no_poison_because_its_attempts_could_not_be_taken_back",
    ),
    Mutation(
        _ALONE,
        "a full disk counts as an attempt",
        "coordinator/writing.py",
        "work.take_back_attempt(digest)",
        "pass",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_update_is_no_poison_because_the_disk_was_full",
    ),
    Mutation(
        _ALONE,
        "what stops the coordinator in order counts as an attempt",
        "coordinator/writing.py",
        "                self._store.see_incarnation(error.incarnation)\n"
        "        self.take_back_attempts()\n",
        "                self._store.see_incarnation(error.incarnation)\n",
        "tests/coordinator/test_service_parked.py"
        "::test_a_parked_task_of_a_newer_incarnation_stops_it_and_stays_with_the_broker",
    ),
    Mutation(
        _DISK,
        "it is not tried",
        "coordinator/service.py",
        "self._run.prove_disk(self._message_bytes)",
        "pass",
        "tests/coordinator/test_service_disk.py"
        "::test_a_disk_without_room_for_an_update_is_not_connected_for",
    ),
    Mutation(
        _DISK,
        "the pause does not grow",
        "coordinator/service.py",
        "delay = RECOVER_S[min(self._failures, len(RECOVER_S) - 1)]",
        "delay = RECOVER_S[0]",
        "tests/coordinator/test_service_disk.py"
        "::test_while_the_disk_is_full_it_waits_longer_and_longer_but_not_for_ever",
    ),
    Mutation(
        _NAME,
        "any bytes of the right size are the model",
        "worker/models.py",
        "if found != self.digest or self.num_bytes != self._model_bytes:",
        "if self.num_bytes != self._model_bytes:",
        "tests/worker/test_models.py::test_other_bytes_under_the_name_are_no_model",
    ),
    Mutation(
        _NAME,
        "a model is looked for without end",
        "worker/models.py",
        "skips = offset - self.start.offset < OFFSETS_SKIPPED_MAX",
        "skips = offset >= self.start.offset",
        "tests/worker/test_models.py::test_a_stream_without_the_model_where_it_should_be_is_broken",
    ),
    Mutation(
        _NAME,
        "a stream may have gaps",
        "worker/models.py",
        '        if begin > self._bytes:\n            raise StreamBrokenError(f"expected part',
        '        if False:\n            raise StreamBrokenError(f"expected part',
        "tests/worker/test_models.py::test_a_gap_is_noticed",
    ),
    Mutation(
        _NAME,
        "a stream that is silent is waited for",
        "worker/assignment.py",
        "case Tick() if work.heard_at + _silence_s(work.start) <= moment.now:",
        "case Tick() if work.heard_at == -math.inf:",
        "tests/worker/test_session.py::test_a_silent_stream_means_that_the_model_is_gone",
    ),
    Mutation(
        _NAME,
        "no fresh task follows on one that was declined",
        "coordinator/run.py",
        "        case TaskDeclined():\n"
        "            run, actions = decline(state.run, event)\n"
        "            draw_at = None if actions else state.draw_at\n"
        "            return refilled(replace(state, run=run, draw_at=draw_at), actions, now)",
        "        case TaskDeclined():\n"
        "            run, actions = decline(state.run, event)\n"
        "            return replace(state, run=run), actions",
        "tests/coordinator/test_batch.py::test_a_declined_task_frees_its_slot",
    ),
    Mutation(
        _BACK,
        "nobody looks for the model that a worker did not find",
        "coordinator/batch/controls.py",
        "            if missed:\n",
        "            if False:\n",
        "tests/coordinator/test_service_connection.py"
        "::test_a_model_that_a_worker_does_not_find_is_written_again",
    ),
    Mutation(
        _BACK,
        "after a connect nothing is read",
        "coordinator/connection.py",
        "        if self._models.offset is None:\n            self._connect_stream()\n",
        "",
        "tests/coordinator/test_service_connection.py::test_a_broker_that_restarts_is_met_again",
    ),
    Mutation(
        _BACK,
        "what is read back need not have the digest",
        "coordinator/modelstream.py",
        "if self._read_digest.digits() != self._current.digest:",
        "if False:",
        "tests/coordinator/test_modelstream.py::test_a_damaged_version_is_written_again",
    ),
    Mutation(
        _BACK,
        "another version is read to its end",
        "coordinator/modelstream.py",
        "self._rewrite()  # another version, a gap, or the retention has taken it\n",
        "pass\n",
        "tests/coordinator/test_modelstream.py"
        "::test_another_version_at_the_hint_is_not_read_to_its_end",
    ),
    Mutation(
        _SEGMENT,
        "every beginning counts as one of just now",
        "coordinator/streampace.py",
        "if begun and just_now:",
        "if begun:",
        "tests/coordinator/test_streampace.py"
        "::test_a_first_guess_that_is_far_too_large_is_made_good_soon",
    ),
    Mutation(
        _SEGMENT,
        "after a restart the segment counts as new",
        "coordinator/modelstream.py",
        "is_new=self._read_offset == 0)",
        "is_new=True)",
        "tests/coordinator/test_modelstream.py"
        "::test_few_parts_are_read_in_vain_for_segments_that_begin",
    ),
    Mutation(
        _BACK,
        "an empty stream is waited for",
        "coordinator/modelstream.py",
        "if wake is not None and self._now() >= wake:",
        "if False:",
        "tests/coordinator/test_modelstream.py::test_an_emptied_stream_is_written_again",
    ),
    Mutation(
        _ONCE,
        "it does not wait",
        "worker/session.py",
        "        return _patient(session, moment)\n    again_at",
        "        return session\n    again_at",
        "tests/worker/test_session.py"
        "::test_once_waits_a_little_for_a_fresh_task_when_the_model_was_gone",
    ),
    Mutation(
        _STALENESS,
        "any staleness is taken",
        "settings/agreement.py",
        "if rounds.max_staleness >= coordinator.keep_versions:",
        "if False:",
        "tests/settings/test_loading.py::test_settings_that_are_at_odds_are_both_named",
    ),
)
