"""What stops a coordinator, by what comes next.

CoordinatorError
├── StoreError        the state folder cannot be used as it is
│   ├── Damaged       a file is not what was written (a backup and --restored, or --new-run)
│   │   └── NotKept   it is gone, as old ones may be (ask for what is kept)
│   ├── InUse         another process has it (stop that one)
│   ├── Fenced        another process took over (start as a standby)
│   └── Restored      messages are newer than the store (start with --restored)
├── RunError          the run cannot start with these settings (change them, or --new-run)
├── BrokerRefused     the broker refuses us for good (password, permissions)
└── BrokerAway        a command cannot reach the broker, or what it needs there (try again)
"""


def in_short(error: Exception) -> str:
    """What went wrong, in one line: an error's first, or its name if it has no text.

    A database's error is told in the words of the driver, without SQL.
    """
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


class CoordinatorError(Exception):
    """Root of what stops a coordinator; its text is one line for the person who runs it."""


class StoreError(CoordinatorError):
    """The state folder cannot be used as it is."""


class Damaged(StoreError):
    """A file of the state folder is not what was written to it."""


class NotKept(Damaged):
    """A file is gone: it was deleted because no setting kept it, or by somebody."""


class InUse(StoreError):
    """Another coordinator is running on the same state folder."""


class Fenced(StoreError):
    """Another coordinator has taken the store over; nothing of this one is written any more."""


class Restored(StoreError):
    """A message is newer than the store: the store was restored from a backup.

    Args:
        incarnation: The message's.
        what: What came and what the store has.
    """

    def __init__(self, incarnation: int, what: str) -> None:
        super().__init__(
            f"{what}: the store was restored from a backup, or belongs to another broker, or "
            "somebody forged the message. Start with --restored to go on from the store in a new "
            "incarnation"
        )
        self.incarnation = incarnation


class RunError(CoordinatorError):
    """The run cannot start with these settings."""


class BrokerRefused(CoordinatorError):
    """The broker refuses the coordinator, and trying again cannot mend it."""


class BrokerAway(CoordinatorError):
    """A command that needs the broker does not reach it, or not what it needs there."""
