"""What travels, as the settings say: the model in 16 bits, updates in any codec and any mix."""

from __future__ import annotations

import numpy as np
import pytest

from coordinator import evaluation
from coordinator.startup import Surroundings
from depot import model_name
from schemas.buffer import Buffer
from schemas.codecs.model import decode_model
from schemas.tensors import unflatten
from simulation.depot import SimulatedDepot
from tests.coordinator.world import MakeWorld, World
from tests.support.errands import PromptPorter

KEPT = {"run__rounds": 9, "rounds__concurrency": 4}


def near(world: World, data: Buffer, codec: str) -> bool:
    """Whether what travels is nearly version 1."""
    came = unflatten(bytearray(decode_model(data, world.layout, codec)), world.layout)
    sent = unflatten(bytearray(world.model(1)), world.layout)
    return all(np.allclose(came[name], sent[name], rtol=2**-8) for name in sent)


@pytest.mark.parametrize("codec", ["bf16", "fp16"])
def test_a_version_travels_in_the_codec_and_is_named_by_what_it_is(
    make_world: MakeWorld, codec: str
) -> None:
    world = make_world(wire__model_codec=codec, size=300, **KEPT)
    world.round(0.1, 1 / 3)
    worker = world.somebody()
    task, start = world.begin_task(worker)
    row = world.version_row(1)
    assert (start.model_codec, start.base_digest) == (codec, row.digest)
    assert start.model_digest == row.stream_digest != row.digest
    assert start.model_bytes == row.stream_bytes < 0.6 * row.num_bytes
    data = worker.read_model(start)
    assert data is not None
    assert near(world, data, codec)
    update_id = world.finish_task(worker, task, start, 1.0)
    assert world.ledger(update_id).verdict == "counted"


def test_without_a_codec_what_travels_is_the_version(make_world: MakeWorld) -> None:
    world = make_world(**KEPT)
    _, start = world.begin_task(world.somebody())
    row = world.version_row(0)
    assert (start.model_codec, start.base_digest) == ("fp32", None)
    assert start.model_digest == row.stream_digest == row.digest
    assert start.version_digest == row.digest


@pytest.mark.parametrize("codec", ["fp32", "bf16"])
def test_a_coordinator_that_returns_names_what_it_had_published(
    make_world: MakeWorld, codec: str
) -> None:
    world = make_world(wire__model_codec=codec, size=300, **KEPT)
    world.round(0.1, 1 / 3)
    world.restart()
    worker = world.somebody()
    _, start = world.begin_task(worker)
    assert start.model_digest == world.version_row(1).stream_digest
    assert worker.read_model(start) is not None


def test_another_codec_is_that_of_the_next_version(make_world: MakeWorld) -> None:
    world = make_world(wire__model_codec="bf16", size=300, **KEPT)
    world.change(wire__model_codec="fp32")
    world.restart()
    worker = world.somebody()
    begun = world.begin_task(worker)
    assert begun[1].model_codec == "bf16"
    assert worker.read_model(begun[1]) is not None
    world.finish_task(worker, *begun, 1.0)
    world.answer(world.somebody(), 2.0)
    _, start = world.begin_task(world.somebody())
    assert (start.base_version, start.model_codec) == (1, "fp32")
    assert start.model_digest == world.version_row(1).digest


def test_the_numbers_of_a_version_owe_nothing_to_how_it_travels(make_world: MakeWorld) -> None:
    models = []
    for codec in ("fp32", "bf16"):
        world = make_world(wire__model_codec=codec, **KEPT)
        world.round(0.1, 1 / 3)
        world.round(0.7, -2.0)
        models.append(world.model(2))
    assert models[0] == models[1]


def test_in_a_depot_lies_what_travels(make_world: MakeWorld) -> None:
    depot = SimulatedDepot(clock=lambda: 1_000_000.0)
    around = Surroundings(
        initial_of=evaluation.initial_of,
        depot_of=lambda settings: depot,
        porter_of=lambda name: PromptPorter(),
    )
    world = make_world(
        around=around, size=300, depot__min_bytes=1024, wire__model_codec="bf16", **KEPT
    )
    world.round(0.1, 1 / 3)
    row = world.version_row(1)
    data = depot.objects[model_name(row.stream_digest)]
    assert near(world, data, "bf16")
    assert model_name(world.version_row(0).stream_digest) in depot.objects  # one is kept beside


def test_any_mix_of_codecs_is_added_up(make_world: MakeWorld) -> None:
    world = make_world(wire__codec="bf16", rounds__goal=3, **KEPT)
    sent = [world.answer(world.somebody(), 1.0)]
    for codec in ("int8+zstd", "topk:0.9"):
        world.change(wire__codec=codec)
        world.restart()
        # A task that was offered before asks for what it was offered with.
        sent += [world.answer(world.somebody(), 1.0)]
    assert {world.ledger(update_id).verdict for update_id in sent} == {"counted"}
    assert world.version == 1
