"""What goes wrong at a worker, split by what comes next.

WorkerError
├── StateInUseError        another worker runs on this state folder (stop: choose another folder)
├── WrongStateError        the state folder is another worker's, or of a newer version (stop)
├── StoreError             the disk did not take it, or does not give it (wait, try again)
├── PayloadLostError       an update's payload is not what was written (give the update up)
├── TaskGoneError          the task was given up while it was trained (throw the result away)
└── TrainingError
    ├── UnfitError         learner and task do not fit: trying again cannot help (decline)
    ├── BadResultError     training gave something that is no result (counts as a crash)
    ├── ModelDamagedError  the cached model is not what it should be (fetch it again)
    └── CancelledError     training was given up (keep the task)
"""


class WorkerError(Exception):
    """Root of what a worker raises."""


class StateInUseError(WorkerError):
    """Another worker runs on this state folder; give each worker a folder of its own."""


class WrongStateError(WorkerError):
    """The state folder belongs to another worker or to a newer version of the program."""


class StoreError(WorkerError):
    """The disk did not take or give it; nothing is acknowledged until it does."""


class PayloadLostError(WorkerError):
    """An update's payload or header is missing or damaged: the disk lost it."""


class TaskGoneError(WorkerError):
    """The task is not in the inbox any more: its result is of no use."""


class TrainingError(WorkerError):
    """Root of what goes wrong around training; the text is the reason the coordinator is told."""


class UnfitError(TrainingError):
    """This worker's learner and the task do not fit together."""


class BadResultError(TrainingError):
    """What the learner returned is not a result."""


class ModelDamagedError(TrainingError):
    """The cached model's bytes are not those its name promises."""


class CancelledError(TrainingError):
    """The training was given up before it was done."""
