"""Where models come from: the cache, else their stream or the depot, into the cache.

One is fetched at a time. What comes of it is told as the session's events, at once or when more has
come.
"""

from __future__ import annotations

from collections.abc import Callable

from broker import transport as wire
from broker.topology import Names
from broker.transport import Transport
from schemas.errors import DecodeError
from schemas.messages import ModelPart, Start, decode
from worker import events
from worker.bydepot import ByDepot
from worker.events import Events
from worker.fetching import FromDepot, ModelFetcher, RangeMissed
from worker.models import ModelCache, ModelGoneError, ModelReader, StreamBrokenError

STREAM_PREFETCH = 2


class ModelSupply:
    """Brings models into the cache. Used by one thread.

    Args:
        names: Of the federation's queues.
        cache: Where models go.
        transport: The way to the broker.
        depot: Where some may lie; None: there is none.
        tell: Takes what comes from the depot, from any thread, to be handed to `came_by_depot`.
        make_room: Called when the disk does not take a model.
    """

    def __init__(
        self,
        names: Names,
        cache: ModelCache,
        transport: Transport,
        depot: ByDepot | None,
        tell: Callable[[FromDepot], None],
        make_room: Callable[[], None],
    ) -> None:
        self._names = names
        self._cache = cache
        self._transport = transport
        self._make_room = make_room
        self._stream: int | None = None
        self._reader: ModelReader | None = None
        self._fetcher = (
            None if depot is None else ModelFetcher(depot.depot, depot.models, cache, tell)
        )
        self._read_just_now = ""  # the digest of the model that was, until something trains on it

    def fetch(self, start: Start) -> Events:
        """Bring the model of a start."""
        assert start.model_digest is not None, "only a wanted start is fetched"
        self._read_just_now = ""
        if self._cache.has(start.model_digest, start.model_bytes):
            self._cache.touch(start.model_digest)
            return (events.ModelReady(start.model_digest),)
        self.stop()
        if start.stored:
            return self._fetch_from_depot(start)
        self._fetch_from_stream(start)
        return ()

    def stop(self) -> None:
        """Fetch no more; what has come stays for the next time. Safe to call twice."""
        if self._fetcher is not None:
            self._fetcher.stop()
        if self._stream is not None:
            self._transport.cancel(self._stream)
            self._stream = None
        if self._reader is not None:
            self._reader.stop()

    def close(self) -> None:
        """Let go of what is open here. Safe to call twice."""
        self.stop()
        if self._fetcher is not None:
            self._fetcher.close()

    def went_offline(self) -> None:
        """The connection is lost: its consumers are void."""
        self._read_just_now = ""
        self.stop()

    def was_read_just_now(self, digest: str | None) -> bool:
        """Whether nothing can have happened to a model yet. Said once of each."""
        is_fresh, self._read_just_now = digest == self._read_just_now, ""
        return is_fresh

    def _fetch_from_stream(self, start: Start) -> None:
        if self._fetcher is not None:
            self._fetcher.close()  # it may be the same model
        reader = self._reader
        if reader is not None and reader.start.model_digest == start.model_digest:
            reader.go_on(start)
        else:
            self._drop_reader()
            reader = self._reader = ModelReader(self._cache, start)
        queue = self._names.model_queue(start.run_id, start.model_bytes)
        prefetch = min(STREAM_PREFETCH, start.parts)
        self._stream = self._transport.consume(queue, prefetch, offset=reader.offset)

    def _fetch_from_depot(self, start: Start) -> Events:
        if self._fetcher is None:  # it was set when the task was taken
            return (events.ModelGone(start.model_digest or "", "no depot is set here any more"),)
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.stop()  # it may be the same model
        self._fetcher.fetch(start)
        return ()

    def _drop_reader(self) -> None:
        """What was read of a model is of no use."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.drop()

    # What comes.

    def is_read_by(self, consumer: int) -> bool:
        """Whether a consumer is the one of the model's stream."""
        return consumer == self._stream

    def came(self, delivery: wire.Delivered) -> Events:
        """A message of the stream."""
        reader = self._reader
        assert reader is not None, "a stream is consumed by a reader"
        digest = reader.start.model_digest or ""
        try:
            part, payload = decode(delivery.body)
            if not isinstance(part, ModelPart):
                raise StreamBrokenError(f"expected a model part, came {type(part).__name__}")
            taken = reader.take(part, payload, delivery.offset)
        except (ModelGoneError, DecodeError) as error:
            self.stop()
            self._drop_reader()
            return (events.ModelGone(digest, str(error)),)
        except OSError as error:
            self.stop()
            self._drop_reader()
            self._make_room()
            return (events.ModelNotKept(digest, str(error)),)
        if taken == "whole":
            self.stop()
            self._reader = None
            self._read_just_now = digest
            return (events.ModelReady(digest),)
        # An ack lets one more come. The last ones are not acked, so that nothing is on its way when
        # the reader is cancelled, and its connection can be kept (see `Transport.consume`).
        if taken == "nothing" or reader.left >= STREAM_PREFETCH:
            self._transport.ack(delivery.tag)
        return (events.ModelMoved(),)

    def lost(self) -> Events:
        """The stream's consumer ended."""
        self._stream = None
        self.stop()
        return (events.ModelInterrupted(),)

    def came_by_depot(self, event: FromDepot) -> Events:
        """What the depot gave, or did not."""
        fetcher = self._fetcher
        if fetcher is None or fetcher.start is None or not fetcher.is_due(event):
            return ()
        digest = fetcher.start.model_digest or ""
        if isinstance(event, RangeMissed):
            if event.gone:
                fetcher.drop()
                return (events.ModelGone(digest, event.reason),)
            fetcher.stop()
            return (events.ModelNotKept(digest, event.reason, from_depot=True),)
        try:
            taken = fetcher.take(event.data)
        except ModelGoneError as error:
            return (events.ModelGone(digest, str(error)),)
        except OSError as error:
            self._make_room()
            return (events.ModelNotKept(digest, str(error)),)
        return (events.ModelReady(digest) if taken == "whole" else events.ModelMoved(),)
