"""A depot that is a bucket of an S3-compatible store.

Rules:

- It is used through `obstore`, which is imported when a bucket is opened: nothing else needs it.
- Each request has a time limit and few tries: whoever asked tries again later.
- What a bucket that is not there says to a look is what it says of an object that is not there. So
  before an object counts as missing for the first time, the bucket is asked for its list.
- Credentials are never shown: errors are cut to what was asked and what came.
"""

from __future__ import annotations

import configparser
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from depot.depot import is_name, nothing, require_name
from depot.errors import DepotUnreachable, DepotUnusable, NotInDepot
from disk import chunks_of
from schemas.buffer import Buffer

if TYPE_CHECKING:
    from obstore.store import S3Config, S3Store

_REQUEST = timedelta(minutes=5)  # 5 MiB at 17 KB/s
_CONNECT = timedelta(seconds=10)
_TRIES_MORE = 2
_TRYING = timedelta(minutes=10)
_CHUNK_BYTES = 5 * 2**20  # the smallest part that S3 takes
_AT_ONCE = 2  # parts on the way
_TEXT_MOST = 300


@dataclass(frozen=True, slots=True)
class BucketPlace:
    """Where a bucket is, and how to be let in.

    Attributes:
        bucket: Its name.
        prefix: What all names in it begin with, "" for nothing.
        endpoint: The URL of the store, "" for Amazon's of the region.
        region: "" for what the environment says, else us-east-1.
        credentials: A file as `~/.aws/credentials`, of which `[default]` is taken; None for what
            the environment gives (AWS_ACCESS_KEY_ID …, or the machine's role).
    """

    bucket: str
    prefix: str = ""
    endpoint: str = ""
    region: str = ""
    credentials: Path | None = None


class BucketDepot:
    """A `depot.depot.Depot` in a bucket.

    Args:
        place: Where it is.
        federation: Whose objects they are: others under the prefix are not touched.

    Raises:
        DepotUnusable: It cannot be used as it is set.
    """

    def __init__(self, place: BucketPlace, federation: str) -> None:
        try:
            import obstore
        except ImportError as error:
            raise DepotUnusable(
                "a depot in a bucket needs the package obstore: pip install 'fedmq[depot]'"
            ) from error
        self._obstore = obstore
        self._where = f"s3://{place.bucket}"
        self._is_there = False  # as far as is known
        self._store = _open(place, federation)

    def put(self, name: str, data: Buffer, moved: Callable[[], object] = nothing) -> None:
        """See `Depot.put`."""
        require_name(name)
        is_small = memoryview(data).nbytes <= _CHUNK_BYTES  # one request
        with self._reaching("put", name):
            try:
                self._obstore.put(
                    self._store,
                    name,
                    bytes(data) if is_small else _watched(chunks_of(data), moved),
                    chunk_size=_CHUNK_BYTES,
                    max_concurrency=_AT_ONCE,
                )
            except FileNotFoundError as error:
                raise self._no_bucket() from error
        self._is_there = True

    def size(self, name: str) -> int | None:
        """See `Depot.size`."""
        require_name(name)
        with self._reaching("look at", name):
            try:
                return self._obstore.head(self._store, name)["size"]
            except FileNotFoundError:
                self._require_bucket()
                return None

    def read(self, name: str, start: int, length: int) -> Buffer:
        """See `Depot.read`."""
        require_name(name)
        with self._reaching("read", name):
            try:
                found = self._obstore.get_range(self._store, name, start=start, length=length)
            except FileNotFoundError as error:
                self._require_bucket()
                raise NotInDepot(f"{self._where} has no {name}") from error
            return memoryview(found)

    def delete(self, name: str) -> None:
        """See `Depot.delete`."""
        require_name(name)
        with self._reaching("delete", name):
            try:
                self._obstore.delete(self._store, name)
            except FileNotFoundError:
                self._require_bucket()

    def expire(self, prefix: str, before_s: float, spare: Callable[[str], bool]) -> int:
        """See `Depot.expire`; what a crash left unfinished is for the bucket's own rules."""
        require_name(prefix)
        gone = 0
        with self._reaching("list", prefix):
            for chunk in self._obstore.list(self._store, prefix):
                for found in chunk:
                    is_old = found["last_modified"].timestamp() < before_s
                    name = found["path"]
                    if is_old and is_name(name) and not spare(name):
                        self.delete(name)
                        gone += 1
        return gone

    def _require_bucket(self) -> None:
        """Check that what is not there is missing in a bucket that is.

        Raises:
            DepotUnreachable: There is no such bucket.
        """
        if self._is_there:
            return
        try:
            for _ in self._obstore.list(self._store, "models"):
                break
        except FileNotFoundError as error:
            raise self._no_bucket() from error
        self._is_there = True

    def _no_bucket(self) -> DepotUnreachable:
        return DepotUnreachable(f"there is no bucket {self._where}: make it, or mend depot.url")

    @contextlib.contextmanager
    def _reaching(self, what: str, name: str) -> Iterator[None]:
        try:
            yield
        except (self._obstore.exceptions.BaseError, OSError) as error:
            came = str(error).partition("\n")[0][:_TEXT_MOST]
            raise DepotUnreachable(f"{self._where}: cannot {what} {name}: {came}") from None


def _watched(chunks: Iterator[memoryview], moved: Callable[[], object]) -> Iterator[memoryview]:
    """The same, and a word each time that a further one is wanted."""
    for chunk in chunks:
        yield chunk
        moved()


def _open(place: BucketPlace, federation: str) -> S3Store:
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    config: S3Config = {"disable_bulk_delete": True}  # not all compatible stores have it
    if place.endpoint:
        config["endpoint"] = place.endpoint
    if place.region:
        config["region"] = place.region
    if place.credentials is not None:
        config |= read_credentials(place.credentials)
    try:
        return S3Store(
            place.bucket,
            prefix=f"{place.prefix}/{federation}".strip("/"),
            config=config,
            client_options={
                "allow_http": place.endpoint.startswith("http://"),
                "timeout": _REQUEST,
                "connect_timeout": _CONNECT,
            },
            retry_config={"max_retries": _TRIES_MORE, "retry_timeout": _TRYING},
        )
    except (BaseError, ValueError) as error:
        came = str(error).partition("\n")[0][:_TEXT_MOST]
        raise DepotUnusable(f"s3://{place.bucket} cannot be used: {came}") from None


def read_credentials(path: Path) -> S3Config:
    """What `[default]` of a file as `~/.aws/credentials` says.

    Raises:
        DepotUnusable: It cannot be read, or does not say it.
    """
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(path.read_text("utf-8"))
        default = parser["default"]
        found: S3Config = {
            "access_key_id": default["aws_access_key_id"],
            "secret_access_key": default["aws_secret_access_key"],
        }
    except OSError as error:
        raise DepotUnusable(f"depot.credentials: {path}: {error.strerror or error}") from None
    except (configparser.Error, KeyError, UnicodeDecodeError):  # its text may hold what is secret
        raise DepotUnusable(
            f"depot.credentials: {path}: expected a section [default] with aws_access_key_id and "
            "aws_secret_access_key"
        ) from None
    if "aws_session_token" in default:
        found["session_token"] = default["aws_session_token"]
    return found
