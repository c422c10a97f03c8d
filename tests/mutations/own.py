"""The rules of direct dispatch: §2, a worker's own queue, and §3, what a chosen worker does."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_HINT = "§2 a direct task waits in its worker's own queue, which holds the current one alone"
_AGAIN = "§2 presence has a worker's queue declared and its current task put there again"
_PINNED = "§2 a direct task pins a version, and its worker trains on that one or declines"
_AWAY = "§3 who is told to be away goes when nothing is open, and takes no task"
_MEASURED = "§3 an evaluation counts once for each worker and version, and is in no sum"

_OWN = "tests/coordinator/test_service_own.py::"
_EVALUATION = "tests/coordinator/test_service_evaluation_tasks.py::"
_SESSION = "tests/worker/test_session.py::"

OWN_QUEUES = (
    Mutation(
        _HINT,
        "a task that was not fetched stays before the newer one",
        "broker/topology.py",
        "            max_length=1,\n",
        "            max_length=2,\n",
        _OWN + "test_however_often_a_task_is_put_there_one_waits",
    ),
    Mutation(
        _HINT,
        "direct tasks go to the pool",
        "coordinator/taskmessages.py",
        "key = names.worker_key(worker_id) if worker_id else names.task_key",
        "key = names.task_key",
        _OWN + "test_each_drawn_worker_finds_a_task_of_its_own_and_the_pool_stays_empty",
    ),
    Mutation(
        _HINT,
        "a task stays in its queue when its lease has ended",
        "coordinator/taskmessages.py",
        "        return max(task.lease_end - now, LIFE_LEAST_S)\n",
        "        return EXPIRES_MAX_S\n",
        _OWN + "test_a_task_leaves_its_queue_when_its_lease_ends",
    ),
    Mutation(
        _AGAIN,
        "a worker that did not find its task is not given it again",
        "coordinator/batch/presences.py",
        "            self._steps.effects.append(PutAgain(task_id))\n",
        "            pass\n",
        _OWN + "test_a_task_that_a_worker_did_not_find_is_put_there_again",
    ),
    Mutation(
        _AGAIN,
        "a worker that has its task in hand is given it again",
        "coordinator/batch/presences.py",
        "if not task_id or presence.busy or presence.leaving:",
        "if not task_id:",
        _OWN + "test_who_has_its_task_or_has_done_it_is_not_given_it_again",
    ),
    Mutation(
        _AGAIN,
        "a worker is sent to a queue that is not there",
        "coordinator/carrying.py",
        "if own and effect.to is not None and not presence.leaving:",
        "if False:",
        _OWN + "test_a_worker_is_sent_to_its_own_queue_once_that_is_there",
    ),
    Mutation(
        _AGAIN,
        "a queue that took nothing is believed to be there",
        "coordinator/offering.py",
        "        self._queues.doubt(worker_id)\n",
        "",
        _OWN + "test_a_task_that_no_queue_took_is_published_once_there_is_one",
    ),
    Mutation(
        _PINNED,
        "whoever takes a direct task is told of the current version",
        "coordinator/telling.py",
        "version = self._version(effect.base_version)",
        "version = self._version(run.version)",
        _OWN + "test_a_direct_task_is_trained_on_the_version_that_it_pins",
    ),
    Mutation(
        _PINNED,
        "a worker trains on whatever it is told to",
        "worker/fitness.py",
        "if task.base_version not in (None, start.base_version):",
        "if False:",
        _SESSION + "test_a_start_for_another_version_than_the_task_pins_is_declined",
    ),
    Mutation(
        _PINNED,
        "a worker that training failed for keeps the slot of another",
        "worker/session.py",
        'return asked.queue == "pool" and sits_out(',
        "return _sits_out(",
        _SESSION + "test_who_is_chosen_for_a_version_that_failed_here_says_so_at_once",
    ),
)

OWN_WORK = (
    Mutation(
        _AWAY,
        "a worker goes away with a task in hand, or an update to send",
        "worker/session.py",
        "if not away_s or open_here or stays or not moment.online:",
        "if not away_s or stays or not moment.online:",
        _SESSION + "test_with_something_open_a_worker_stays",
    ),
    Mutation(
        _AWAY,
        "a worker that is to be away takes one more task",
        "worker/asking.py",
        "may_take=standing.may_take and not away_s,",
        "may_take=standing.may_take,",
        "tests/worker/test_asking.py::test_who_is_to_be_away_takes_no_task",
    ),
    Mutation(
        _MEASURED,
        "the answer to a task to evaluate is judged like a training",
        "coordinator/batch/judging.py",
        "if task is not None and task.kind == EVALUATION:",
        "if False:",
        _EVALUATION + "test_a_training_that_answers_a_task_to_evaluate_is_in_no_sum",
    ),
    Mutation(
        _MEASURED,
        "an evaluation is added to the sum that is made again",
        "coordinator/work.py",
        "table.c.kind == KIND,\n                table.c.round_version == version,\n",
        "table.c.round_version == version,\n",
        _EVALUATION + "test_the_versions_are_the_same_with_and_without_evaluations",
    ),
    Mutation(
        _MEASURED,
        "a worker may measure a version twice",
        "coordinator/batch/judging.py",
        "self._arrival(update, task, EVALUATION, fault)",
        "self._arrival(update, task, KIND, fault)",
        _EVALUATION + "test_a_second_evaluation_of_a_version_by_a_worker_is_repeated",
    ),
)
