"""An update in parts: each is kept, and the last has them judged together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from broker.transport import AnswerTo
from coordinator.batch.judging import Arrived, Judging
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.effects import ForgetParts
from coordinator.intake import Part, Stray, fault_of, header_fault
from coordinator.uploadfiles import Shape
from disk import chunks_of, let_go
from schemas.digest import digest_of_stream
from schemas.messages import Update, head_of


class Parts:
    """The parts that come in one transaction."""

    def __init__(self, steps: Steps, strays: Strays, judging: Judging) -> None:
        self._steps = steps
        self._strays = strays
        self._judging = judging
        self._desk = steps.desk
        self._work = steps.work

    def keep(self, part: Part, body: bytes) -> bool:
        """Keep a part until its upload is complete; whether it is accepted."""
        about = part.part
        if self._work.verdict_of(about.update_id) is not None:
            return True
        if self._judging.task_of(about) is None:  # or anyone could fill the disk
            reason = f"no task {about.task_id} was offered in this run"
            stray = Stray("unknown task", reason, about.worker_id, about.task_id)
            return self._strays.refuse(body, stray)
        admission = self._desk.uploads.add((about.update_id, about.payload_digest), self._desk.now)
        for upload in admission.gone:
            self._desk.spool.parts.forget_one(upload)
        if not admission.taken:  # the worker is told that it is missing, and sends it again
            text = f"a part of update {about.update_id[:8]} is not taken: too many are not complete"
            self._steps.lines.append(("uploads", text))
            return False
        shape = Shape(about.payload_bytes, about.part_bytes)
        upload = about.update_id, about.payload_digest
        self._desk.spool.put(upload, shape, about.index, part.payload)
        return True

    def _forget_parts(self, update_id: str) -> None:
        self._desk.uploads.forget(update_id)
        self._steps.effects.append(ForgetParts(update_id))

    def close(self, update: Update, body: bytes, asking: AnswerTo | None) -> bool:
        """The end of an upload: its verdict if all parts are here, else the worker is told.

        Whether it is accepted.
        """
        if self._judging.is_copy(update):
            self._forget_parts(update.update_id)
            return True
        fault = header_fault(update, self._desk.expected)
        if fault is not None or self._judging.task_of(update) is None:
            # Its parts are not needed, and if they were refused they will never be here.
            self._forget_parts(update.update_id)
            spool = self._desk.spool
            arrived = Arrived(update, b"", lambda: spool.append(body), body, asking)
            self._judging.judge(arrived, fault)
            return True
        spool, upload = self._desk.spool, (update.update_id, update.payload_digest)
        shape = Shape(update.payload_bytes, self._desk.expected.part_bytes)
        if spool.parts.missing(upload, shape):
            return False  # no verdict: the worker asks what is missing, and sends it again
        payload = spool.parts.view(upload, shape)
        self._forget_parts(update.update_id)
        if digest_of_stream(chunks_of(payload)) != update.payload_digest:
            reason = "its parts together do not have the digest it says"
            stray = Stray("malformed", reason, update.worker_id, update.task_id)
            return self._strays.refuse(body, stray)
        passed = partial(let_go, payload)
        fault = fault_of(update, payload, self._desk.expected, passed)
        head = head_of(replace(update, parts=0), update.payload_bytes)
        adopt = partial(spool.adopt, upload, shape, head)
        arrived = Arrived(update, payload, adopt, body, asking, passed)
        self._judging.judge(arrived, fault)
        return True
