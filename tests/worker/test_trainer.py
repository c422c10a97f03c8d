"""Real training processes; every wait is for a report, with a deadline."""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.learning.test_process import is_gone, wait_until
from tests.support.rabbitmq_node import stands_still
from tests.worker.test_training import Bench
from worker.inline import InlineTrainer
from worker.trainer import Broken, Finished, Job, Moved, ProcessTrainer, Report

DEADLINE_S = 60.0


class Desk:
    """Hands out jobs and collects reports."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.reports: queue.SimpleQueue[Report] = queue.SimpleQueue()

    def submit(self, job: Job) -> bool:
        return bool(self.trainer.submit(job, self.reports.put))

    def end(self) -> Report:
        while True:
            report = self.reports.get(timeout=DEADLINE_S)
            if not isinstance(report, Moved):
                return report

    def do(self, job: Job) -> Report:
        self.submit(job)
        return self.end()


@pytest.fixture
def desk() -> Iterator[Desk]:
    trainer = ProcessTrainer(cancel_s=0.2)
    yield Desk(trainer)
    trainer.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "w1")
    yield made
    made.store.close()


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + DEADLINE_S
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < deadline, f"{path} did not come"
        time.sleep(0.01)
    return path.read_text()


def facts(bench: Bench, report: Report) -> dict[str, float]:
    assert isinstance(report, Finished), report
    return dict(bench.store.update(report.update_id)[0].metrics)


def again(bench: Bench, report: Report) -> None:
    """As if the task had never been done."""
    assert isinstance(report, Finished)
    bench.store.forget(report.update_id)
    bench.store.inbox.keep_task(bench.task)


def test_the_update_is_in_the_outbox_when_the_report_comes(desk: Desk, bench: Bench) -> None:
    report = desk.do(bench.job())
    assert isinstance(report, Finished)
    assert bench.store.parcel(report.update_id) is not None
    assert bench.store.inbox.held() is None


def test_one_process_does_one_job_after_another(desk: Desk, bench: Bench) -> None:
    first = desk.do(bench.job("Reporting"))
    told = facts(bench, first)
    again(bench, first)
    assert facts(bench, desk.do(bench.job("Reporting")))["pid"] == told["pid"] != os.getpid()


def test_a_numpy_learner_trains_without_torch_in_a_session_of_its_own(
    desk: Desk, bench: Bench
) -> None:
    told = facts(bench, desk.do(bench.job("Reporting")))
    assert told["torch"] == 0.0
    assert told["session"] == told["pid"]
    assert told["threads"] == float(os.environ.get("OMP_NUM_THREADS", 1))


def test_a_process_that_dies_is_reported_and_replaced(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    job = bench.job("Dying", data=str(tmp_path / "died"))
    report = desk.do(job)
    assert isinstance(report, Broken)
    assert report.kind == "crash"
    assert "exit code 7" in report.reason
    assert isinstance(desk.do(job), Finished)


def test_an_exception_leaves_the_process_alive(desk: Desk, bench: Bench) -> None:
    assert isinstance(desk.do(bench.job("Raising")), Broken)
    pids = desk.trainer.pids
    assert isinstance(desk.do(bench.job()), Finished)
    assert desk.trainer.pids == pids


def test_a_cancelled_job_ends_by_itself_and_its_process_stays(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    job = bench.job("Waiting", config={"says": str(tmp_path / "pid")})
    trainer = ProcessTrainer(cancel_s=DEADLINE_S)
    patient = Desk(trainer)
    patient.submit(job)
    wait_for(tmp_path / "pid")
    trainer.cancel(job.key)
    report = patient.end()
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"
    assert len(trainer.pids) == 1
    trainer.close()


def test_a_cancelled_job_that_does_not_listen_is_killed(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    job = bench.job("Waiting", data="deaf", config={"says": str(tmp_path / "pid")})
    desk.submit(job)
    wait_for(tmp_path / "pid")
    desk.trainer.cancel(job.key)
    report = desk.end()
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"
    assert bench.store.inbox.held() is not None


def test_a_killed_job_counts_as_a_crash(desk: Desk, bench: Bench, tmp_path: Path) -> None:
    job = bench.job("Waiting", data="deaf", config={"says": str(tmp_path / "pid")})
    desk.submit(job)
    wait_for(tmp_path / "pid")
    desk.trainer.kill(job.key)
    report = desk.end()
    assert isinstance(report, Broken)
    assert report.kind == "crash"


def test_a_process_killed_from_outside_is_replaced(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    desk.submit(bench.job("Waiting", config={"says": str(tmp_path / "pid")}))
    os.kill(int(wait_for(tmp_path / "pid")), signal.SIGKILL)
    report = desk.end()
    assert report == Broken(
        bench.task.task_id, "crash", "the training process was killed by SIGKILL"
    )
    assert isinstance(desk.do(bench.job()), Finished)


def test_several_workers_share_the_processes_there_are(tmp_path: Path) -> None:
    benches = [Bench(tmp_path / f"w{n}") for n in range(4)]
    trainer = ProcessTrainer(processes=2)
    desk = Desk(trainer)
    for number, bench in enumerate(benches):
        desk.submit(bench.job("Reporting", worker_id=f"w{number}"))
    reports = [desk.end() for _ in benches]
    assert all(isinstance(report, Finished) for report in reports)
    pids = set()
    for bench in benches:
        (parcel,) = bench.store.parcels()
        pids.add(bench.store.update(parcel.update_id)[0].metrics["pid"])
        bench.store.close()
    assert 1 <= len(pids) <= 2
    trainer.close()


@pytest.mark.parametrize(
    "end", [lambda t, key: t.cancel(key), lambda t, key: t.kill(key)], ids=["cancel", "kill"]
)
def test_a_job_that_has_not_begun_is_taken_back(
    desk: Desk, bench: Bench, tmp_path: Path, end: Callable[[ProcessTrainer, str], None]
) -> None:
    desk.submit(bench.job("Waiting", config={"says": str(tmp_path / "pid")}))
    wait_for(tmp_path / "pid")
    waiting = replace(bench.job(), worker_id="w2")
    desk.submit(waiting)
    end(desk.trainer, waiting.key)
    report = desk.end()
    assert isinstance(report, Broken)
    assert report.kind == "cancelled"


def test_closing_ends_every_job_and_further_ones_at_once(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    desk.submit(bench.job("Waiting", data="deaf", config={"says": str(tmp_path / "pid")}))
    wait_for(tmp_path / "pid")
    desk.trainer.close()
    desk.trainer.close()
    reports = [desk.end(), desk.do(bench.job())]
    assert [isinstance(r, Broken) and r.kind for r in reports] == ["cancelled"] * 2


def test_joining_waits_for_what_a_cancelled_job_is_writing(bench: Bench, tmp_path: Path) -> None:
    trainer = ProcessTrainer(cancel_s=DEADLINE_S)
    desk = Desk(trainer)
    says = {"says": str(tmp_path / "pid"), "writes": str(tmp_path / "writes")}
    job = bench.job("Lingering", config=says)
    desk.submit(job)
    wait_for(tmp_path / "writes")
    assert not trainer.join(0.0)
    trainer.cancel(job.key)
    assert trainer.join(DEADLINE_S)
    trainer.close()
    assert isinstance(desk.end(), Finished)
    assert len(bench.store.parcels()) == 1
    assert trainer.join(0.0)


def test_no_job_begins_in_a_process_that_was_killed(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    job = bench.job("Waiting", data="deaf", config={"says": str(tmp_path / "pid")})
    desk.submit(job)
    wait_for(tmp_path / "pid")
    desk.trainer.kill(job.key)
    # What it said before is heard now, unless its end was.
    desk.trainer._heard(desk.trainer._seats[0], {"broken": "crash", "reason": "its last words"})
    desk.end()
    assert not desk.submit(bench.job())
    assert isinstance(desk.end(), Finished)


def test_a_job_that_an_idle_process_died_before_is_done_in_another(
    desk: Desk, bench: Bench
) -> None:
    first = desk.do(bench.job())
    again(bench, first)
    (pid,) = desk.trainer.pids
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: stands_still(pid))  # it does not read what it is sent
    desk.submit(bench.job())
    os.kill(pid, signal.SIGKILL)
    assert isinstance(desk.end(), Finished), "its task is charged no crash"


def test_a_job_that_comes_when_an_idle_process_has_just_died_is_done_in_another(
    desk: Desk, bench: Bench
) -> None:
    trainer, may_end = desk.trainer, threading.Event()
    told, trainer._ended = trainer._ended, lambda *how: may_end.wait(DEADLINE_S) and told(*how)
    first = desk.do(bench.job())
    again(bench, first)
    child = trainer._seats[0].child
    os.kill(child.pid, signal.SIGKILL)
    wait_until(lambda: child._ended)
    desk.submit(bench.job())
    may_end.set()
    assert isinstance(desk.end(), Finished)


def test_a_process_that_ends_before_it_reads_its_first_job_is_a_crash(
    desk: Desk, bench: Bench
) -> None:
    desk.submit(bench.job())
    desk.trainer._seats[0].child.kill()  # it is just starting
    report = desk.end()
    assert isinstance(report, Broken)
    assert report.kind == "crash"


def test_who_waits_is_told_when_its_job_begins(desk: Desk, bench: Bench, tmp_path: Path) -> None:
    assert not desk.submit(bench.job("Waiting", config={"says": str(tmp_path / "pid")}))
    assert isinstance(desk.reports.get(timeout=DEADLINE_S), Moved), "its process is up"
    wait_for(tmp_path / "pid")
    waiting = replace(bench.job(), task_id="another")
    assert not desk.submit(waiting)
    assert desk.reports.empty()
    desk.trainer.cancel(bench.job().key)
    begun = desk.reports.get(timeout=DEADLINE_S)
    assert begun == Moved("another", 0.0)


def test_a_job_that_a_process_is_free_for_has_begun_at_once(desk: Desk, bench: Bench) -> None:
    first = desk.do(bench.job())
    again(bench, first)
    assert desk.submit(bench.job())
    assert isinstance(desk.reports.get(timeout=DEADLINE_S), Finished), "and nothing else is said"


def test_unknown_jobs_are_ignored(desk: Desk) -> None:
    desk.trainer.cancel("w1/nothing")
    desk.trainer.kill("w1/nothing")


def test_inline_training_is_done_when_submit_returns(bench: Bench) -> None:
    desk = Desk(InlineTrainer())
    desk.submit(bench.job())
    assert isinstance(desk.end(), Finished)


@pytest.mark.slow
def test_a_data_loader_with_workers_trains_and_ends_with_its_process(
    desk: Desk, bench: Bench, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    says = tmp_path / "pids"
    job = replace(
        bench.job(config={"says": str(says)}),
        learner=f"{Path(__file__).parent / 'loading_learner.py'}:Loading",
    )
    report = desk.do(job)
    told = facts(bench, report)
    assert told["seen"] == 8.0
    again(bench, report)
    says.unlink()
    desk.submit(replace(job, data="forever"))
    pids = [int(pid) for pid in wait_for(says).split()]
    assert len(pids) == 3  # of the learner, and of two workers of its loader
    desk.trainer.kill(job.key)
    desk.end()
    for pid in pids:
        wait_until(partial(is_gone, pid))
