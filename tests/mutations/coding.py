"""The rules of codecs: what is decoded, and what is left for the next update."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

_SIZES = "§4 sizes follow from the local layout, and any bytes decode or are refused"
_IDS = "§4 what is random in a codec follows from the update's id"
_LEFT = "§3 what an update leaves out is kept with it, and counts by its verdict alone"

_RESIDUALS = "tests/worker/test_residuals.py"
_POWER_CUT = f"{_RESIDUALS}::test_a_power_cut_at_any_step_neither_loses_nor_doubles_what_was_left"

CODING = (
    Mutation(
        _SIZES,
        "the table of packed blocks is believed",
        "schemas/codecs/packed.py",
        "    if ends[-1] != end or np.any(table < 1) or np.any(table > np.array(sizes)):\n",
        "    if False:\n",
        "tests/schemas/codecs/test_packed.py::test_a_table_that_does_not_fit_is_refused",
    ),
    Mutation(
        _SIZES,
        "a packed block decompresses to what it likes",
        "schemas/codecs/packed.py",
        "decompressor.decompress(packed, max_length=size)",
        "decompressor.decompress(packed)",
        "tests/schemas/codecs/test_packed.py"
        "::test_a_block_that_would_be_larger_than_it_should_takes_no_memory",
    ),
    Mutation(
        _SIZES,
        "places outside a block are believed",
        "schemas/codecs/sparse.py",
        "        if places[-1] >= out.size:\n",
        "        if False:\n",
        "tests/schemas/codecs/test_codecs.py::test_any_bytes_are_numbers_or_refused",
    ),
    Mutation(
        _SIZES,
        "parts of any size are kept",
        "coordinator/intake.py",
        "    wrong = size_fault(part.payload_bytes, part.codec, expected.layout)\n    if wrong:\n",
        '    wrong = ""\n    if wrong:\n',
        "tests/coordinator/test_intake.py"
        "::test_a_part_of_an_update_that_no_codec_makes_so_large_is_a_stray",
    ),
    Mutation(
        _IDS,
        "all updates are rounded alike",
        "schemas/codecs/payload.py",
        'return key_of("codec", update_id)',
        'return key_of("codec")',
        "tests/schemas/codecs/test_codecs.py::test_another_update_is_rounded_otherwise",
    ),
    Mutation(
        _LEFT,
        "it is written after the update's transaction",
        "worker/store.py",
        "            if leaves is not None:\n"
        "                left_over = self.residuals.keep(update, *leaves)\n",
        "        if feedback is not None and files is not None:\n"
        "            with self._db.transaction():\n"
        "                left_over = self.residuals.keep(update, *leaves)\n",
        _POWER_CUT,
    ),
    Mutation(
        _LEFT,
        "it counts whatever the verdict",
        "worker/residuals.py",
        "        if verdict != COUNTED:\n",
        "        if False:\n",
        f"{_RESIDUALS}::test_of_an_update_that_was_not_counted_nothing_is_left",
    ),
    Mutation(
        _LEFT,
        "it counts before the verdict",
        "worker/residuals.py",
        "self._insert(update.update_id, key, files.left, counted=False)",
        "self._insert(update.update_id, key, files.left, counted=True)",
        f"{_RESIDUALS}::test_sent_and_kept_are_what_was_trained_in_whatever_order_verdicts_come",
    ),
    Mutation(
        _LEFT,
        "there are more than are kept, and the oldest goes without a verdict",
        "worker/session.py",
        "owed.holds_back(session.owed, asked.run_id, asked.incarnation, moment.now)",
        "False",
        "tests/worker/test_session.py"
        "::test_a_worker_that_is_owed_too_many_verdicts_of_what_it_left_takes_no_task",
    ),
    Mutation(
        _LEFT,
        "the mark that its verdict is asked for by is trimmed",
        "worker/store.py",
        '"AND update_id NOT IN (SELECT update_id FROM residuals WHERE counted = 0)",',
        '"",',
        f"{_RESIDUALS}::test_a_mark_is_kept_while_its_verdict_is_awaited",
    ),
)
