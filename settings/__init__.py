"""How it is set: one file and one environment for all services.

Rules:
    - `settings.model` says what there is, field by field; all else is read from it.
    - A wrong setting is one `SettingsError`, whose text is one line for the person who wrote it.
    - Nothing here imports numpy: the worker's agent starts with it.
"""

from settings.depot import DepotSettings
from settings.errors import SettingsError
from settings.evaluation import EvaluationSettings
from settings.loading import load, require
from settings.model import (
    BrokerSettings,
    FederationSettings,
    LearnerSettings,
    RunSettings,
    Settings,
)
from settings.rounds import RoundsSettings
from settings.selection import SelectionSettings
from settings.services import CoordinatorSettings, WorkerSettings

__all__ = [
    "BrokerSettings",
    "CoordinatorSettings",
    "DepotSettings",
    "EvaluationSettings",
    "FederationSettings",
    "LearnerSettings",
    "RoundsSettings",
    "RunSettings",
    "SelectionSettings",
    "Settings",
    "SettingsError",
    "WorkerSettings",
    "load",
    "require",
]
