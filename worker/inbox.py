"""The task in hand, on disk."""

from __future__ import annotations

from schemas.messages import Start, Task, encode
from worker.database import Database
from worker.rows import ASKS, GOES_ON, SAID, HeldTask, decoded


class Inbox:
    """The table of the task in hand, of which there is one at most.

    A method that returns has its effect on disk; one that raises had none.

    Args:
        db: The worker's database.

    Raises:
        StoreError: From any method.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def keep_task(self, task: Task) -> None:
        """Put a task into the inbox, as the only one; nothing changes if it is there."""
        with self._db.transaction():
            # A task whose removal failed must not come back in place of this one.
            self._db.execute("DELETE FROM inbox WHERE task_id != ?", (task.task_id,))
            self._db.execute(
                "INSERT OR IGNORE INTO inbox (task_id, task, said) VALUES (?, ?, ?)",
                (task.task_id, encode(task), SAID),
            )

    def begin_attempt(self, start: Start) -> bool:
        """Count a training before it begins, and remember what it is on.

        Returns:
            False if the task is not in the inbox: nothing was counted.
        """
        with self._db.transaction():
            counted = self._db.execute(
                "UPDATE inbox SET start = ?, said = CASE said WHEN ? THEN ? ELSE said END, "
                "attempts = attempts + 1 WHERE task_id = ?",
                (encode(start), ASKS, SAID, start.task_id),
            )
        return counted == 1

    def begin(self, task: Task, start: Start) -> bool:
        """Put a task into the inbox as the only one, and count a training before it begins.

        Returns:
            False if the task was done: nothing was counted.
        """
        return self._put(task, start, ASKS, attempts=1)

    def keep_start(self, task: Task, start: Start, said: bool = True) -> bool:
        """Have a task in the inbox, as the only one, with what it was begun on.

        Args:
            task: The task.
            start: What it was begun on.
            said: Whether somebody knows that it is here; else it is to be said.

        Returns:
            False if it was done: it is not put there.
        """
        return self._put(task, start, SAID if said else GOES_ON, attempts=0)

    def _put(self, task: Task, start: Start, said: int, *, attempts: int) -> bool:
        task_id = task.task_id
        with self._db.transaction():
            self._db.execute("DELETE FROM inbox WHERE task_id != ?", (task_id,))
            put = self._db.execute(
                "INSERT INTO inbox (task_id, task, start, said, attempts) "
                "SELECT ?1, ?2, ?3, ?4, ?5 "
                "WHERE NOT EXISTS (SELECT 1 FROM marks WHERE task_id = ?1) "
                "ON CONFLICT (task_id) DO UPDATE SET start = excluded.start, said = excluded.said, "
                "attempts = attempts + excluded.attempts",
                (task_id, encode(task), encode(start), said, attempts),
            )
        return put == 1

    def forgive_attempt(self, task_id: str) -> None:
        """Take back an attempt that was stopped on purpose."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE inbox SET attempts = max(attempts - 1, 0) WHERE task_id = ?", (task_id,)
            )

    def drop_task(self, task_id: str) -> None:
        """Give a task up."""
        with self._db.transaction():
            self._db.execute("DELETE FROM inbox WHERE task_id = ?", (task_id,))

    def held(self) -> HeldTask | None:
        """The task in hand."""
        found = self._db.row("SELECT task, start, attempts, said FROM inbox ORDER BY rowid LIMIT 1")
        if found is None:
            return None
        task, start, attempts, said = found
        message = None if start is None else decoded(Start, start)
        return HeldTask(decoded(Task, task), message, attempts, said)
