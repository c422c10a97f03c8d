"""Training in the caller's own thread, for tests and virtual time.

A module of its own, because it needs numpy, which the agent does without.
"""

from __future__ import annotations

from worker.trainer import Job, Moved, Notify
from worker.training import Workshop, run_job


class InlineTrainer:
    """Trains within `submit`.

    Attributes:
        workshop: Where it is done; None: as in a training process.
    """

    workshop: Workshop | None = None

    def submit(self, job: Job, notify: Notify) -> bool:
        """See `Trainer.submit`."""
        notify(Moved(job.task_id, 0.0))

        def moved(fraction: float) -> None:
            notify(Moved(job.task_id, fraction))

        notify(run_job(job, lambda: False, moved, workshop=self.workshop))
        return False

    def cancel(self, key: str) -> None:
        """See `Trainer.cancel`; there is never a job."""

    def kill(self, key: str) -> None:
        """See `Trainer.kill`; there is never a job."""

    def close(self) -> None:
        """See `Trainer.close`."""
