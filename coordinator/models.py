"""Model versions on disk, as safetensors files that other tools read too.

Behind its header such a file holds the flat buffer as it is. So a version is written block after
block, and it is read, published and averaged with in place.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, TensorSpec, deserialize, serialize

from coordinator.errors import Damaged, NotKept, RunError, StoreError
from disk import (
    OS_DISK,
    Disk,
    chunks_of,
    let_go,
    make_folders,
    write_chunks_durably,
    write_durably,
)
from disk.durable import PARTIAL
from schemas.buffer import Buffer
from schemas.codecs.numbers import spans
from schemas.digest import RunningDigest, digest_of, digest_of_stream
from schemas.errors import LayoutError
from schemas.frame import ALIGNMENT
from schemas.layout import DTYPES, FLOATS, Layout
from schemas.tensors import BFLOAT16, as_float32, dtype_name, flatten, unflatten

_NUMPY: dict[str, Any] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "U64": "<u8",
    "I32": "<i4",
    "U32": "<u4",
    "I16": "<i2",
    "U16": "<u2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "bool",
}
_OURS = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "uint64": "U64",
    "int32": "I32",
    "uint32": "U32",
    "int16": "I16",
    "uint16": "U16",
    "int8": "I8",
    "uint8": "U8",
    "bool": "BOOL",
}
_LENGTH = struct.Struct("<Q")


class Written(NamedTuple):
    """A version on disk.

    Attributes:
        file: Its file's name, relative to the folder.
        digest: Of its flat buffer.
    """

    file: str
    digest: str


class ModelFolder:
    """The files of model versions: `models/<run id>/<version>.safetensors`."""

    def __init__(self, folder: Path, disk: Disk = OS_DISK) -> None:
        self._folder = folder
        self._disk = disk
        self._made: set[Path] = set()  # folders that were made durable by this process
        # Below which version of a run none is left, but for which.
        self._forgotten: dict[str, tuple[int, set[int]]] = {}

    def write(self, run_id: str, version: int, blocks: Iterable[Buffer], layout: Layout) -> Written:
        """Write a version, durable on return.

        Args:
            run_id: The run.
            version: Its number.
            blocks: Its flat buffer in consecutive pieces, each used before the next is asked for.
            layout: Of the model.
        """
        name = _name(run_id, version)
        path = self._folder / name
        self._make(path.parent)
        running = RunningDigest()

        def chunks() -> Iterator[Buffer]:
            yield head_of(layout)
            for block in blocks:
                running.update(block)
                yield block

        write_chunks_durably(self._disk, path, chunks())
        return Written(name, running.digits())

    def _make(self, folder: Path) -> None:
        """Make the folder of a run; its entries above are synced once, not with each version."""
        if folder not in self._made or not self._disk.is_folder(folder):
            make_folders(self._disk, self._folder)
            make_folders(self._disk, folder)
            self._made.add(folder)

    def view(self, file: str, layout: Layout) -> memoryview:
        """The flat buffer of a version that was just written or read, in place.

        Raises:
            NotKept: If the file is gone.
            Damaged: If it is not a version of that layout.
            StoreError: If the disk does not give it.
        """
        path, head = self._folder / file, head_of(layout)
        try:
            whole = self._disk.map(path)
        except FileNotFoundError as error:
            raise NotKept(f"{path} cannot be read: it is gone") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        size = len(head) + layout.num_bytes
        if whole.nbytes != size:
            raise Damaged(f"{path} cannot be read: expected {size} bytes, came {whole.nbytes}")
        if whole[: len(head)] != head:
            raise Damaged(f"{path} cannot be read: it holds another model")
        return whole[len(head) :]

    def read(self, file: str, layout: Layout, digest: str) -> memoryview:
        """The flat buffer of a version, in place, once it is known to be what was written.

        Raises:
            NotKept: If the file is gone.
            Damaged: If it is not what was written.
            StoreError: If the disk does not give it.
        """
        model = self.view(file, layout)
        if digest_of_stream(chunks_of(model)) != digest:
            path = self._folder / file
            raise Damaged(f"{path} is damaged: its digest is not {digest[:12]}…")
        return model

    def write_state(
        self, run_id: str, version: int, state: Mapping[str, NDArray[Any]]
    ) -> tuple[str, str]:
        """Write what a version's successor needs of it, durable on return.

        Returns:
            The file's name, relative to the folder, and the digest of what is in it.
        """
        name = f"{run_id}/{_names(version)[1]}"
        data = to_safetensors_of(state)
        write_durably(self._disk, self._folder / name, data)
        return name, digest_of(data)

    def read_state(self, file: str, digest: str) -> dict[str, NDArray[Any]]:
        """What a version handed on: arrays that may be written to.

        Raises:
            NotKept: If the file is gone.
            Damaged: If it is not what was written.
            StoreError: If the disk does not give it.
        """
        path = self._folder / file
        try:
            data = self._disk.read(path)
        except FileNotFoundError as error:
            raise NotKept(f"{path} cannot be read: it is gone") from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        if digest_of(data) != digest:
            raise Damaged(f"{path} is damaged: its digest is not {digest[:12]}…")
        return {name: array.copy() for name, array in from_safetensors(data).items()}

    def path(self, file: str) -> Path:
        """Where a version's file is."""
        return self._folder / file

    def holds(self, run_id: str, version: int) -> bool:
        """Whether the file of a version is there."""
        return self._disk.size(self._folder / _name(run_id, version)) is not None

    def forget_before(self, run_id: str, version: int, but: Collection[int] = ()) -> None:
        """Delete the files of a run's versions below one, and what a crash left of them.

        Args:
            run_id: The run.
            version: The first that is kept.
            but: Those below it that are kept too.
        """
        if version <= 0:
            return
        if run_id in self._forgotten:  # to list a folder of many takes longer than all else
            first, spared = self._forgotten[run_id]
            old = {number for number in (*spared, *range(first, version)) if number < version}
            gone = [name for number in old.difference(but) for name in _names(number)]
        else:
            found = [(name, _number_of(name)) for name in self._disk.names(self._folder / run_id)]
            old = {number for _, number in found if 0 <= number < version}
            gone = [name for name, number in found if number in old.difference(but)]
        for name in gone:
            self._disk.remove(self._folder / run_id / name)
        self._forgotten[run_id] = version, old.intersection(but)


def _name(run_id: str, version: int) -> str:
    return f"{run_id}/{_names(version)[0]}"


def _names(version: int) -> tuple[str, str]:
    """What a version's files are called: its model's, and of what its successor needs."""
    return f"{version:06d}.safetensors", f"{version:06d}.state"


def _number_of(name: str) -> int:
    """The version that a file is of, whole or what a crash left of it; -1 for any other file."""
    number, _, _ = name.removeprefix(PARTIAL).partition(".")
    return int(number) if number.isdecimal() else -1


def first_kept(newest: int, keep_versions: int) -> int:
    """The first version of a run whose file `coordinator.keep_versions` keeps; may be negative."""
    return newest - keep_versions + 1


def head_of(layout: Layout) -> bytes:
    """A safetensors file of a layout, up to the numbers: those are its flat buffer."""
    described = {
        entry.name: {
            "dtype": _OURS[entry.dtype],
            "shape": entry.shape,
            "data_offsets": (offset, offset + DTYPES[entry.dtype] * entry.count),
        }
        for entry, offset in zip(layout.entries, layout.offsets(), strict=True)
    }
    header = json.dumps(described, ensure_ascii=False, separators=(",", ":")).encode()
    header += b" " * (-(_LENGTH.size + len(header)) % ALIGNMENT)
    return _LENGTH.pack(len(header)) + header


def to_safetensors(model: Buffer, layout: Layout) -> bytes:
    """A flat buffer as a safetensors file."""
    return b"".join((head_of(layout), model))


def to_safetensors_of(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays, each contiguous, as a safetensors file."""
    specs = {
        name: TensorSpec(
            dtype=dtype_name(array),
            shape=array.shape,
            data_ptr=array.ctypes.data,
            data_len=array.nbytes,
        )
        for name, array in arrays.items()
    }
    return bytes(serialize(specs, None))


def from_safetensors(data: bytes) -> dict[str, NDArray[Any]]:
    """The named arrays of a safetensors file.

    Raises:
        SafetensorError: If it is not one.
        LayoutError: If it holds a dtype that parameters cannot have.
    """
    arrays = {}
    for name, view in deserialize(data):
        if view["dtype"] not in _NUMPY:
            raise LayoutError(f"{name}: parameters cannot be of dtype {view['dtype']}")
        numbers = np.frombuffer(view["data"], _NUMPY[view["dtype"]])
        arrays[name] = numbers.reshape(view["shape"])
    return arrays


def require_finite(model: Buffer, layout: Layout) -> None:
    """Check that a run can begin with a model.

    Raises:
        RunError: Naming the first array that holds NaN or infinity: no training mends it.
    """
    arrays = unflatten(model, layout)
    for entry in layout.entries:
        if entry.dtype in FLOATS:
            numbers = arrays[entry.name].reshape(-1)
            for start, stop in spans(entry.count):
                block = numbers[start:stop]
                floats = as_float32(block) if entry.dtype == "bfloat16" else block
                if not np.isfinite(floats).all():
                    raise RunError(f"the initial model's {entry.name!r} holds NaN or infinity")
                let_go(model)


def load_initial(path: Path, layout: Layout) -> Buffer:
    """The initial model from a file, laid out as the learner's; of a version's file in place.

    Raises:
        RunError: If the file cannot be read or holds another model.
    """
    head = head_of(layout)
    try:
        whole = OS_DISK.map(path)
        if whole.nbytes == len(head) + layout.num_bytes and whole[: len(head)] == head:
            return whole[len(head) :]
        return flatten(from_safetensors(bytes(whole)), layout)
    except OSError as error:
        raise RunError(f"run.initial: {path} cannot be read: {error.strerror}") from error
    except (SafetensorError, LayoutError) as error:
        raise RunError(f"run.initial: {path} is not this learner's model: {error}") from error
