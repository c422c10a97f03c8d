"""The rules of §4 on what a version hands to the next."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_HANDED = "§4 what a version hands on is on disk before its row, and as long as a round needs it"

_HANDOVER = "tests/coordinator/test_handover.py"
_RESTARTS = f"{_HANDOVER}::test_restarts_between_any_two_updates_change_no_byte_of_any_version"
_POWER_CUTS = (
    "tests/simulation/test_power_cuts.py"
    "::test_its_power_cut_at_any_step_what_a_version_hands_on_is_as_if_nothing_had_happened"
)

HANDING = (
    Mutation(
        _HANDED,
        "the slots of cached updates are not synced",
        "coordinator/handover.py",
        "            self._shelf.sync()\n",
        "            pass\n",
        f"{_POWER_CUTS}[ca2fl]",
    ),
    Mutation(
        _HANDED,
        "the optimiser begins anew after a restart",
        "coordinator/handover.py",
        "            self._state = self._models.read_state(row.state_file, row.state_digest)\n",
        "            pass\n",
        f"{_RESTARTS}[adam]",
    ),
    Mutation(
        _HANDED,
        "nothing is cached after a restart",
        "coordinator/handover.py",
        "            self._cache = Cache(self._shelf, in_force, needed)\n",
        "            pass\n",
        f"{_RESTARTS}[ca2fl]",
    ),
    Mutation(
        _HANDED,
        "after a restart slots that a kept round needs are written over",
        "coordinator/handover.py",
        "Cache(self._shelf, in_force, needed)",
        "Cache(self._shelf, in_force)",
        f"{_HANDOVER}::test_every_version_can_be_made_again[ca2fl]",
    ),
    Mutation(
        _HANDED,
        "a replaced update's slot is free at once",
        "coordinator/handover.py",
        "            self._cache.replace(made.cached)\n",
        "            self._cache.free(self._cache.replace(made.cached))\n",
        f"{_HANDOVER}::test_slots_are_written_again_once_no_kept_round_needs_them",
    ),
    Mutation(
        _HANDED,
        "what is cached is forgotten one round too early",
        "coordinator/versions.py",
        "self._handover.write(work, row.version, row.version - rounds)",
        "self._handover.write(work, row.version, row.version - rounds + 1)",
        f"{_HANDOVER}::test_what_was_cached_is_kept_for_as_many_rounds_as_the_updates",
    ),
    Mutation(
        _HANDED,
        "a paused run makes its version by the algorithm that its round began with",
        "coordinator/versions.py",
        "        if policy.algorithm != self._algorithm:\n",
        "        if False:\n",
        f"{_HANDOVER}"
        "::test_a_paused_run_makes_its_version_by_the_algorithm_that_it_takes_meanwhile",
    ),
)
