"""Updates of a simulation go through the codec that the settings name."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.codecs.payload import numbers_of, size_bounds
from schemas.tensors import Floats, update_floats
from settings import load
from simulation.planning.crowd import Crowd
from simulation.planning.devices import SETS
from simulation.planning.encoding import EncodedTraining
from simulation.planning.experiment import Experiment, Limits, Setup
from simulation.planning.learners import LearnerTraining
from simulation.planning.training import Errand, Synthetic, Trained
from tests.simulation.planning.softmax import Softmax


def errand(number: int = 0) -> Errand:
    return Errand(worker=2, number=number, version=0, examples=60)


def numbers(trained: Trained, training: EncodedTraining) -> Floats:
    layout = training.layout
    assert layout is not None
    found = numbers_of(trained.payload, trained.codec, layout, trained.update_id)
    return found.read(0, found.size)


@pytest.mark.parametrize("codec", ["fp32", "bf16", "int8+zstd", "int4"])
def test_an_update_arrives_as_near_as_its_codec_comes(codec: str) -> None:
    plain = LearnerTraining(Softmax(), 12, seed=1)
    training = EncodedTraining(plain, codec)
    trained = training.train(errand(), training.initial())
    sent = update_floats(plain.train(errand(), plain.initial()).payload, plain.layout)
    apart = np.linalg.norm(numbers(trained, training) - sent) / np.linalg.norm(sent)
    assert apart < {"fp32": 1e-9, "bf16": 3e-3, "int8+zstd": 0.03, "int4": 0.5}[codec]
    assert trained.codec == codec


def test_what_one_update_leaves_out_is_in_the_next_of_its_worker() -> None:
    plain = LearnerTraining(Softmax(), 12, seed=1)
    training = EncodedTraining(plain, "topk:0.2")
    total = np.zeros(plain.layout.num_floats, np.float32)
    trained = np.zeros_like(total)
    for number in range(40):
        total += numbers(training.train(errand(number), training.initial()), training)
        payload = plain.train(errand(number), plain.initial()).payload
        trained += update_floats(payload, plain.layout)
    assert np.linalg.norm(total - trained) < 0.2 * np.linalg.norm(trained)


def test_what_a_task_moves() -> None:
    plain = LearnerTraining(Softmax(), 12, seed=1)
    model, update = plain.layout.num_bytes, plain.layout.update_bytes
    assert EncodedTraining(plain, "fp32").moved_bytes() == model + update
    assert EncodedTraining(plain, "int8").moved_bytes() < model + update / 3
    assert EncodedTraining(plain, "fp32", "bf16").moved_bytes() == model / 2 + update
    packed = EncodedTraining(plain, "topk:0.3+zstd")
    least, most = size_bounds("topk:0.3+zstd", plain.layout)
    assert least <= packed.moved_bytes() - model <= most
    again = EncodedTraining(plain, "topk:0.3+zstd")
    assert packed.train(errand(), packed.initial()) == again.train(errand(), again.initial())


def test_a_model_without_parameters_has_nothing_to_encode() -> None:
    training = EncodedTraining(Synthetic(), "int4")
    assert training.moved_bytes() == 0
    assert training.train(errand(), b"").payload == b""


def test_a_worker_trains_on_the_model_as_it_arrives() -> None:
    plain = LearnerTraining(Softmax(), 12, seed=1)
    model = np.full(plain.layout.num_floats, 1.001, np.float32)
    rounded = np.full(plain.layout.num_floats, 1.0, np.float32)  # in 8 bits
    came = EncodedTraining(plain, "fp32", "bf16").train(errand(), model.tobytes())
    assert came == plain.train(errand(), rounded.tobytes())


@pytest.mark.parametrize("codec", ["bf16", "int4+zstd", "int2", "topk:0.2"])
def test_a_federation_learns_from_encoded_updates(codec: str) -> None:
    training = EncodedTraining(LearnerTraining(Softmax(), 12, seed=1), codec)
    values = {"rounds.goal": 4, "rounds.concurrency": 6, "run.rounds": 12}
    setup = Setup.of("", load(None, {}, values))
    crowd = Crowd(SETS["ideal"], 12, 1)
    report = Experiment(setup, crowd, training, 1, Limits(1e9)).run()
    assert report.updates >= 48
    assert report.accuracy is not None
    assert report.accuracy > 0.6
