"""What an update leaves out is kept once, whatever becomes of it and wherever a crash comes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disk import OS_DISK
from schemas.codecs.payload import numbers_of
from schemas.messages import Update
from schemas.tensors import Floats, layout_of
from simulation.disk import SimulatedDisk
from simulation.mishaps import Crash, Mishaps
from simulation.platter import Platter
from tests.worker.examples import a_task, an_update
from tests.worker.test_store import crashes, left_open
from worker.errors import TaskGoneError
from worker.feedback import encode_with_feedback
from worker.owed import OPEN_MAX, Left
from worker.store import MARKS_KEPT, Store

SIZE = 12
LAYOUT = layout_of({"w": np.zeros(SIZE, np.float32)})
CODEC = "topk:0.25"


def header(number: int, **changes: object) -> Update:
    update = an_update(a_task(number), number)
    update = replace(update, layout_digest=LAYOUT.digest, codec=CODEC)
    return replace(update, **changes)  # type: ignore[arg-type] # they are of its fields


def trained(number: int) -> Floats:
    """What a training found: whole numbers, of which every sum is exact."""
    return np.random.default_rng(number).integers(-99, 100, SIZE).astype("<f4")


def finish(store: Store, number: int, **changes: object) -> Floats:
    """Train and put into the outbox; what the coordinator gets of it."""
    update = header(number, **changes)
    store.inbox.keep_task(a_task(number))
    payload = bytearray(trained(number).tobytes())
    encoded, feedback = encode_with_feedback(update, payload, LAYOUT, store.earlier(update))
    store.finish(update, 1024, encoded, feedback)
    return numbers_of(encoded, CODEC, LAYOUT, update.update_id).read(0, SIZE)


def sent_of(store: Store, number: int) -> Floats:
    """What is in the outbox of it."""
    update_id = header(number).update_id
    payload = store.to_send(update_id)[1]
    return numbers_of(payload, CODEC, LAYOUT, update_id).read(0, SIZE)


def left(store: Store, only_counted: bool = False) -> Floats:
    """The sum of what is kept."""
    total = np.zeros(SIZE, np.float32)
    for residual, data in store.earlier(header(0)):
        assert data is not None
        if residual.counted or not only_counted:
            total += np.frombuffer(data, "<f4")
    return total


def files(store: Store) -> list[str]:
    return OS_DISK.names(store.path / "residuals")


def settle(store: Store, number: int, verdict: str = "counted") -> None:
    store.settle(header(number).update_id, verdict)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


def test_what_is_left_out_goes_into_the_next_update(opened: Store) -> None:
    first = finish(opened, 1)
    assert np.count_nonzero(first) == 3
    assert np.array_equal(left(opened), trained(1) - first)
    second = finish(opened, 2)
    assert np.array_equal(left(opened), trained(1) + trained(2) - first - second)
    largest = np.sort(np.abs(trained(2) + trained(1) - first))[-3:]
    assert np.array_equal(np.sort(np.abs(second[second != 0])), largest)


def test_of_an_update_that_was_not_counted_nothing_is_left(opened: Store) -> None:
    first = finish(opened, 1)
    settle(opened, 1)
    finish(opened, 2)
    settle(opened, 2, "late")
    assert np.array_equal(left(opened), trained(1) - first)
    assert len(files(opened)) == 1


def test_what_was_counted_is_put_together_by_the_next_training(opened: Store) -> None:
    for number in (1, 2, 3):
        finish(opened, number)
        settle(opened, number)
    before = left(opened)
    assert len(files(opened)) == 2  # the sum of two, and the third
    sent = finish(opened, 4)
    assert np.array_equal(left(opened, only_counted=True), before)
    assert np.array_equal(left(opened), before + trained(4) - sent)
    assert len(files(opened)) == 2


@dataclass
class Told:
    """What a coordinator has of the updates, and what was trained in those it counted."""

    counted: Floats = field(default_factory=lambda: np.zeros(SIZE, np.float32))
    trained: Floats = field(default_factory=lambda: np.zeros(SIZE, np.float32))


@settings(deadline=None, max_examples=20)
@given(
    st.lists(st.sampled_from(["counted", "counted", "late", "stale"]), min_size=1, max_size=12),
    st.randoms(use_true_random=False),
)
def test_sent_and_kept_are_what_was_trained_in_whatever_order_verdicts_come(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[str], chance: random.Random
) -> None:
    store, told, waiting = Store(tmp_path_factory.mktemp("w")), Told(), list[int]()
    sent: dict[int, Floats] = {}

    def hear() -> None:
        number = waiting.pop(chance.randrange(len(waiting)))
        settle(store, number, verdicts[number])
        if chance.random() < 0.3:  # told twice
            settle(store, number, verdicts[number])
        if verdicts[number] == "counted":
            told.counted += sent[number]
            told.trained += trained(number)

    for number in range(len(verdicts)):
        sent[number] = finish(store, number)
        waiting.append(number)
        while waiting and (len(waiting) == OPEN_MAX or chance.random() < 0.5):
            hear()
        kept = left(store, only_counted=True)
        assert np.array_equal(told.counted + kept, told.trained)
    while waiting:
        hear()
    assert np.array_equal(told.counted + left(store), told.trained)
    store.close()


@left_open
@pytest.mark.parametrize("verdict", ["counted", "late"])
def test_a_crash_while_a_verdict_is_noted_notes_all_of_it_or_nothing(
    tmp_path: Path, verdict: str
) -> None:
    def prepare(store: Store) -> None:
        finish(store, 1)
        settle(store, 1)
        finish(store, 2)

    outcomes = set()
    for found in crashes(prepare, lambda store: settle(store, 2, verdict), tmp_path):
        noted = header(2).update_id not in found.unheard(9) and not found.parcels()
        outcomes.add(noted)
        settle(found, 2, verdict)  # the coordinator is asked again
        rows = list(found.earlier(header(0)))
        assert [residual.counted for residual, _ in rows] == [True] * len(rows)
        assert len(rows) == len(files(found)) == (2 if verdict == "counted" else 1)
    assert outcomes == {False, True}


def opened_on(platter: Platter, mishaps: Mishaps) -> Store:
    return Store(Path("/state/w1"), SimulatedDisk(platter, mishaps))


@pytest.mark.parametrize("verdicts", [("counted", "counted"), ("counted", "late")])
def test_a_power_cut_at_any_step_neither_loses_nor_doubles_what_was_left(
    verdicts: tuple[str, str],
) -> None:
    """Three trainings with two verdicts between them, cut at each step that the disk sees."""

    def live(store: Store, told: dict[int, Floats]) -> None:
        for number in (1, 2, 3):
            if store.known(a_task(number).task_id) in ("new", "held"):
                finish(store, number)
            if number not in told:
                told[number] = sent_of(store, number)  # the coordinator has it from now on
            if number < 3:
                settle(store, number, verdicts[number - 1])

    step, cuts = 0, 0
    while True:
        step += 1
        platter, mishaps, told = Platter(), Mishaps(), dict[int, Floats]()
        mishaps.crash_at = step
        try:
            live(opened_on(platter, mishaps), told)
        except Crash:
            cuts += 1
            platter.cut_power(random.Random(step))
            after = opened_on(platter, Mishaps())
            after.sweep()
            live(after, told)
        else:
            break
        kept = left(after, only_counted=True)
        counted = [number for number in (1, 2) if verdicts[number - 1] == "counted"]
        total = sum((trained(number) - told[number] for number in counted), np.zeros(SIZE))
        assert np.array_equal(kept, total), f"cut at step {step}"
        assert np.array_equal(left(after) - kept, trained(3) - told[3]), f"cut at step {step}"
    assert cuts > 30


def test_what_another_run_or_layout_left_goes(opened: Store) -> None:
    finish(opened, 1)
    settle(opened, 1)
    others: list[dict[str, object]] = [{"run_id": "f" * 32}, {"incarnation": 9}]
    for number, changes in enumerate(others, start=2):
        finish(opened, number, **changes)
        assert len(files(opened)) == 1
        assert not list(opened.earlier(header(0)))


def test_of_updates_that_nobody_judges_no_more_than_a_few_are_kept(opened: Store) -> None:
    for number in range(OPEN_MAX + 3):
        finish(opened, number)
    assert len(files(opened)) == OPEN_MAX
    settle(opened, 0)  # too late: it is taken to be refused
    assert not left(opened, only_counted=True).any()


def test_it_knows_of_which_updates_a_verdict_is_owed(opened: Store) -> None:
    for number in range(3):
        finish(opened, number)
    settle(opened, 1)
    first, last = header(0), header(2)
    assert opened.owed() == (
        Left(first.update_id, first.run_id, first.incarnation),
        Left(last.update_id, last.run_id, last.incarnation),
    )
    settle(opened, 0, "stale")
    assert [each.update_id for each in opened.owed()] == [last.update_id]


def test_numbers_that_the_disk_damaged_are_left_out(opened: Store) -> None:
    finish(opened, 1)
    settle(opened, 1)
    finish(opened, 2)
    (opened.path / "residuals" / files(opened)[0]).write_bytes(b"x" * 4 * SIZE)
    (opened.path / "residuals" / files(opened)[1]).unlink()
    sent = finish(opened, 3)
    assert np.array_equal(left(opened), trained(3) - sent)


def test_a_sweep_removes_what_no_row_names(opened: Store) -> None:
    finish(opened, 1)
    kept = files(opened)
    (opened.path / "residuals" / "leftover").touch()
    opened.sweep()
    assert files(opened) == kept


def test_files_that_were_swept_away_before_their_row_end_the_training(opened: Store) -> None:
    update = header(1)
    opened.inbox.keep_task(a_task(1))
    payload = bytearray(trained(1).tobytes())
    encoded, feedback = encode_with_feedback(update, payload, LAYOUT, opened.earlier(update))
    files_of = opened.residuals.write(update, feedback)
    opened.sweep()
    with pytest.raises(TaskGoneError, match="swept away"):
        opened.residuals.keep(update, feedback, files_of)
    opened.finish(update, 1024, encoded, feedback)
    assert opened.known(a_task(1).task_id) == "open"


def test_who_adds_up_what_another_training_has_added_up_already_is_not_kept(
    opened: Store,
) -> None:
    for number in (1, 2):
        finish(opened, number)
        settle(opened, number)
    update = header(3)
    payload = bytearray(trained(3).tobytes())
    encoded, feedback = encode_with_feedback(update, payload, LAYOUT, opened.earlier(update))
    finish(opened, 4)
    before = left(opened)
    opened.inbox.keep_task(a_task(3))
    with pytest.raises(TaskGoneError, match="faster"):
        opened.finish(update, 1024, encoded, feedback)
    assert np.array_equal(left(opened), before)
    assert opened.known(a_task(3).task_id) == "held"


def test_a_mark_is_kept_while_its_verdict_is_awaited(opened: Store) -> None:
    finish(opened, 1)
    opened.release(header(1).update_id)
    opened._db.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'marks'", (MARKS_KEPT + 9,))
    opened.inbox.keep_task(a_task(2))
    opened.finish(an_update(a_task(2)), 64, b"x")
    opened.trim_marks()
    assert header(1).update_id in opened.unheard(9)


def test_an_update_that_is_given_up_leaves_nothing(opened: Store) -> None:
    finish(opened, 1)
    opened.forget(header(1).update_id)
    assert not files(opened)
    finish(opened, 1)
    assert len(files(opened)) == 1
