"""What the training process does: load, train and subtract, or evaluate, and write to the outbox.

Everything that touches arrays happens here, so the agent needs neither numpy nor torch. The task
leaves the inbox and the update enters the outbox in one transaction, before the agent is told.
"""

from __future__ import annotations

import errno
import math
import numbers
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from disk import OS_DISK, Disk, chunks_of
from learning.errors import LearnerLoadError, LearnerSettingError, MissingExtraError
from learning.learner import (
    EvaluateRequest,
    Evaluator,
    Learner,
    TrainRequest,
    TrainResult,
    layout_of_learner,
)
from learning.loading import load_learner
from learning.process import Link, note, note_failure, serve
from learning.seeding import seed_everything
from schemas.buffer import Buffer
from schemas.codecs.change import Change
from schemas.codecs.model import decode_model
from schemas.codecs.names import spec_of
from schemas.codecs.payload import encode_numbers, encode_update
from schemas.digest import digest_of_stream, update_id_of
from schemas.errors import DecodeError, LayoutError
from schemas.layout import Layout
from schemas.messages import Start, Task, Update, decode
from schemas.tensors import Array, Floats, require, unflatten, update_floats
from worker.disk import is_just_written
from worker.errors import (
    BadResultError,
    CancelledError,
    ModelDamagedError,
    StoreError,
    TaskGoneError,
    UnfitError,
)
from worker.feedback import encode_with_feedback
from worker.models import ModelCache
from worker.residuals import Feedback
from worker.store import INLINE_BYTES_MAX
from worker.stores import KEPT, Stores
from worker.trainer import Broken, Finished, Job, Moved, Report

METRICS_MAX = 64
WHOLE_BYTES_MAX = 1024 * 1024  # a larger update is made as it is written
STEPS_MAX = 1e9  # the coordinator refuses more
_REASON_CHARS = 300
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_DISK_RETRY_S = 5.0
_SIGN_S = 0.25  # between signs of life; well below any timeout that lets a learner train
_MOVED_EVERY_S = 0.2

Wait = Callable[[float], bool]
"""Waits some seconds; True as soon as the job is cancelled."""


@dataclass
class Loaded:
    """A learner, and the layout of its model once somebody asks."""

    learner: Learner

    @cached_property
    def layout(self) -> Layout:
        """The local layout, which sizes are computed from."""
        return layout_of_learner(self.learner)


_loaded: dict[str, Loaded] = {}


def main(link_fd: int, lifeline_fd: int) -> None:
    """Be a training process; never returns."""
    workshop = Workshop(stores=Stores(kept=KEPT))
    is_new = True

    def handle(message: dict[str, Any], link: Link) -> None:
        nonlocal is_new
        if is_new:  # later ones begin when they are sent
            link.send({"moved": 0.0})
            is_new = False
        _handle(message, link, workshop)

    serve(link_fd, lifeline_fd, handle)


def _handle(message: dict[str, Any], link: Link, workshop: Workshop) -> None:
    job = Job(**message)
    told_at = time.monotonic()

    def moved(fraction: float) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= _MOVED_EVERY_S:
            told_at = now
            link.send({"moved": float(fraction)})

    match run_job(job, link.cancelled, moved, link.wait_cancelled, workshop):
        case Finished(_, update_id):
            link.send({"finished": update_id})
        case Broken(_, kind, reason):
            link.send({"broken": kind, "reason": reason})
        case Moved():
            raise AssertionError("a job ends finished or broken")


def run_job(
    job: Job,
    cancelled: Callable[[], bool],
    moved: Callable[[float], None],
    wait: Wait | None = None,
    workshop: Workshop | None = None,
) -> Report:
    """Do a job; whatever goes wrong becomes a report.

    Args:
        job: What to do.
        cancelled: Whether it is still wanted.
        moved: Takes the fraction done.
        wait: How to wait for room on the disk; None: what was trained is thrown away.
        workshop: Where it is done; None: here.
    """
    workshop = workshop or Workshop()
    try:
        return Finished(job.task_id, _work(job, cancelled, moved, wait, workshop))
    except (CancelledError, TaskGoneError) as error:
        return Broken(job.task_id, "cancelled", _reason(error))
    except ModelDamagedError as error:
        return Broken(job.task_id, "model", _reason(error))
    except StoreError as error:
        return Broken(job.task_id, "disk", _reason(error))
    except (UnfitError, LearnerLoadError, LearnerSettingError, MissingExtraError) as error:
        note_failure()
        return Broken(job.task_id, "unfit", _reason(error))
    except BaseException as error:  # SystemExit too: user code may do anything
        note_failure()
        if cancelled():
            return Broken(job.task_id, "cancelled", _reason(error))
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return Broken(job.task_id, "disk", _reason(error))
        return Broken(job.task_id, "crash", _reason(error))


@dataclass(frozen=True, slots=True)
class _Result:
    """What a learner made of a task, checked.

    Attributes:
        change: What was trained; None of an evaluation.
        metrics: Of a training as the learner gave them; of an evaluation sums over its examples.
        took_s: How long the learner took.
        local_steps: Of its optimiser, 0 if it does not say.
    """

    change: Change | None
    num_examples: int
    metrics: dict[str, float]
    took_s: float
    local_steps: float = 0.0


def _work(
    job: Job,
    cancelled: Callable[[], bool],
    moved: Callable[[float], None],
    wait: Wait | None,
    workshop: Workshop,
) -> str:
    task, start = decode(job.task)[0], decode(job.start)[0]
    assert isinstance(task, Task)
    assert isinstance(start, Start)
    loaded = workshop.load(job.learner)
    layout = _layout(loaded)
    if layout.digest != start.layout_digest:
        raise UnfitError(
            f"layout differs: the run's is {start.layout_digest or 'none':.12}…, this learner's "
            f"{layout.digest:.12}…; coordinator and workers need the same learner and config"
        )
    model = _read_model(job, start, layout, workshop.disk)
    seed_everything(start.seed)
    do = _evaluate if task.kind == "evaluate" else _train
    result = do(loaded.learner, model, layout, job, start, cancelled, moved)
    update = _update(job, task, start, result)
    stores = workshop.stores or Stores(workshop.disk)
    encoded = _encoded(job, update, result.change, layout, stores)
    del result
    _finish(job, update, encoded, task.part_bytes, moved, wait, workshop, stores)
    return update.update_id


@dataclass(frozen=True, slots=True)
class _Model:
    """The parameters to begin with, as flat buffers.

    Attributes:
        received: As they came.
        copy: The learner's, to be written to.
    """

    received: Buffer
    copy: Buffer


Chunks = Callable[[], Iterable[Buffer]]
"""Begins to make a payload, each chunk to be used before the next."""


@dataclass(frozen=True, slots=True)
class _Encoded:
    """An update's payload, or how it is made; and what it leaves for later updates."""

    payload: Buffer = b""
    chunks: Chunks | None = None
    feedback: Feedback | None = None


def _train(
    learner: Learner,
    model: _Model,
    layout: Layout,
    job: Job,
    start: Start,
    cancelled: Callable[[], bool],
    moved: Callable[[float], None],
) -> _Result:
    request = _request(job, start, cancelled, moved)
    begun = time.perf_counter()
    result = learner.train(unflatten(model.copy, layout), request)
    took_s = time.perf_counter() - begun
    if cancelled():
        raise CancelledError("cancelled while it was trained")
    trained, checked = _checked(result, layout)
    change = Change(model.received, trained, layout)
    return _Result(change, checked.num_examples, checked.metrics, took_s, checked.local_steps)


def _evaluate(
    learner: Learner,
    model: _Model,
    layout: Layout,
    job: Job,
    start: Start,
    cancelled: Callable[[], bool],
    moved: Callable[[float], None],
) -> _Result:
    """Means over the worker's own examples, as sums: those of several workers can be added."""
    if not isinstance(learner, Evaluator):
        raise UnfitError("the task is to evaluate, and this learner has no evaluate")
    request = EvaluateRequest(
        start.base_version,
        job.data,
        _device(job.device),
        dict(job.config),
        job.worker_id,
        cancelled,
        moved,
    )
    begun = time.perf_counter()
    returned = learner.evaluate(unflatten(model.copy, layout), request)
    took_s = time.perf_counter() - begun
    if cancelled():
        raise CancelledError("cancelled while it was evaluated")
    means = _checked_metrics(returned)
    count = means.pop("num_examples", float(job.examples or 1))
    if not count.is_integer() or not 1 <= count < 2**53:
        raise BadResultError(f"num_examples: expected a whole number above 0, came {count!r}")
    sums = _checked_metrics({name: mean * count for name, mean in means.items()})
    return _Result(None, int(count), sums, took_s)


def _encoded(
    job: Job, update: Update, change: Change | None, layout: Layout, stores: Stores
) -> _Encoded:
    """An update in its codec, and what that leaves out.

    Raises:
        BadResultError: If not all that was trained is finite; of a large one as it is written.
    """
    spec = spec_of(update.codec)
    if change is None:
        return _Encoded()
    if spec is None:  # who asks for a codec that is not known here is not answered
        return _Encoded(change.payload())
    if not spec.feeds_back and layout.update_bytes > WHOLE_BYTES_MAX:
        return _Encoded(chunks=partial(_chunks, change, update))
    payload = change.payload()
    _require_finite(update_floats(payload, layout))
    if spec.feeds_back:
        with stores.opened(Path(job.folder), job.life) as store:
            encoded, feedback = encode_with_feedback(update, payload, layout, store.earlier(update))
            return _Encoded(encoded, feedback=feedback)
    chunks = list(encode_update(payload, update.codec, layout, update.update_id))
    return _Encoded(chunks[0] if len(chunks) == 1 else b"".join(chunks))


def _chunks(change: Change, update: Update) -> Iterator[Buffer]:
    yield from encode_numbers(_Finite(change), update.codec, update.update_id)
    yield from change.maxed()


class _Finite:
    """The numbers of a change, each looked at. A `Numbers`."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self.size = change.size
        self.read = change.read

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        for start, block in self._change.blocks():
            _require_finite(block)
            yield start, block


def _require_finite(floats: Floats) -> None:
    if not np.isfinite(floats).all():
        raise BadResultError(
            "the trained parameters are not all finite; is the learning rate high?"
        )


def _load(spec: str) -> Loaded:
    if spec not in _loaded:
        _loaded[spec] = Loaded(load_learner(spec, neighbours=True))
    return _loaded[spec]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What a job is done with, and a simulation brings of its own.

    Attributes:
        load: Loads a learner by its "path/file.py:name".
        disk: Where the worker's state folder is.
        inline_bytes: The largest payload that lies in the store's row.
        stores: The workers' stores; None: each is opened for its job.
    """

    load: Callable[[str], Loaded] = _load
    disk: Disk = OS_DISK
    inline_bytes: int = INLINE_BYTES_MAX
    stores: Stores | None = None


def _layout(loaded: Loaded) -> Layout:
    try:
        return loaded.layout
    except LayoutError as error:
        raise UnfitError(f"the learner's parameters cannot be a model: {error}") from error


def _read_model(job: Job, start: Start, layout: Layout, disk: Disk) -> _Model:
    """The model to begin with."""
    digest = start.model_digest or ""
    cache = ModelCache(Path(job.folder) / "models", disk)
    try:
        came = cache.view(digest)
        is_fresh = job.model_is_fresh and is_just_written(disk.age_s(cache.path_of(digest)))
        if not is_fresh and digest_of_stream(chunks_of(came)) != digest:
            cache.discard(digest)
            raise ModelDamagedError("the cached model is damaged")
        received = decode_model(came, layout, start.model_codec)
        return _Model(
            received, cache.copy(digest, came) if received is came else bytearray(received)
        )
    except NotADirectoryError as error:  # no model would be found there, however often fetched
        raise StoreError(f"{job.folder} is no state folder: {error.strerror}") from error
    except OSError as error:
        raise ModelDamagedError(f"the cached model cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise UnfitError(str(error)) from error


def _request(
    job: Job, start: Start, cancelled: Callable[[], bool], moved: Callable[[float], None]
) -> TrainRequest:
    return TrainRequest(
        worker_id=job.worker_id,
        task_id=job.task_id,
        model_version=start.base_version,
        seed=start.seed,
        data=job.data,
        device=_device(job.device),
        config=dict(job.config),
        deadline_s=job.deadline_s,
        prox_mu=start.prox_mu,
        cancelled=cancelled,
        progress=moved,
    )


def _device(setting: str) -> str:
    """What "auto" means here: a GPU if the learner uses torch and there is one."""
    torch: Any = sys.modules.get("torch")
    if setting != "auto":
        return setting
    return "cuda:0" if torch is not None and torch.cuda.is_available() else "cpu"


@dataclass(frozen=True, slots=True)
class _Said:
    """What a learner says of its training."""

    num_examples: int
    metrics: dict[str, float]
    local_steps: float


def _checked(result: object, layout: Layout) -> tuple[dict[str, Array], _Said]:
    """What a learner returned: the trained parameters, and what it says of them.

    Raises:
        BadResultError: Saying what was expected and what came.
    """
    if not isinstance(result, TrainResult):
        raise BadResultError(f"train: expected a TrainResult, came {type(result).__name__}")
    try:
        arrays = {name: np.asarray(value) for name, value in result.parameters.items()}
        require(arrays, layout)
    except (LayoutError, AttributeError) as error:
        raise BadResultError(
            f"train returned other parameters than it was given: {error}"
        ) from error
    count = result.num_examples
    if isinstance(count, bool) or not isinstance(count, numbers.Integral) or not 1 <= count < 2**53:
        raise BadResultError(f"num_examples: expected a whole number above 0, came {count!r:.60}")
    metrics = _checked_metrics(result.metrics)
    return arrays, _Said(int(count), metrics, _checked_steps(result.local_steps))


def _checked_steps(steps: object) -> float:
    try:
        number = float(steps)  # type: ignore[arg-type] # it may be anything
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(steps, bool) or not (number == 0 or 1 <= number <= STEPS_MAX):
        raise BadResultError(
            f"local_steps: expected a number from 1 to {STEPS_MAX:g}, or 0 for unknown, "
            f"came {steps!r:.60}"
        )
    return number


def _checked_metrics(metrics: object) -> dict[str, float]:
    if not isinstance(metrics, Mapping) or len(metrics) > METRICS_MAX:
        raise BadResultError(f"metrics: expected at most {METRICS_MAX} named numbers")
    checked = {}
    for name, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not isinstance(name, str) or len(name) > 200 or not math.isfinite(number):
            raise BadResultError(
                f"metrics: expected a finite number as {name!r:.60}, came {value!r:.60}"
            )
        checked[name] = number
    return checked


def _update(job: Job, task: Task, start: Start, result: _Result) -> Update:
    return Update(
        update_id=update_id_of(task.incarnation, task.task_id, job.worker_id),
        run_id=task.run_id,
        task_id=task.task_id,
        worker_id=job.worker_id,
        incarnation=task.incarnation,
        kind=task.kind,
        base_version=start.base_version,
        base_digest=start.version_digest,
        layout_digest=start.layout_digest or "",
        codec=task.codec,
        num_examples=result.num_examples,
        metrics=result.metrics,
        train_s=result.took_s,
        payload_digest="",  # what the payload is, the store fills in
        payload_bytes=0,
        parts=0,
        local_steps=result.local_steps,
    )


def _finish(
    job: Job,
    update: Update,
    encoded: _Encoded,
    part_bytes: int,
    moved: Callable[[float], None],
    wait: Wait | None,
    workshop: Workshop,
    stores: Stores,
) -> None:
    """Put the update into the outbox; a full disk is waited for, as the work is done."""
    while True:
        try:
            moved(1.0)
            with stores.opened(Path(job.folder), job.life) as store:
                if encoded.chunks is not None:
                    store.finish_large(update, part_bytes, encoded.chunks)
                else:
                    payload, feedback = encoded.payload, encoded.feedback
                    store.finish(update, part_bytes, payload, feedback, workshop.inline_bytes)
            return
        except StoreError as error:
            if wait is None:
                raise
            note(f"finished, but {error}; trying again in {_DISK_RETRY_S:.0f} s")
            for _ in range(round(_DISK_RETRY_S / _SIGN_S)):
                moved(1.0)  # or it would be taken for a training that hangs, and killed
                if wait(_SIGN_S):
                    raise CancelledError("cancelled while the disk had no room") from error


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    named = (
        text
        if isinstance(error, UnfitError | BadResultError)
        else f"{type(error).__name__}: {text}"
    )
    return named[:_REASON_CHARS]
