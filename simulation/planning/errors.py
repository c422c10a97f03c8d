"""What ends a simulation before it has a result.

PlanningError
├── CannotTrain       the learner raised, or gave something that is no result (mend it)
└── CannotPlan        what was asked for cannot be simulated (ask for something else)
"""

from __future__ import annotations


class PlanningError(Exception):
    """Root of what `simulation.planning` raises; its text is one line for whoever asked."""


class CannotTrain(PlanningError):
    """The learner raised, or gave something that is no result."""


class CannotPlan(PlanningError):
    """What was asked for cannot be simulated."""
