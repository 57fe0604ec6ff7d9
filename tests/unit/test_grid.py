# SPDX-License-Identifier: Apache-2.0
"""Weights on a grid add up and are coded exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fl_deepcabac as dc
from fl_deepcabac.codec import decode_update, encode_update
from fl_deepcabac.grid import encode_exactly, grid_of, round_to_grid
from fl_deepcabac.stream import StreamState

SHAPES = {"w": (40, 30), "b": (40,), "h": (9, 7), "d": (5, 5), "none": (0, 4)}
DTYPES = {"w": "f4", "b": "f4", "h": "f2", "d": "f8", "none": "f4"}


def model(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    floats = {
        name: (rng.standard_t(3, shape) * 10.0 ** rng.integers(-3, 2)).astype(DTYPES[name])
        for name, shape in SHAPES.items()
    }
    return {**floats, "n": np.array(seed), "mask": rng.integers(0, 2, 6).astype(bool)}


@pytest.mark.parametrize(
    ("values", "grid"),
    [([0.75, -0.5, 3.0], 0.25), ([0.0, 6.0], 2.0), ([0.0], 1.0), ([], 1.0), ([2.0**-140], 2**-140)],
)
def test_grid_is_the_largest_power_of_two_that_divides_all(
    values: list[float], grid: float
) -> None:
    assert grid_of(np.array(values, np.float32)) == grid


@given(st.lists(st.integers(-(2**24), 2**24), min_size=1), st.integers(-60, 60))
def test_grid_of_multiples_is_no_finer_than_their_unit(counts: list[int], exponent: int) -> None:
    values = np.array(counts, np.float32) * np.float32(2.0**exponent)
    grid = grid_of(values)
    assert np.array_equal(np.rint(values / grid) * grid, values)
    assert grid >= 2.0**exponent or not values.any()


@pytest.mark.parametrize("profile", ["fast", "max"])
def test_sums_of_updates_on_the_grid_are_coded_exactly(profile: Any) -> None:
    start = model(1)
    schema = dc.Schema.from_arrays(start)
    weights = round_to_grid(start, schema, relative_step=1 / 32)
    for name in ("w", "b"):
        rms = np.sqrt(np.mean(np.square(start[name])))
        assert np.abs(weights[name] - start[name]).max() <= rms / 32 * 0.75
    config = dc.CodecConfig(relative_step=2.0, profile=profile)
    sender = StreamState.fresh(schema, profile)
    for seed in range(2, 8):
        update = {
            name: (0.1 * tensor).astype(tensor.dtype) if tensor.dtype.kind == "f" else tensor
            for name, tensor in model(seed).items()
        }
        coded = encode_update(update, schema=schema, config=config, state=sender, on_grid=True)
        sender = coded.state
        for spec in schema.level_tensors:
            sums = weights[spec.name] + coded.decoded[spec.name]
            weights[spec.name] = sums.astype(spec.dtype)
        for spec in schema.exact_tensors:
            weights[spec.name] = coded.decoded[spec.name]
        assert all(
            np.log2(tensor.step) == round(np.log2(tensor.step))
            for tensor in coded.report.tensors
            if tensor.step is not None
        )
        packet = encode_exactly(weights, schema=schema, profile=profile)
        assert packet is not None
        fresh = StreamState.fresh(schema, profile)
        decoded = decode_update(packet, schema=schema, state=fresh).update
        assert {name: array.tobytes() for name, array in decoded.items()} == {
            name: np.asarray(array).tobytes() for name, array in weights.items()
        }


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0**-30],  # more than 2**24 steps
        [np.nan, 1.0],
        [np.inf, 1.0],
        [-0.0, 1.0],
    ],
)
def test_what_is_on_no_grid_is_not_coded(values: list[float]) -> None:
    arrays = {"w": np.array(values, np.float32)}
    schema = dc.Schema.from_arrays(arrays)
    assert encode_exactly(arrays, schema=schema, profile="fast") is None


def test_float64_beyond_float32_is_not_coded() -> None:
    arrays = {"w": np.array([1.0 + 2.0**-40, 1.0])}
    assert encode_exactly(arrays, schema=dc.Schema.from_arrays(arrays), profile="fast") is None


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_zeros_have_no_sign_on_the_grid(dtype: str) -> None:
    arrays = {"zeros": np.full(7, -0.0, dtype), "w": np.array([-0.001, 1.0], dtype)}
    schema = dc.Schema.from_arrays(arrays)
    rounded = round_to_grid(arrays, schema, relative_step=1 / 32)
    assert not any(np.signbit(array[array == 0]).any() for array in rounded.values())
    assert encode_exactly(rounded, schema=schema, profile="fast") is not None


def test_foreign_byte_order_is_coded_exactly() -> None:
    arrays = {"w": np.array([0.5, -3.0], ">f4"), "i": np.array([7], ">i8")}
    schema = dc.Schema.from_arrays(arrays)
    packet = encode_exactly(arrays, schema=schema, profile="fast")
    assert packet is not None
    decoded = decode_update(packet, schema=schema, state=StreamState.fresh(schema, "fast")).update
    for name, array in arrays.items():
        np.testing.assert_array_equal(decoded[name], array)


@pytest.mark.parametrize("tiny", [1e-300, np.inf])
def test_what_float32_does_not_hold_stays_as_it_is(tiny: float) -> None:
    arrays = {"w": np.array([tiny, -tiny / 3])}
    schema = dc.Schema.from_arrays(arrays)
    rounded = round_to_grid(arrays, schema, relative_step=1 / 32)
    assert rounded["w"].tobytes() == arrays["w"].tobytes()
