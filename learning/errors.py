"""What can go wrong with what users bring: the learner, its settings, its arrays.

LearnerError
├── LearnerLoadError           the learner cannot be had (stop: change the setting or the file)
│   ├── LearnerSpecError       the setting is not "file.py:name" or a built-in
│   ├── LearnerFileError       there is no such file
│   ├── LearnerImportError     the file, or a factory in it, raised
│   ├── LearnerNameError       the file has no such name
│   └── NotALearnerError       the name is something else; says what it lacks
├── MissingExtraError          a package that this learner needs is not installed (stop)
├── LearnerSettingError        `data` or `config` is not what the learner takes (stop)
├── ParametersError            arrays that do not fit the model (stop: another model, or a bug)
└── TrainingError              the user's `fit` or `evaluate` gave something else (a bug there)
"""

from __future__ import annotations


class LearnerError(Exception):
    """Root of what `learning` raises."""


class LearnerLoadError(LearnerError):
    """The learner that the setting names cannot be had."""


class LearnerSpecError(LearnerLoadError):
    """The setting is not "file.py", "file.py:name" or "fedmq:name"."""


class LearnerFileError(LearnerLoadError):
    """There is no file at the learner's path."""


class LearnerImportError(LearnerLoadError):
    """The learner's file, or its factory, raised; the cause is the user's own error."""


class LearnerNameError(LearnerLoadError):
    """The learner's file has no such name."""


class NotALearnerError(LearnerLoadError):
    """The name is not a learner: `initial_parameters` or `train` is missing."""


class MissingExtraError(LearnerError):
    """A package that the learner needs is not installed; install the extra that has it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(f"{package} is not installed: pip install 'fedmq[{extra}]'")
        self.package = package
        self.extra = extra


class LearnerSettingError(LearnerError):
    """The learner's `data` or `config` is not what it takes."""


class ParametersError(LearnerError):
    """Arrays do not fit the model, or the model cannot be sent as arrays."""


class TrainingError(LearnerError):
    """The user's `fit` or `evaluate` did not give what it should."""
