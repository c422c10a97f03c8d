"""Model versions are safetensors files that come back bit for bit."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from safetensors.numpy import load_file, save_file

from coordinator.errors import RunError, StoreError
from coordinator.models import ModelFolder, from_safetensors, load_initial, to_safetensors
from schemas.digest import digest_of
from schemas.errors import LayoutError
from schemas.layout import DTYPES
from schemas.tensors import BFLOAT16, Array, flatten, layout_of, unflatten
from simulation.disk import SimulatedDisk
from simulation.mishaps import Mishaps
from simulation.platter import Platter
from tests.schemas.strategies import parameter_sets

RUN_ID = "0123456789abcdef" * 2
EVERY_DTYPE: dict[str, Array] = {
    f"a {name}": np.arange(6, dtype="u1").astype(name).reshape(2, 3)
    for name in DTYPES
    if name != "bfloat16"
} | {
    "a bfloat16": np.array([0x3F80, 0x7FC0], "<u2").view(BFLOAT16),
    "a scalar": np.array(3, np.int64),
    "nothing": np.zeros((0, 3), np.float32),
    "nothing of its dtype": np.zeros((2, 0), np.uint32),
    "": np.ones(1, np.float32),
}
LAYOUT = layout_of(EVERY_DTYPE)
MODEL = flatten(EVERY_DTYPE, LAYOUT)


@pytest.fixture
def models(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "models")


def test_a_version_of_every_dtype_comes_back(models: ModelFolder) -> None:
    file = models.write(RUN_ID, 3, [MODEL], LAYOUT).file
    assert models.read(file, LAYOUT, digest_of(MODEL)) == MODEL
    assert models.path(file).name == "000003.safetensors"


@given(parameter_sets())
def test_any_parameters_come_back_bit_for_bit(arrays: dict[str, Array]) -> None:
    layout = layout_of(arrays)
    model = flatten(arrays, layout)
    assert flatten(from_safetensors(to_safetensors(model, layout)), layout) == model


def test_a_version_is_read_by_other_tools(models: ModelFolder) -> None:
    arrays = {name: array for name, array in EVERY_DTYPE.items() if array.dtype != BFLOAT16}
    layout = layout_of(arrays)
    path = models.path(models.write(RUN_ID, 0, [flatten(arrays, layout)], layout).file)
    read = load_file(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)


def test_a_bfloat16_is_read_by_torch_as_one(models: ModelFolder) -> None:
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    path = models.path(models.write(RUN_ID, 0, [MODEL], LAYOUT).file)
    tensor = safetensors_torch.load_file(path)["a bfloat16"]
    assert tensor.dtype == torch.bfloat16
    assert tensor[0] == 1.0


def test_the_same_model_is_the_same_file() -> None:
    shuffled = dict(reversed(EVERY_DTYPE.items()))
    assert to_safetensors(flatten(shuffled, layout_of(shuffled)), LAYOUT) == to_safetensors(
        bytes(MODEL), LAYOUT
    )


def test_a_file_with_other_numbers_is_damaged(models: ModelFolder) -> None:
    file = models.write(RUN_ID, 0, [MODEL], LAYOUT).file
    path = models.path(file)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged"):
        models.read(file, LAYOUT, digest_of(MODEL))


@pytest.mark.parametrize("keep", [0, 4, 8, 100, -1])
def test_a_file_that_was_cut_cannot_be_read(models: ModelFolder, keep: int) -> None:
    file = models.write(RUN_ID, 0, [MODEL], LAYOUT).file
    path = models.path(file)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match="cannot be read") as caught:
        models.read(file, LAYOUT, digest_of(MODEL))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_or_holds_another_model_cannot_be_read(models: ModelFolder) -> None:
    with pytest.raises(StoreError, match="cannot be read"):
        models.read(f"{RUN_ID}/000000.safetensors", LAYOUT, digest_of(MODEL))
    file = models.write(RUN_ID, 0, [MODEL], LAYOUT).file
    other = layout_of({"w": np.ones(1, np.float32)})
    with pytest.raises(StoreError, match="cannot be read"):
        models.read(file, other, digest_of(MODEL))


def test_a_version_written_again_replaces_the_old_file_whole(models: ModelFolder) -> None:
    file = models.write(RUN_ID, 0, [bytes(LAYOUT.num_bytes)], LAYOUT).file
    before = os.stat(models.path(file)).st_ino
    assert models.write(RUN_ID, 0, [MODEL], LAYOUT).file == file
    assert os.stat(models.path(file)).st_ino != before, "it was written in place"
    assert models.read(file, LAYOUT, digest_of(MODEL)) == MODEL
    assert [path.name for path in models.path(file).parent.iterdir()] == ["000000.safetensors"]


@pytest.mark.parametrize("seed", range(10))
def test_a_version_outlives_a_power_cut(seed: int) -> None:
    platter = Platter()
    models = ModelFolder(Path("/state/models"), SimulatedDisk(platter, Mishaps()))
    file = models.write(RUN_ID, 3, [MODEL], LAYOUT).file
    platter.cut_power(random.Random(seed))
    assert models.read(file, LAYOUT, digest_of(MODEL)) == MODEL


def test_the_folder_of_a_run_is_synced_with_its_first_version_only() -> None:
    mishaps = Mishaps()
    models = ModelFolder(Path("/state/models"), SimulatedDisk(Platter(), mishaps))
    synced = []
    for version in range(2):
        mishaps.names = []
        models.write(RUN_ID, version, [MODEL], LAYOUT)
        synced.append([name for name in mishaps.names if name.startswith("sync folder")])
    assert "sync folder models" in synced[0]
    assert synced[1] == [f"sync folder {RUN_ID}"]


def test_a_folder_that_somebody_took_away_is_made_again(models: ModelFolder) -> None:
    file = models.write(RUN_ID, 0, [MODEL], LAYOUT).file
    shutil.rmtree(models.path(file).parent)
    file = models.write(RUN_ID, 1, [MODEL], LAYOUT).file
    assert models.read(file, LAYOUT, digest_of(MODEL)) == MODEL


def test_versions_of_two_runs_lie_apart_and_one_is_forgotten(models: ModelFolder) -> None:
    one = models.write(RUN_ID, 0, [MODEL], LAYOUT).file
    other = models.write("f" * 32, 0, [MODEL], LAYOUT).file
    for _ in range(2):
        models.forget_before(RUN_ID, 1)
    assert not models.path(one).exists()
    assert models.read(other, LAYOUT, digest_of(MODEL)) == MODEL


def test_versions_are_kept_however_old_they_are(models: ModelFolder) -> None:
    for version in range(5):
        models.write(RUN_ID, version, [MODEL], LAYOUT)
    models.forget_before(RUN_ID, 4, {-1, 0, 2, 9})
    assert [models.holds(RUN_ID, version) for version in range(6)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def kept(models: ModelFolder) -> list[int]:
    return [version for version in range(9) if models.holds(RUN_ID, version)]


def test_what_was_kept_all_the_same_goes_when_nothing_keeps_it(models: ModelFolder) -> None:
    for version in range(8):
        models.write(RUN_ID, version, [MODEL], LAYOUT)
        models.write_state(RUN_ID, version, {"s": np.zeros(2, np.float32)})
    models.forget_before(RUN_ID, 4, {1, 3})
    assert kept(models) == [1, 3, 4, 5, 6, 7]
    models.forget_before(RUN_ID, 5, {3, 4})
    assert kept(models) == [3, 4, 5, 6, 7]
    models.forget_before(RUN_ID, 4)  # more are to be kept from now on
    assert kept(models) == [4, 5, 6, 7]
    models.forget_before(RUN_ID, 7)
    assert kept(models) == [7]
    left = sorted(path.name for path in models.path(RUN_ID).iterdir())
    assert left == ["000007.safetensors", "000007.state"]


def test_what_a_crash_left_goes_with_the_first_that_are_forgotten(models: ModelFolder) -> None:
    models.write(RUN_ID, 3, [MODEL], LAYOUT)
    for number in (1, 3):
        (models.path(RUN_ID) / f".partial-{number:06d}.safetensors").write_bytes(b"half")
    models.forget_before(RUN_ID, 0)
    models.forget_before(RUN_ID, 2)
    left = sorted(path.name for path in models.path(RUN_ID).iterdir())
    assert left == [".partial-000003.safetensors", "000003.safetensors"]


def test_the_initial_model_is_read_from_a_file_of_another_tool(tmp_path: Path) -> None:
    arrays = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}
    save_file(arrays, tmp_path / "model.safetensors")
    layout = layout_of(arrays)
    model = load_initial(tmp_path / "model.safetensors", layout)
    assert np.array_equal(unflatten(model, layout)["w"], arrays["w"])


@pytest.mark.parametrize(
    "arrays",
    [
        {"v": np.ones(3, np.float32)},
        {"w": np.ones(4, np.float32)},
        {"w": np.ones(3, np.float64)},
        {"w": np.ones(3, np.float32), "more": np.ones(1, np.float32)},
    ],
)
def test_an_initial_model_that_does_not_fit_the_learner_is_refused(
    tmp_path: Path, arrays: dict[str, Array]
) -> None:
    path = tmp_path / "model.safetensors"
    save_file(arrays, path)
    with pytest.raises(RunError, match=r"run\.initial: .* is not this learner's model") as caught:
        load_initial(path, layout_of({"w": np.ones(3, np.float32)}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [None, b"", b"Dear diary", b"\xff" * 100])
def test_an_initial_model_that_is_no_model_is_refused(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "model.safetensors"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(RunError, match=r"run\.initial"):
        load_initial(path, layout_of({"w": np.ones(3, np.float32)}))


def test_a_dtype_that_parameters_cannot_have_is_refused() -> None:
    header = b'{"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}'
    with pytest.raises(LayoutError, match="F8_E4M3"):
        from_safetensors(len(header).to_bytes(8, "little") + header + b"\0")
