"""§2: a task that is begun before anybody is told of it."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ACK = "§2 a task is acked when the broker has something that says who has it"
_ASKS = "§2 whoever was killed before the ack asks before it goes on"
_TOLD = "§2 a task is begun on what was told a moment ago, and on nothing else"
_TAKEN = "§2 an update says who took its task, if nobody did before"

UNSAID: tuple[Mutation, ...] = (
    Mutation(
        _ACK,
        "it is acked with the first part of its update",
        "worker/unsaid.py",
        '        case "update" if ref.subject == unsaid.update_id:\n',
        '        case "update" | "part" if ref.subject == unsaid.update_id:\n',
        "tests/worker/test_unsaid.py"
        "::test_an_update_in_parts_tells_who_has_the_task_only_when_it_is_closed",
    ),
    Mutation(
        _ACK,
        "it is acked though the disk did not take it",
        "worker/unsaid.py",
        "    return unsaid, (KeepStart(unsaid.task, unsaid.start),)\n",
        "    return replace(unsaid, tag=NO_DELIVERY), acked(unsaid)\n",
        "tests/worker/test_unsaid.py::test_nothing_is_acked_before_the_disk_has_it",
    ),
    Mutation(
        _ACK,
        "nobody is ever told that it was taken",
        "worker/unsaid.py",
        "    return Unsaid(task, start, tag, now, now + SAY_S)\n",
        "    return Unsaid(task, start, tag, now, math.inf)\n",
        "tests/worker/test_unsaid.py"
        "::test_one_that_takes_longer_is_said_to_be_taken_and_then_acked",
    ),
    Mutation(
        _ACK,
        "another is taken before",
        "worker/session.py",
        "        and not beginning.holds_delivery(session)  # one at a time\n",
        "",
        "tests/worker/test_unsaid.py::test_no_other_is_taken_before_the_broker_knows_of_the_first",
    ),
    Mutation(
        _ACK,
        "it is acked when training is done",
        "worker/unsaid.py",
        "    if unsaid.tag == NO_DELIVERY:\n        return None\n    say_at",
        "    if unsaid.tag != NO_DELIVERY:\n        return None\n    say_at",
        "tests/worker/test_unsaid.py"
        "::test_one_that_is_soon_done_is_acked_once_the_broker_has_its_update",
    ),
    Mutation(
        _ACK,
        "what went on without a broker is not said when there is one",
        "worker/service.py",
        "        if is_ready and start is not None and held.said == GOES_ON:\n",
        "        if False:\n",
        "tests/worker/test_service_unsaid.py"
        "::test_what_goes_on_after_a_kill_without_a_broker_is_said_when_there_is_one",
    ),
    Mutation(
        _ASKS,
        "it goes on with what it began",
        "worker/service.py",
        "is_ready and held.said != ASKS)",
        "is_ready)",
        "tests/worker/test_service_unsaid.py"
        "::test_killed_before_it_was_said_to_be_taken_a_task_is_asked_for_again",
    ),
    Mutation(
        _ASKS,
        "what was done meanwhile is put into the inbox again",
        "worker/inbox.py",
        '                "WHERE NOT EXISTS (SELECT 1 FROM marks WHERE task_id = ?1) "\n',
        '                "WHERE true "\n',
        "tests/worker/test_store.py::test_what_was_done_is_not_begun_nor_kept_again",
    ),
    Mutation(
        _TOLD,
        "what was told long ago is begun on",
        "worker/unsaid.py",
        "now - told.at > TOLD_S",
        "now < told.at",
        "tests/worker/test_unsaid.py::test_what_was_told_a_while_ago_is_asked_for_again",
    ),
    Mutation(
        _TOLD,
        "what was told of another run or version is begun on",
        "worker/unsaid.py",
        "    if standing.base is None or not same or task.base_version not in "
        "(None, standing.version):\n",
        "    if standing.base is None:\n",
        "tests/worker/test_unsaid.py::test_who_was_not_told_what_it_is_for_asks",
    ),
    Mutation(
        _TOLD,
        "it is told though a deadline may pass meanwhile",
        "coordinator/telling.py",
        "        if min(state.deadline_at, lease_end) - now < DEADLINE_NEAR_S:\n"
        "            return standing\n",
        "",
        "tests/coordinator/test_service_unsaid.py"
        "::test_with_a_deadline_that_is_near_a_worker_is_to_ask",
    ),
    Mutation(
        _TOLD,
        "what the coordinator says then is not heard",
        "worker/beginning.py",
        "    if same or not in_hand or not held.is_young(moment.now):\n",
        "    if held:\n",
        "tests/worker/test_unsaid.py::test_another_version_is_trained_on_instead",
    ),
    Mutation(
        _TAKEN,
        "nobody took it",
        "coordinator/dispatch.py",
        "    if update.since is not None:\n",
        "    if False:\n",
        "tests/coordinator/test_service_unsaid.py::test_its_update_says_who_took_it_and_when",
    ),
    Mutation(
        _TAKEN,
        "it was not taken in its turn",
        "coordinator/dispatch.py",
        "        newest_taken = newest_taken if task.direct else max(newest_taken, task.number)\n",
        "",
        "tests/coordinator/test_service_unsaid.py"
        "::test_it_was_taken_in_its_turn_so_that_what_came_before_it_is_known_to_be_lost",
    ),
    Mutation(
        _TAKEN,
        "an update says any time",
        "coordinator/batch/judging.py",
        "return max(task.offered_at, self._desk.now - max(update.train_s, 0.0))",
        "return self._desk.now - update.train_s",
        "tests/coordinator/test_service_unsaid.py"
        "::test_what_an_update_says_of_its_training_is_believed_within_reason",
    ),
    Mutation(
        _TAKEN,
        "not while its payload is read from the depot",
        "coordinator/batch/parts.py",
        "            self._judging.announce(update)\n",
        "",
        "tests/coordinator/test_service_stored.py::test_while_it_is_read_its_task_is_taken",
    ),
    Mutation(
        _TAKEN,
        "who names an update that is not here may take another task",
        "coordinator/batch/presences.py",
        "        bar = spent or self._awaited(presence) or untold\n",
        "        bar = spent or self._awaited(presence)\n",
        "tests/coordinator/test_service_unsaid.py"
        "::test_who_names_an_update_that_nobody_knows_of_takes_no_other_task",
    ),
    Mutation(
        _TAKEN,
        "who names one for an older version may take none",
        "coordinator/batch/presences.py",
        "        if said != (run.run_id, run.incarnation, run.version):\n",
        "        if said[:2] != (run.run_id, run.incarnation):\n",
        "tests/coordinator/test_service_unsaid.py"
        "::test_what_it_trained_on_the_version_before_keeps_nobody_from_a_task",
    ),
    Mutation(
        _TAKEN,
        "a paused run goes on for who takes no task",
        "coordinator/batch/presences.py",
        "(untold is not None or self._may_count(presence))",
        "self._may_count(presence)",
        "tests/coordinator/test_service_unsaid.py"
        "::test_a_paused_run_does_not_go_on_for_who_takes_no_task",
    ),
    Mutation(
        _TAKEN,
        "an update that can only be replaced is waited for",
        "coordinator/tries.py",
        'late != "refuse" or (not extended and open_s <= deadline_s)',
        "True",
        "tests/coordinator/test_service_unsaid.py"
        "::test_where_late_ones_are_refused_an_update_of_a_replaced_task_holds_nobody",
    ),
    Mutation(
        _TAKEN,
        "an older one is waited for though the try was refused",
        "coordinator/work.py",
        "            or statements.ANY_VERDICT.run(self._connection, asked)\n",
        "",
        "tests/coordinator/test_service_unsaid.py"
        "::test_an_older_update_that_never_came_holds_nobody_whose_try_is_known",
    ),
    Mutation(
        _TAKEN,
        "who closes an update counts as unheard",
        "coordinator/batch/judging.py",
        "        self._desk.roster.hear(self._work, update.worker_id, self._desk.now)\n",
        "",
        "tests/coordinator/test_service_stored.py"
        "::test_who_sent_it_was_heard_and_has_its_task_since_it_took_it",
    ),
)
