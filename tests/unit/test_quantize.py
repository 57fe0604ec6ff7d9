# SPDX-License-Identifier: Apache-2.0
"""Uniform and dead-zone quantisation, and the one product that undoes them."""

from __future__ import annotations

import numpy as np
import pytest

from fl_deepcabac.errors import LevelCoderError
from fl_deepcabac.quantize import quantize


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
