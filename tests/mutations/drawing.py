"""The rules that the roster keeps: who is drawn (§2), and that it is a cache (§4)."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_ONE = "§2 a worker has at most one open task"
_UNHEARD = "§2 whose last two leases ended unheard is not drawn until it is seen again"
_SENT = "§2 who says that its update is on its way is not drawn for its version again"
_GATE = "§2 who may not take a task has no consumer: the gate is never a requeue"
_DRAWS = "§4 random draws are functions of names, so that a restart draws the same"
_RELOADED = "§4 after a write that failed everything is loaded again from the store"

_REGISTRY = "tests/coordinator/test_registry.py::"
_ROSTER = "tests/coordinator/test_roster.py::"
_LATE = "tests/coordinator/test_on_its_way.py::"

DRAWING = (
    Mutation(
        _ONE,
        "a worker that has a task is drawn for another",
        "coordinator/registry.py",
        "_NOT_NOW = BUSY | SILENT | GONE",
        "_NOT_NOW = SILENT | GONE",
        _REGISTRY + "test_a_worker_has_one_task_at_a_time",
    ),
    Mutation(
        _UNHEARD,
        "it is drawn all the same",
        "coordinator/registry.py",
        "_NOT_NOW = BUSY | SILENT | GONE",
        "_NOT_NOW = BUSY | GONE",
        _ROSTER + "test_after_two_unheard_leases_a_worker_is_drawn_when_it_is_seen",
    ),
    Mutation(
        _UNHEARD,
        "being seen does not help",
        "coordinator/registry.py",
        "flags = int(self.flags[row]) & ~(SILENT | LEAVING)",
        "flags = int(self.flags[row]) & ~LEAVING",
        _ROSTER + "test_after_two_unheard_leases_a_worker_is_drawn_when_it_is_seen",
    ),
    Mutation(
        _SENT,
        "it is drawn as soon as it is seen",
        "coordinator/roster.py",
        "        if on_its_way and not self.registry.flags[row] & EVALUATES:\n",
        "        if False:\n",
        _LATE + "test_who_says_that_its_update_is_on_its_way_is_not_drawn_for_its_version_again",
    ),
    Mutation(
        _SENT,
        "a restart does not know of it",
        "coordinator/enrolment.py",
        '                    tasks.c.on_its_way != "",\n',
        "",
        _LATE + "test_who_says_that_its_update_is_on_its_way_is_not_drawn_for_its_version_again",
    ),
    Mutation(
        _SENT,
        "a restart knows of it when it holds no more",
        "coordinator/roster.py",
        '            work.note_on_its_way(self._run_id, self._version, self._ids[row], "")\n',
        "",
        _LATE + "test_who_names_its_update_no_more_may_be_drawn_in_the_same_moment",
    ),
    Mutation(
        _SENT,
        "for ever",
        "coordinator/batch/presences.py",
        "run, since = self._steps.state.run, self._desk.now - ON_ITS_WAY_S\n",
        "run, since = self._steps.state.run, 0.0\n",
        _LATE + "test_an_update_that_is_on_its_way_is_not_believed_in_for_ever",
    ),
    Mutation(
        _SENT,
        "it counts from the end of a lease that nobody saw",
        "coordinator/statements.py",
        "func.coalesce(_tasks.c.ended_at, _tasks.c.lease_end)",
        "_tasks.c.lease_end",
        _LATE + "test_the_time_without_a_coordinator_is_no_reason_to_disbelieve",
    ),
    Mutation(
        _SENT,
        "nobody is told what is being put into the depot",
        "worker/sending.py",
        "s.phase.flying) or s.phase.is_put\n",
        "s.phase.flying)\n",
        "tests/worker/test_sending.py::"
        "test_what_is_being_put_is_asked_about_and_goes_on_whatever_the_answer",
    ),
    Mutation(
        _GATE,
        "who rests may take a task of the pool",
        "coordinator/tries.py",
        "return hold if fresh or bar is None else bar",
        "return None if fresh else bar",
        _ROSTER
        + "test_in_the_pool_a_worker_in_cool_down_may_not_take_a_task_and_is_told_for_how_long",
    ),
)

REMEMBERED = (
    Mutation(
        _DRAWS,
        "draws are numbered from the start of the process",
        "coordinator/roster.py",
        "        made._next_draw = work.next_number(run.run_id, KIND)\n",
        "",
        _ROSTER + "test_a_restart_draws_as_the_process_before_it_would_have",
    ),
    Mutation(
        _RELOADED,
        "the roster is kept as it was",
        "coordinator/writing.py",
        "            self.roster = self._load_roster(work, row)\n            now = self._now()",
        '            if not hasattr(self, "roster"):\n'
        "                self.roster = self._load_roster(work, row)\n"
        "            now = self._now()",
        _ROSTER + "test_after_a_write_that_failed_the_roster_is_what_the_store_says",
    ),
)
