"""Where models and large updates lie that do not go through the broker: a folder, or a bucket."""

from depot.depot import RANGE_BYTES, Depot, model_name, update_name
from depot.errors import DepotError, DepotUnreachable, DepotUnusable, NotInDepot
from depot.folder import FolderDepot
from depot.opening import depot_of, open_depot
from depot.putting import fault_of, put_whole

__all__ = [
    "RANGE_BYTES",
    "Depot",
    "DepotError",
    "DepotUnreachable",
    "DepotUnusable",
    "FolderDepot",
    "NotInDepot",
    "depot_of",
    "fault_of",
    "model_name",
    "open_depot",
    "put_whole",
    "update_name",
]
