"""What the training process does with a job, in this process."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from disk.os_disk import OsDisk, OsFile
from learning.learner import TrainResult, parameters_of
from schemas.codecs.model import ModelOnWire, decode_model
from schemas.codecs.payload import numbers_of, size_fault
from schemas.digest import digest_of
from schemas.messages import Start, Task, TaskKind, encode
from schemas.tensors import flatten, layout_of, update_floats
from tests.worker.examples import a_start, a_task
from tests.worker.learners import Adder
from tests.worker.scripted import LEARNERS
from worker import training
from worker.models import ModelCache
from worker.parcel import NOTHING_TRAINED
from worker.store import Store
from worker.trainer import Broken, Finished, Job, Report
from worker.training import Workshop, run_job

LAYOUT = layout_of(parameters_of(Adder()))
MODEL = bytes(flatten({"w": np.full(4, 2.0, np.float32)}, LAYOUT))


@pytest.fixture(autouse=True)
def no_learner_is_loaded_yet() -> Iterator[None]:
    training._loaded.clear()
    yield
    training._loaded.clear()


class Bench:
    """A worker's state folder with a task in its inbox and the model in its cache."""

    def __init__(
        self, folder: Path, kind: TaskKind = "train", codec: str = "fp32", **start: Any
    ) -> None:
        self.task: Task = a_task(part_bytes=1024, kind=kind, codec=codec)
        self.start: Start = a_start(
            self.task,
            version=3,
            model_digest=digest_of(MODEL),
            model_bytes=len(MODEL),
            layout_digest=LAYOUT.digest,
        )
        self.start = replace(self.start, **start)
        self.store = Store(folder)
        self.store.inbox.keep_task(self.task)
        self.cache = ModelCache(folder / "models")
        self.cache.prepare()
        self.model = self.cache.path_of(digest_of(MODEL))
        self.model.write_bytes(MODEL)

    def job(self, learner: str = "Adder", **changes: Any) -> Job:
        job = Job(
            worker_id="w1",
            task_id=self.task.task_id,
            folder=str(self.store.path),
            task=encode(self.task),
            start=encode(self.start),
            learner=f"{LEARNERS}:{learner}",
            device="cpu",
        )
        return replace(job, **changes)

    def run(self, learner: str = "Adder", **changes: Any) -> Report:
        return run_job(self.job(learner, **changes), lambda: False, lambda fraction: None)


@pytest.fixture(params=[10**9, 0], ids=["whole", "as it is written"], autouse=True)
def whole_bytes_max(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads are made at once, or as they are written."""
    monkeypatch.setattr("worker.training.WHOLE_BYTES_MAX", request.param)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.store.close()


def returning(result: Any) -> None:
    """Let the learner of that name return this."""
    learner: Any = training._load(f"{LEARNERS}:Returning").learner
    learner.result = result


def trained(bench: Bench) -> list[float]:
    (parcel,) = bench.store.parcels()
    payload = bench.store.payload(parcel.update_id, 0, parcel.payload_bytes)
    return update_floats(payload, LAYOUT).tolist()  # type: ignore[no-any-return]


def test_the_update_is_trained_minus_received(bench: Bench) -> None:
    report = bench.run(data="0.5")
    assert isinstance(report, Finished)
    assert trained(bench) == [0.5] * 4
    update, _ = bench.store.update(report.update_id)
    assert (update.base_version, update.base_digest) == (3, digest_of(MODEL))
    assert (update.num_examples, update.metrics) == (10, {"loss": 0.5})
    assert bench.store.inbox.held() is None


@pytest.mark.parametrize("codec", ["fp32+zstd", "bf16", "fp16", "int8", "int4+zstd", "topk:0.9"])
def test_the_update_is_encoded_as_the_task_asks(tmp_path: Path, codec: str) -> None:
    bench = Bench(tmp_path, codec=codec)
    report = bench.run(data="0.5")
    assert isinstance(report, Finished)
    update, _ = bench.store.update(report.update_id)
    payload = bench.store.to_send(report.update_id)[1]
    assert update.codec == codec
    assert update.payload_bytes == len(payload)
    assert size_fault(len(payload), codec, LAYOUT) == ""
    numbers = numbers_of(payload, codec, LAYOUT, report.update_id)
    assert numbers.read(0, 4) == pytest.approx([0.5] * 4, rel=1e-6)
    bench.store.close()


@pytest.mark.parametrize("codec", ["bf16", "fp16"])
def test_a_model_that_travelled_in_16_bits_is_trained_on_as_it_arrived(
    tmp_path: Path, codec: str
) -> None:
    version = bytes(flatten({"w": np.full(4, 1.001, np.float32)}, LAYOUT))
    data = b"".join(ModelOnWire(version, LAYOUT, codec).chunks())
    bench = Bench(
        tmp_path,
        model_codec=codec,
        model_digest=digest_of(data),
        model_bytes=len(data),
        base_digest=digest_of(version),
    )
    bench.cache.path_of(digest_of(data)).write_bytes(data)
    returning(TrainResult({"w": np.full(4, 1.5, np.float32)}, 1))
    report = bench.run("Returning")
    assert isinstance(report, Finished)
    assert bench.store.update(report.update_id)[0].base_digest == digest_of(version)
    received = np.frombuffer(decode_model(data, LAYOUT, codec), "<f4")
    assert trained(bench) == (np.float32(1.5) - received).tolist()
    bench.store.close()


def test_a_model_of_another_size_than_its_codec_makes_is_unfit(tmp_path: Path) -> None:
    bench = Bench(tmp_path, model_codec="bf16")
    report = bench.run()
    assert isinstance(report, Broken)
    assert report.kind == "unfit"
    assert "expected a model of 8 bytes of bf16, came 16" in report.reason
    bench.store.close()


def test_what_an_update_leaves_out_goes_into_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path, codec="topk:0.5")
    returning(TrainResult({"w": np.array([9, 3, 4, 8], np.float32)}, 1))  # 7, 1, 2, 6 more
    first = bench.run("Returning")
    assert isinstance(first, Finished)
    next_task = a_task(2, part_bytes=1024, codec="topk:0.5")
    bench.store.settle(first.update_id, "counted")
    bench.store.inbox.keep_task(next_task)
    again = replace(bench.start, task_id=next_task.task_id)
    returning(TrainResult({"w": np.array([2, 3, 3, 2], np.float32)}, 1))  # 0, 1, 1, 0 more
    second = bench.run(
        "Returning", task_id=next_task.task_id, task=encode(next_task), start=encode(again)
    )
    assert isinstance(second, Finished)
    payload = bench.store.to_send(second.update_id)[1]
    numbers = numbers_of(payload, "topk:0.5", LAYOUT, second.update_id)
    assert numbers.read(0, 4).tolist() == [0, 2, 3, 0]
    bench.store.close()


def test_local_steps_go_with_the_update(bench: Bench) -> None:
    returning(TrainResult(GOOD, 1, local_steps=12))
    report = bench.run("Returning")
    assert isinstance(report, Finished)
    assert bench.store.update(report.update_id)[0].local_steps == 12.0


def test_the_pull_of_the_start_reaches_the_learner(tmp_path: Path) -> None:
    bench = Bench(tmp_path, prox_mu=0.25)
    report = bench.run("Reporting")
    assert isinstance(report, Finished)
    assert bench.store.update(report.update_id)[0].metrics["prox_mu"] == 0.25
    bench.store.close()


def test_the_same_task_is_the_same_update_whoever_trains_it_again(bench: Bench) -> None:
    first = bench.run()
    assert isinstance(first, Finished)
    bench.store.forget(first.update_id)
    bench.store.inbox.keep_task(bench.task)
    assert bench.run(data="2") == first


def test_progress_is_told(bench: Bench) -> None:
    told: list[float] = []
    run_job(bench.job(), lambda: False, told.append)
    assert told == [0.5, 1.0]


def test_chance_is_seeded_by_the_start(bench: Bench) -> None:
    bench.run("Drawing")
    np.random.seed(bench.start.seed)
    expected = np.random.random(4).astype(np.float32) - np.float32(2.0)
    assert trained(bench) == expected.tolist()


def test_another_layout_does_not_fit(tmp_path: Path) -> None:
    report = Bench(tmp_path, layout_digest=digest_of(b"other")).run()
    assert isinstance(report, Broken)
    assert report.kind == "unfit"
    assert "layout differs" in report.reason


def test_a_learner_that_is_not_there_does_not_fit(bench: Bench) -> None:
    report = bench.run("Nobody")
    assert isinstance(report, Broken)
    assert report.kind == "unfit"


def test_a_model_that_was_just_read_is_not_looked_at_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def look(_: object) -> str:
        looked.append("at it")
        return digest_of(MODEL)

    monkeypatch.setattr("worker.training.digest_of_stream", look)
    ages = iter((0.1, 1.5, -0.5))
    monkeypatch.setattr(OsDisk, "age_s", lambda disk, path: next(ages))
    bench.run(model_is_fresh=True)
    assert looked == []
    bench.run()
    assert looked == ["at it"]
    for count in (2, 3):  # the machine slept meanwhile, or its clock was set back
        bench.run(model_is_fresh=True)
        assert len(looked) == count


def test_a_damaged_model_is_thrown_away(bench: Bench) -> None:
    bench.model.write_bytes(b"x" * len(MODEL))
    report = bench.run()
    assert isinstance(report, Broken)
    assert report.kind == "model"
    assert not bench.model.exists()


def test_a_missing_model_is_told(bench: Bench) -> None:
    bench.model.unlink()
    report = bench.run()
    assert isinstance(report, Broken)
    assert report.kind == "model"


def test_an_exception_counts_as_a_crash_and_is_told_in_a_line(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    report = bench.run("Raising")
    assert report == Broken(bench.task.task_id, "crash", "ValueError: no such data here")
    assert "Traceback" in capsys.readouterr().err
    assert bench.store.inbox.held() is not None


GOOD = {"w": np.zeros(4, np.float32)}


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "expected a TrainResult, came NoneType"),
        (TrainResult({}, 1), "missing: ['w']"),
        (TrainResult({"w": np.zeros(5, np.float32)}, 1), "shape"),
        (TrainResult({"w": np.zeros(4, np.float64)}, 1), "float64"),
        (TrainResult({"w": np.full(4, np.nan, np.float32)}, 1), "finite"),
        (TrainResult({"w": np.full(4, np.inf, np.float32)}, 1), "finite"),
        (TrainResult(GOOD, 0), "num_examples"),
        (TrainResult(GOOD, True), "num_examples"),
        (TrainResult(GOOD, 1.5), "num_examples"),  # type: ignore[arg-type]
        (TrainResult(GOOD, 1, local_steps=0.5), "local_steps"),
        (TrainResult(GOOD, 1, local_steps=1e10), "local_steps"),
        (TrainResult(GOOD, 1, local_steps=float("nan")), "local_steps"),
        (TrainResult(GOOD, 1, local_steps="many"), "local_steps"),  # type: ignore[arg-type]
        (TrainResult(GOOD, 1, {"loss": float("nan")}), "metrics"),
        (TrainResult(GOOD, 1, {"loss": "low"}), "metrics"),  # type: ignore[dict-item]
        (TrainResult(GOOD, 1, {3: 1.0}), "metrics"),  # type: ignore[dict-item]
        (TrainResult(GOOD, 1, {str(n): 1.0 for n in range(65)}), "at most 64"),
    ],
)
def test_what_is_no_result_is_refused_with_a_reason(bench: Bench, result: Any, why: str) -> None:
    returning(result)
    report = bench.run("Returning")
    assert isinstance(report, Broken)
    assert report.kind == "crash"
    assert why in report.reason
    assert bench.store.inbox.held() is not None


def test_numbers_of_numpy_are_numbers(bench: Bench) -> None:
    returning(TrainResult(GOOD, np.int64(5), {"loss": np.float32(0.5)}))  # type: ignore[arg-type,dict-item]
    report = bench.run("Returning")
    assert isinstance(report, Finished)
    update, _ = bench.store.update(report.update_id)
    assert (update.num_examples, update.metrics) == (5, {"loss": 0.5})


def test_a_cancelled_training_leaves_the_task(bench: Bench) -> None:
    report = run_job(bench.job(), lambda: True, lambda fraction: None)
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"
    assert bench.store.inbox.held() is not None


def test_a_task_given_up_meanwhile_makes_no_update(bench: Bench) -> None:
    bench.store.inbox.drop_task(bench.task.task_id)
    report = bench.run()
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"
    assert bench.store.parcels() == ()


def test_a_full_disk_is_waited_for_with_signs_of_life(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[float] = []
    real = OsFile.sync

    def full(file: OsFile) -> None:
        if len(told) < 50:
            raise OSError(28, "No space left on device")
        real(file)

    waits: list[float] = []

    def wait(seconds: float) -> bool:
        assert len(told) > len(waits), "a sign with each turn"
        waits.append(seconds)
        return False

    monkeypatch.setattr(OsFile, "sync", full)
    report = run_job(bench.job(), lambda: False, told.append, wait, Workshop(inline_bytes=0))
    assert isinstance(report, Finished)
    assert max(waits) < 1.0
    assert sum(waits) > 5.0


def test_what_waits_for_room_may_be_cancelled(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: OsFile) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(OsFile, "sync", full)
    files = Workshop(inline_bytes=0)
    report = run_job(bench.job(), lambda: False, lambda fraction: None, lambda s: True, files)
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"


def test_a_state_folder_that_cannot_be_used_is_not_the_learners_fault(
    bench: Bench, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    report = bench.run(folder=str(tmp_path / "file"))
    assert isinstance(report, Broken)
    assert report.kind == "disk"


def test_parameters_that_cannot_be_a_model_do_not_fit(bench: Bench) -> None:
    report = bench.run("Shapeless")
    assert isinstance(report, Broken)
    assert report.kind == "unfit"
    assert "parameters cannot be a model" in report.reason


class RefusingStream(io.StringIO):
    """A log on a full disk."""

    def write(self, *_: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_log_that_is_full_too_does_not_throw_the_work_away(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync, refused = OsFile.sync, iter([True, True, False])

    def full_at_first(file: OsFile) -> None:
        if next(refused, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    with monkeypatch.context() as patched:
        patched.setattr(OsFile, "sync", full_at_first)
        patched.setattr(sys, "stderr", RefusingStream())
        files = Workshop(inline_bytes=0)
        report = run_job(bench.job(), lambda: False, lambda _: None, lambda _: False, files)
    assert list(refused) == []
    assert isinstance(report, Finished)
    assert trained(bench) == [1.0] * 4


@pytest.mark.parametrize(("learner", "kind"), [("Raising", "crash"), ("NoSuch", "unfit")])
def test_what_went_wrong_is_reported_though_the_log_is_full(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, learner: str, kind: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", RefusingStream())
        report = bench.run(learner)
    assert isinstance(report, Broken)
    assert report.kind == kind


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_learner_that_finds_the_disk_full_did_not_crash(bench: Bench, code: int) -> None:
    report = bench.run("Writing", data=str(code))
    assert isinstance(report, Broken)
    assert (report.kind, report.reason) == (
        "disk",
        f"OSError: [Errno {code}] {os.strerror(code)}",
    )


# Evaluation.


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Bench]:
    """A bench whose task is to evaluate."""
    made = Bench(tmp_path, kind="evaluate")
    yield made
    made.store.close()


def test_an_evaluation_is_an_update_of_sums_without_a_payload(asked: Bench) -> None:
    report = asked.run("Measuring", config={"num_examples": 20.0, "accuracy": 0.75})
    assert isinstance(report, Finished)
    update, _ = asked.store.update(report.update_id)
    assert (update.kind, update.num_examples) == ("evaluate", 20)
    assert update.metrics == {"w": 40.0, "version": 60.0, "accuracy": 15.0}
    assert (update.payload_bytes, update.parts, update.base_version) == (0, 0, 3)
    assert update.base_digest == digest_of(MODEL)
    assert asked.store.to_send(report.update_id)[1] == b""
    assert asked.store.inbox.held() is None


@pytest.mark.parametrize(("owner", "counts"), [(0, 1), (7, 7)])
def test_without_a_number_of_examples_the_owners_is_taken_or_each_worker_is_as_good(
    asked: Bench, owner: int, counts: int
) -> None:
    report = asked.run("Measuring", examples=owner)
    assert isinstance(report, Finished)
    update, _ = asked.store.update(report.update_id)
    assert (update.num_examples, update.metrics["w"]) == (counts, 2.0 * counts)


def test_a_learner_that_cannot_evaluate_does_not_fit(asked: Bench) -> None:
    report = asked.run("Adder")
    assert isinstance(report, Broken)
    assert report.kind == "unfit"
    assert "no evaluate" in report.reason


@pytest.mark.parametrize(
    "config",
    [{"num_examples": 0.0}, {"num_examples": 1.5}, {"num_examples": -3.0}, {"num_examples": 1e300}],
)
def test_a_number_of_examples_that_is_none_is_a_crash_that_says_so(
    asked: Bench, config: dict[str, float]
) -> None:
    report = asked.run("Measuring", config=config)
    assert isinstance(report, Broken)
    assert report.kind == "crash"
    assert "num_examples" in report.reason


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e308])
def test_metrics_or_sums_that_are_not_finite_are_a_crash(asked: Bench, value: float) -> None:
    report = asked.run("Measuring", config={"num_examples": 100.0, "loss": value})
    assert isinstance(report, Broken)
    assert report.kind == "crash"
    assert "loss" in report.reason


def test_an_evaluation_that_was_cancelled_leaves_nothing(asked: Bench) -> None:
    report = run_job(asked.job("Measuring"), lambda: True, lambda fraction: None)
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"
    assert asked.store.parcels() == ()


def test_an_evaluation_is_not_what_was_trained_last(asked: Bench) -> None:
    asked.run("Measuring")
    assert asked.store.last_trained() == NOTHING_TRAINED
