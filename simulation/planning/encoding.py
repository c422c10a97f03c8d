"""Training whose updates and models go through codecs, as they would on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from schemas.buffer import Buffer
from schemas.codecs.model import ModelOnWire, decode_model, wire_bytes
from schemas.codecs.names import FP32, spec_of
from schemas.codecs.payload import encode_update, numbers_of, size_bounds
from schemas.digest import identify
from schemas.layout import Layout
from schemas.tensors import Floats, update_floats
from simulation.planning.training import Errand, Trained, Training


class EncodedTraining:
    """A training whose updates are encoded.

    With error feedback a worker's next update takes up what its last one left. A worker on the wire
    waits for the verdict with that; here all updates are taken to be counted.

    Args:
        training: What is trained; it has parameters.
        codec: Of the updates.
        model_codec: In what workers get the model.
    """

    def __init__(self, training: Training, codec: str, model_codec: str = FP32) -> None:
        self._training = training
        self._codec = codec
        self._model_codec = model_codec
        spec = spec_of(codec)
        self._feeds_back = spec is not None and spec.feeds_back
        self._packed = spec is not None and spec.packed
        self._left: dict[int, Floats] = {}

    @property
    def layout(self) -> Layout | None:
        """See `Training.layout`."""
        return self._training.layout

    def initial(self) -> bytes:
        """See `Training.initial`."""
        return self._training.initial()

    def evaluate(self, version: int, model: Buffer) -> Mapping[str, float]:
        """See `Training.evaluate`."""
        return self._training.evaluate(version, model)

    def train(self, errand: Errand, base: Buffer) -> Trained:
        """See `Training.train`."""
        layout = self._training.layout
        if layout is not None and self._model_codec != FP32:
            on_wire = ModelOnWire(base, layout, self._model_codec)
            base = decode_model(b"".join(on_wire.chunks()), layout, self._model_codec)
        trained = self._training.train(errand, base)
        if layout is None or self._codec == FP32:
            return trained
        update_id = identify("update", errand.worker, errand.number)
        payload = bytearray(trained.payload)
        if self._feeds_back and errand.worker in self._left:
            update_floats(payload, layout)[...] += self._left[errand.worker]
        encoded = b"".join(encode_update(payload, self._codec, layout, update_id))
        if self._feeds_back:
            came = numbers_of(encoded, self._codec, layout, update_id)
            self._left[errand.worker] = update_floats(payload, layout) - came.read(0, came.size)
        return replace(trained, payload=encoded, codec=self._codec, update_id=update_id)

    def moved_bytes(self) -> int:
        """What a task moves: the model, and an update; if that is compressed, as a first one is."""
        layout = self._training.layout
        if layout is None:
            return 0
        model_bytes = wire_bytes(layout, self._model_codec)
        if not self._packed:
            return model_bytes + size_bounds(self._codec, layout)[1]
        first = self.train(Errand(0, 0, 0, 0), self.initial())
        self._left.clear()
        return model_bytes + memoryview(first.payload).nbytes
