"""From settings to a depot."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from depot.bucket import BucketDepot, BucketPlace
from depot.depot import Depot
from depot.errors import DepotUnusable
from depot.folder import FolderDepot
from settings import Settings


def depot_of(settings: Settings) -> Depot | None:
    """Open the depot that is set, None if none is.

    Raises:
        DepotUnusable: It cannot be used as it is set; the text says why.
    """
    own = settings.depot
    if not own.url:
        return None
    return open_depot(
        own.url,
        settings.federation.name,
        endpoint=own.endpoint,
        region=own.region,
        credentials=Path(own.credentials) if own.credentials else None,
    )


def open_depot(
    url: str,
    federation: str,
    *,
    endpoint: str = "",
    region: str = "",
    credentials: Path | None = None,
) -> Depot:
    """Open a depot; that it can be reached is not looked at.

    Args:
        url: `file:///folder` or `s3://bucket/prefix`.
        federation: Whose objects they are.
        endpoint: Of a bucket: the URL of the store, "" for Amazon's.
        region: Of a bucket: "" for what the environment says.
        credentials: Of a bucket: a file as `~/.aws/credentials`; None for what the environment
            says.

    Raises:
        DepotUnusable: It cannot be used as it is set; the text says why.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return FolderDepot(Path(unquote(parts.path)), federation)
    if parts.scheme == "s3":
        place = BucketPlace(
            bucket=parts.netloc,
            prefix=parts.path.strip("/"),
            endpoint=endpoint,
            region=region,
            credentials=credentials,
        )
        return BucketDepot(place, federation)
    raise DepotUnusable(f"expected a depot file:///… or s3://…, came {parts.scheme}:")
