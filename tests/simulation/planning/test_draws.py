from __future__ import annotations

import numpy as np

from simulation.planning.draws import Stream

WORKERS = np.arange(20_000)


def test_one_and_many_draw_the_same_numbers() -> None:
    stream = Stream(7, "a purpose")
    many = stream.uniforms(WORKERS[:50], np.arange(-25, 25))
    one = [stream.uniform(worker, worker - 25) for worker in range(50)]
    assert many.tolist() == one


def test_a_number_does_not_depend_on_what_was_asked_before() -> None:
    stream = Stream(7, "a purpose")
    before = stream.uniform(3, 4)
    for worker in range(100):
        stream.uniform(worker)
    assert stream.uniform(3, 4) == before
    assert Stream(7, "a purpose").uniform(3, 4) == before


def test_uniform_numbers_are_uniform_and_never_0_or_1() -> None:
    drawn = Stream(1, "x").uniforms(WORKERS)
    counts, _ = np.histogram(drawn, 20, (0.0, 1.0))
    assert drawn.min() > 0.0
    assert drawn.max() < 1.0
    # Chi-squared with 19 degrees of freedom: above 43.8 once in a thousand.
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 43.8


def test_purposes_seeds_and_numbers_are_independent() -> None:
    base = Stream(1, "x").uniforms(WORKERS)
    others = [
        Stream(1, "y").uniforms(WORKERS),
        Stream(2, "x").uniforms(WORKERS),
        Stream(1, "x").uniforms(WORKERS, 1),
        Stream(1, "x").uniforms(WORKERS + 1),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / np.sqrt(WORKERS.size)


def test_normal_and_exponential_numbers_have_their_moments() -> None:
    stream = Stream(5, "x")
    normal = np.array([stream.normal(worker) for worker in range(20_000)])
    exponential = np.array([stream.exponential(worker) for worker in range(20_000)])
    assert abs(normal.mean()) < 0.03
    assert abs(normal.std() - 1) < 0.03
    assert abs(exponential.mean() - 1) < 0.03
    assert abs(exponential.std() - 1) < 0.05
