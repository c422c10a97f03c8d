"""The rules of §4 and §5 for what lies in a depot."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_THERE = "§5 nobody is told of a model before it is in the depot, all of it"
_NOT_THERE = "§5 what is not there, or does not hold, is no model; it is put again"
_ONE = "§5 that one worker does not find a model hinders no other"
_HELD = "§4 while an update is read from the depot its closing message is not acked"
_BACK = "§4 an update that is not there gets no verdict, and is put again"
_BUSY = "§4 what waits to be read from the depot is in hand, and is not sent again"
_PARTS = "§4 if the depot is of no use an update goes in parts, and goes on where it was cut"

_SERVICE = "tests/coordinator/test_service_stored.py::"
_OBJECTS = "tests/coordinator/test_modelobjects.py::"
_FETCHING = "tests/worker/test_fetching.py::"
_SENDING = "tests/worker/test_sending.py::"

STORED_MODELS = (
    Mutation(
        _THERE,
        "a version is told while it is put",
        "coordinator/modelobjects.py",
        "        self._ready, self._retry_at = False, None\n",
        "        self._ready, self._retry_at = True, None\n",
        f"{_OBJECTS}test_nobody_is_told_before_it_is_there",
    ),
    Mutation(
        _THERE,
        "a put that says nothing is believed",
        "depot/putting.py",
        "    if found != num_bytes:\n",
        "    if False:\n",
        f"{_OBJECTS}test_a_put_that_was_torn_is_seen_by_its_size",
    ),
    Mutation(
        _THERE,
        "word of an earlier version stands for the current one",
        "coordinator/modelobjects.py",
        "        if event.attempt == self._attempt:\n",
        "        if event.attempt:\n",
        f"{_OBJECTS}test_word_of_an_earlier_version_does_not_make_the_current_one_ready",
    ),
    Mutation(
        _NOT_THERE,
        "what has its size is not put again",
        "depot/putting.py",
        "    if not again and depot.size(name) == num_bytes:\n",
        "    if depot.size(name) == num_bytes:\n",
        f"{_OBJECTS}test_who_does_not_find_it_has_it_put_again_over_what_is_there",
    ),
    Mutation(
        _ONE,
        "a version is put again on the word of a worker",
        "coordinator/modelobjects.py",
        "        if event.fault:\n",
        "        if True:\n",
        f"{_OBJECTS}test_one_worker_that_cannot_see_the_depot_hinders_nobody",
    ),
    Mutation(
        _NOT_THERE,
        "a worker believes the name",
        "worker/models.py",
        "        if found != self.digest or self.num_bytes != self._model_bytes:\n",
        "        if False:\n",
        f"{_FETCHING}test_another_model_under_its_name_is_gone_and_dropped",
    ),
    Mutation(
        _NOT_THERE,
        "a worker reads whatever size it has",
        "worker/fetching.py",
        "    if found != num_bytes:\n",
        "    if False:\n",
        f"{_FETCHING}test_a_model_of_another_size_is_gone_before_anything_is_read",
    ),
)

STORED_UPDATES = (
    Mutation(
        _HELD,
        "it is acked before its parts are here",
        "coordinator/batch/parts.py",
        "                self.waiting.add(delivery.tag)\n",
        "",
        f"{_SERVICE}test_a_second_closing_message_is_acked_at_once",
    ),
    Mutation(
        _HELD,
        "its worker is told that all of it is missing",
        "coordinator/batch/presences.py",
        "            if self._desk.fetching.covers(update_id):\n",
        "            if False:\n",
        f"{_SERVICE}test_while_it_is_read_nothing_is_wanted_of_the_worker",
    ),
    Mutation(
        _HELD,
        "it is held for ever",
        "coordinator/fetching.py",
        "if held.left and held.heard_at is not None and held.heard_at <= before\n",
        "if False\n",
        f"{_SERVICE}test_a_depot_that_stays_away_gives_the_closing_message_back",
    ),
    Mutation(
        _HELD,
        "it is not acked in time for the broker",
        "coordinator/fetching.py",
        "            if held.ack_at is not None and held.ack_at <= now and held.left:\n",
        "            if False:\n",
        f"{_SERVICE}test_one_whose_turn_has_not_come_is_held_for_as_long_as_others_are_read",
    ),
    Mutation(
        _BUSY,
        "its turn is over before it came",
        "coordinator/fetching.py",
        "        held = _Held(delivery, update, deque(missing), part_bytes, ack_at)\n",
        "        held = _Held(delivery, update, deque(missing), part_bytes, ack_at, self._now())\n",
        f"{_SERVICE}test_one_whose_turn_has_not_come_is_held_for_as_long_as_others_are_read",
    ),
    Mutation(
        _BUSY,
        "what was acked goes with the connection",
        "coordinator/fetching.py",
        "            if held.ack_at is not None:\n                self._drop(upload)\n",
        "            if True:\n                self._drop(upload)\n",
        f"{_SERVICE}test_one_that_was_acked_is_not_lost_with_the_connection",
    ),
    Mutation(
        _BUSY,
        "what was read and not written goes with the transaction that failed",
        "coordinator/fetching.py",
        "            if not held.left:\n                self._complete.append(upload)\n",
        "",
        f"{_SERVICE}test_one_that_was_acked_is_not_lost_when_the_disk_refuses",
    ),
    Mutation(
        _BUSY,
        "what waits for room is let go",
        "coordinator/fetching.py",
        "            self._wait_for_room(held)\n",
        "            return self._let_go(upload, 'there is no room')\n",
        f"{_SERVICE}test_one_that_there_is_no_room_for_waits_for_it",
    ),
    Mutation(
        _BUSY,
        "its worker is told nothing of it",
        "coordinator/batch/presences.py",
        "                in_hand.append(update_id)",
        "                pass",
        f"{_SERVICE}test_more_than_may_be_unsettled_are_acked_and_stay_in_hand",
    ),
    Mutation(
        _BUSY,
        "a worker does not know the word",
        "worker/sending.py",
        "        elif update_id in standing.in_hand:\n",
        "        elif False:\n",
        f"{_SENDING}test_an_update_in_hand_is_not_closed_again_after_a_reconnect",
    ),
    Mutation(
        _BACK,
        "one that was torn stays, and is never put again",
        "coordinator/fetching.py",
        "        if event.gone:\n            self.delete(event.upload)\n",
        "        if event.gone:\n",
        f"{_SERVICE}test_one_that_was_torn_is_deleted_and_unknown",
    ),
    Mutation(
        _BACK,
        "its size is not looked at",
        "coordinator/fetching.py",
        "    found = depot.size(name) if look else part.payload_bytes\n",
        "    found = part.payload_bytes\n",
        f"{_SERVICE}test_a_torn_one_is_not_read_at_all",
    ),
    Mutation(
        _BACK,
        "an upload leaves the outbox though its object may be gone",
        "worker/sending.py",
        "        if parcel.parts == 0:\n            return None, (Release(parcel.update_id),)\n",
        "        if parcel.parts == 0 or phase.stored:\n"
        "            return None, (Release(parcel.update_id),)\n",
        "tests/worker/test_service_depot.py"
        "::test_a_large_update_is_put_into_the_depot_and_kept_until_its_verdict",
    ),
    Mutation(
        _PARTS,
        "an update of which parts have arrived tries the depot",
        "worker/sending.py",
        "            went_in_parts = phase.parts is not None and not shipment.stored\n",
        "            went_in_parts = False\n",
        f"{_SENDING}test_a_restarted_worker_goes_on_in_parts_too",
    ),
    Mutation(
        _PARTS,
        "a put that fails between two connections is not counted",
        "worker/sending.py",
        "depot_failures=shipment.depot_failures + 1)",
        "depot_failures=shipment.depot_failures + moment.online)",
        f"{_SENDING}test_puts_that_no_connection_outlasts_are_given_up_too",
    ),
    Mutation(
        _PARTS,
        "it is forgotten what has arrived",
        "worker/sending.py",
        "stored=True, instead=due.parts)",
        "stored=True)",
        f"{_SENDING}test_what_the_coordinator_has_read_of_a_depot_that_is_given_up_is_not_sent",
    ),
    Mutation(
        _BACK,
        "an update that lies there wrongly is never put again",
        "coordinator/batch/parts.py",
        "        if update.stored:\n            upload = update.update_id",
        "        if False:\n            upload = update.update_id",
        f"{_SERVICE}test_one_that_holds_other_bytes_takes_no_id_and_is_deleted",
    ),
)
