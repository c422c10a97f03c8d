"""An update in parts: each is kept, and the last has them judged together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from broker.transport import Delivered
from coordinator.batch.judging import Arrived, Judging
from coordinator.batch.steps import Steps
from coordinator.batch.strays import Strays
from coordinator.effects import FetchParts, ForgetObject, ForgetParts, PartKept
from coordinator.intake import Part, Stray, fault_of, header_fault
from coordinator.uploadfiles import Shape
from disk import chunks_of, let_go
from schemas.buffer import Buffer
from schemas.digest import digest_of_stream
from schemas.messages import Update, encode, head_of


class Parts:
    """The parts that come in one transaction.

    Attributes:
        waiting: The tags of closing messages that wait for what is read from the depot.
    """

    def __init__(self, steps: Steps, strays: Strays, judging: Judging) -> None:
        self._steps = steps
        self._strays = strays
        self._judging = judging
        self._desk = steps.desk
        self._work = steps.work
        self.waiting: set[int] = set()

    def keep(self, part: Part, body: Buffer) -> bool:
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

    def keep_fetched(self, part: Part) -> None:
        """Keep a part that was read from the depot."""
        about = part.part
        taken = self.keep(part, encode(about))
        upload = about.update_id, about.payload_digest
        self._steps.effects.append(PartKept(upload, about.index, taken))

    def _forget(self, update: Update) -> None:
        """What there is of an update besides its row of the ledger is of no more use."""
        self._desk.uploads.forget(update.update_id)
        self._steps.effects.append(ForgetParts(update.update_id))
        if update.stored:
            upload = update.update_id, update.payload_digest
            self._steps.effects.append(ForgetObject(upload))

    def close(self, update: Update, delivery: Delivered, *, may_wait: bool) -> bool:
        """The end of an upload: its verdict if all parts are here, else the worker is told.

        One that lies in the depot may wait until its parts were read.

        Returns:
            Whether it is accepted.
        """
        body, asking = delivery.body, delivery.answer_to
        if self._judging.is_copy(update):
            self._forget(update)
            return True
        fault = header_fault(update, self._desk.expected)
        if fault is not None or self._judging.task_of(update) is None:
            # Its parts are not needed, and if they were refused they will never be here.
            self._forget(update)
            spool = self._desk.spool
            arrived = Arrived(update, b"", lambda: spool.append(body), body, asking)
            self._judging.judge(arrived, fault)
            return True
        spool, upload = self._desk.spool, (update.update_id, update.payload_digest)
        shape = Shape(update.payload_bytes, self._desk.expected.part_bytes)
        missing = spool.parts.missing(upload, shape)
        if missing:  # no verdict: the worker asks what is missing, and sends it again
            self._judging.announce(update)
            if may_wait and update.stored and self._desk.fetching.takes(delivery, update):
                self.waiting.add(delivery.tag)
                fetch = FetchParts(delivery, update, tuple(missing), shape.part_bytes)
                self._steps.effects.append(fetch)
            return False
        payload = spool.parts.view(upload, shape)
        self._forget(update)
        if digest_of_stream(chunks_of(payload)) != update.payload_digest:
            reason = "its parts together do not have the digest it says"
            stray = Stray("malformed", reason, update.worker_id, update.task_id)
            return self._strays.refuse(body, stray)
        passed = partial(let_go, payload)
        fault = fault_of(update, payload, self._desk.expected, passed)
        head = head_of(replace(update, parts=0, stored=False), update.payload_bytes)
        adopt = partial(spool.adopt, upload, shape, head)
        arrived = Arrived(update, payload, adopt, body, asking, passed)
        self._judging.judge(arrived, fault)
        return True
