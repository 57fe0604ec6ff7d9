# SPDX-License-Identifier: Apache-2.0
"""Quantisers that look at no context, and the one product that undoes them."""

from __future__ import annotations

import numpy as np
import pytest

from fl_deepcabac import CodecConfig, Schema, UpdateEncoder
from fl_deepcabac.config import QuantizerName
from fl_deepcabac.errors import LevelCoderError
from fl_deepcabac.quantize import choose_levels, draws_for, quantize, quantize_by_chance


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_uniform_takes_the_nearest_level_and_ties_go_outwards() -> None:
    values = f32(0, 0.24, 0.25, 0.26, 0.74, 0.75, -0.24, -0.25, -0.75, -1.0)
    assert quantize(values, 0.5).tolist() == [0, 0, 1, 1, 1, 2, 0, -1, -2, -2]


def test_dead_zone_rounds_every_level_towards_zero() -> None:
    values = f32(0.59, 0.61, 1.59, 1.61, -0.59, -2.61)
    assert quantize(values, 1.0, dead_zone=0.6).tolist() == [0, 1, 1, 2, 0, -3]


@pytest.mark.parametrize("level", [2**23 - 1, 2**23 + 1, 2**24 - 1, 2**24])
def test_large_levels_are_not_rounded_to_their_neighbours(level: int) -> None:
    assert quantize(f32(level, -level), 1.0).tolist() == [level, -level]


@pytest.mark.parametrize(
    ("value", "code"), [(np.nan, 10), (np.inf, 10), (-np.inf, 10), (2.0**25, 11)]
)
def test_values_without_a_level_are_refused(value: float, code: int) -> None:
    with pytest.raises(LevelCoderError) as caught:
        quantize(f32(0, value, 0), 1.0)
    assert (caught.value.code, caught.value.position) == (code, 1)


def test_empty_input_gives_empty_output() -> None:
    assert quantize(f32(), 1.0).shape == (0,)


@pytest.mark.parametrize("values", [np.zeros(3), np.zeros(6, np.float32)[::2], [0.0]])
def test_quantize_never_converts_an_array(values: object) -> None:
    with pytest.raises(TypeError):
        quantize(values, 1.0)


def test_levels_by_chance_are_neighbours_and_right_on_average() -> None:
    values = f32(0.0, 0.3, -0.3, 1.0, -2.75, 1e-4)
    draws = [np.full(values.size, (i + 0.5) / 4000, np.float32) for i in range(4000)]
    levels = np.array([quantize_by_chance(values, 0.5, each) for each in draws])
    np.testing.assert_allclose(levels.mean(axis=0), values / 0.5, atol=3e-4)
    exact = np.abs(values) / 0.5
    assert (np.abs(levels) >= np.floor(exact)).all()
    assert (np.abs(levels) <= np.ceil(exact)).all()


def test_draws_are_fair_and_those_of_their_update() -> None:
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    draws = draws_for(values, b"state")
    assert draws.dtype == np.float32
    assert 0 <= draws.min() < draws.max() < 1
    assert abs(float(draws.mean()) - 0.5) < 0.005
    assert abs(float(np.corrcoef(draws[1:], draws[:-1])[0, 1])) < 0.01
    assert abs(float(np.corrcoef(draws, values)[0, 1])) < 0.01
    np.testing.assert_array_equal(draws_for(values.copy(), b"state"), draws)
    # Another round, or another client: other errors, which can average out.
    for others in (draws_for(values, b"later"), draws_for(-values, b"state")):
        assert abs(float(np.corrcoef(others, draws)[0, 1])) < 0.01


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**25])
def test_values_without_a_level_have_none_by_chance(value: float) -> None:
    with pytest.raises(LevelCoderError) as caught:
        quantize_by_chance(f32(0, value, 0), 1.0, f32(0, 0, 0))
    assert (caught.value.code, caught.value.position) == (11, 1)


@pytest.mark.parametrize("quantizer", ["deadzone", "uniform", "stochastic"])
def test_place_of_a_value_without_a_level_is_that_among_all(quantizer: QuantizerName) -> None:
    schema = Schema.from_arrays({"a": f32(1, 2), "b": f32(1, 2, 3)})
    with pytest.raises(LevelCoderError) as caught:
        choose_levels(
            f32(1, 2, 3, 2.0**26, 5),
            f32(1, 1),
            schema=schema,
            config=CodecConfig(quantizer=quantizer),
            salt=b"",
        )
    assert caught.value.position == 3


def test_many_updates_by_chance_add_up_to_what_was_sent() -> None:
    rng = np.random.default_rng(4)
    update = {"w": rng.normal(0, 0.01, (40, 50)).astype(np.float32)}
    schema = Schema.from_arrays(update)
    encoder = UpdateEncoder(schema, CodecConfig(relative_step=8.0, quantizer="stochastic"))
    decoded = np.mean([encoder.encode(update).decoded["w"] for _ in range(400)], axis=0)
    # The deviation of one is below sqrt(8) root mean squares a value, that of the mean a 20th.
    error = float(np.sqrt(np.mean((decoded - update["w"]) ** 2)))
    assert error < 1.2 * 0.01 * 8**0.5 / 20


def test_levels_by_chance_feed_nothing_back() -> None:
    assert not CodecConfig(quantizer="stochastic").error_feedback
    assert not CodecConfig(quantizer="stochastic", error_feedback=True).error_feedback
    assert CodecConfig().error_feedback
