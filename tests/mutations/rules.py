"""The rules of the delivery protocol, each with what takes it away and the test that then fails.

`make mutations` runs them (scripts/mutate.py); docs/explanation/rules.md is made of them.
"""

from __future__ import annotations

from tests.mutations.coding import CODING
from tests.mutations.confirmed import CONFIRMED
from tests.mutations.drawing import DRAWING, REMEMBERED
from tests.mutations.drawn import CHANGING, DRAWN
from tests.mutations.handing import HANDING
from tests.mutations.measuring import MEASURING
from tests.mutations.mutation import Mutation
from tests.mutations.names import NAMES
from tests.mutations.offers import OFFERS
from tests.mutations.own import OWN_QUEUES, OWN_WORK
from tests.mutations.receiving import RECEIVING
from tests.mutations.stored import STORED_MODELS, STORED_UPDATES
from tests.mutations.unsaid import UNSAID
from tests.mutations.working import WORKING

RULES: tuple[Mutation, ...] = (
    *NAMES,
    *OFFERS,
    *DRAWN,
    *OWN_QUEUES,
    *UNSAID,
    *WORKING,
    *OWN_WORK,
    *RECEIVING,
    *CODING,
    *STORED_UPDATES,
    *DRAWING,
    *REMEMBERED,
    *CHANGING,
    *HANDING,
    *MEASURING,
    *CONFIRMED,
    *STORED_MODELS,
)
