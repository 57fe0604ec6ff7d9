# SPDX-License-Identifier: Apache-2.0
"""The seam to the core: what it takes, what it refuses, what it gives back."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import PROFILES

import fl_deepcabac as dc
from fl_deepcabac import _native
from fl_deepcabac.entropy import LevelState, decode_levels, encode_levels, encode_values
from fl_deepcabac.errors import LevelCoderError

SCHEMA = dc.Schema.from_json('[["a","float32",[3,4]],["b","float32",[5]]]')
STEPS = np.array([0.5, 0.25], np.float32)
LEVELS = np.arange(-8, 9, dtype=np.int32)


@pytest.mark.parametrize("profile", PROFILES)
def test_levels_steps_and_costs_come_back(profile: str) -> None:
    state = LevelState.fresh(SCHEMA, profile)
    coded = encode_levels(state, LEVELS, STEPS, wants_levels=True)
    decoded = decode_levels(state, coded.payload, wants_levels=True)
    assert decoded.levels.tolist() == coded.levels.tolist() == LEVELS.tolist()
    assert decoded.steps.tolist() == coded.steps.tolist() == STEPS.tolist()
    assert decoded.costs.tolist() == coded.costs.tolist()
    assert decoded.n_nonzeros.tolist() == coded.n_nonzeros.tolist() == [11, 5]
    # Costs are in 2^-8 bit and add up to the payload within its last bytes.
    assert abs(coded.costs.sum() / 2048 - len(coded.payload)) <= 4


def test_levels_are_left_out_where_nobody_wants_them() -> None:
    state = LevelState.fresh(SCHEMA, "fast")
    coded = encode_levels(state, LEVELS, STEPS)
    assert coded.levels.size == 0
    assert decode_levels(state, coded.payload).values.tobytes() == coded.values.tobytes()


def test_squared_errors_are_those_of_the_values() -> None:
    values = np.linspace(-3, 3, 17, dtype=np.float32)
    coded = encode_values(LevelState.fresh(SCHEMA, "fast"), values, STEPS, rd_lambda=0.1)
    squares = (values.astype(np.float64) - coded.values) ** 2
    assert coded.squared_errors.tolist() == pytest.approx([squares[:12].sum(), squares[12:].sum()])


def test_tensor_of_zeros_has_no_step() -> None:
    levels = LEVELS.copy()
    levels[:12] = 0
    coded = encode_levels(LevelState.fresh(SCHEMA, "fast"), levels, STEPS)
    assert coded.steps.tolist() == [0, 0.25]


@pytest.mark.parametrize("level", [(1 << 24) + 1, -(1 << 24) - 1, -(2**31), 2**31 - 1])
def test_levels_out_of_range_are_refused_by_place(level: int) -> None:
    levels = LEVELS.copy()
    levels[7] = level
    with pytest.raises(LevelCoderError) as caught:
        encode_levels(LevelState.fresh(SCHEMA, "fast"), levels, STEPS)
    assert (caught.value.code, caught.value.position) == (11, 7)


@pytest.mark.parametrize("step", [0.0, -1.0, 2.0**-101, 2.0**101, np.inf, np.nan])
def test_steps_out_of_range_are_refused_by_tensor(step: float) -> None:
    steps = np.array([0.5, step], np.float32)
    with pytest.raises(LevelCoderError) as caught:
        encode_levels(LevelState.fresh(SCHEMA, "fast"), LEVELS, steps)
    assert (caught.value.code, caught.value.position) == (12, 1)


@pytest.mark.parametrize("n", [0, 16, 18])
def test_arrays_of_another_length_are_refused(n: int) -> None:
    state = LevelState.fresh(SCHEMA, "fast")
    for call in (
        lambda: encode_levels(state, np.zeros(n, np.int32), STEPS),
        lambda: encode_values(state, np.zeros(n, np.float32), STEPS, rd_lambda=0.1),
        lambda: encode_levels(state, LEVELS, np.ones(3, np.float32)),
    ):
        with pytest.raises(LevelCoderError) as caught:
            call()
        assert caught.value.code == 40


@pytest.mark.parametrize(("value", "code"), [(np.nan, 10), (np.inf, 10), (1e30, 11)])
def test_values_without_a_level_are_refused_by_place(value: float, code: int) -> None:
    values = np.zeros(17, np.float32)
    values[13] = value
    with pytest.raises(LevelCoderError) as caught:
        encode_values(LevelState.fresh(SCHEMA, "fast"), values, STEPS, rd_lambda=0.1)
    assert (caught.value.code, caught.value.position) == (code, 13)


@pytest.mark.parametrize(
    "levels", [LEVELS.astype(np.int64), LEVELS.astype(np.float32), LEVELS[::-1], list(LEVELS)]
)
def test_core_never_converts_an_array(levels: object) -> None:
    state = LevelState.fresh(SCHEMA, "fast")
    with pytest.raises(TypeError):
        _native.encode_levels(state.handle, levels, STEPS)


@pytest.mark.parametrize("profile", PROFILES)
def test_history_follows_the_step(profile: str) -> None:
    # Spec 7.4 and 7.5, in units of 1/32 level. One level of 1 leaves an average of 16. At half the
    # step that is 32, and with a level of 2 becomes 48, whose code is 40; at the old step the
    # average becomes 40, whose code is 36. The saved state ends with 17 magnitude and signed codes.
    ones = np.ones(17, np.int32)
    state = encode_levels(LevelState.fresh(SCHEMA, profile), ones, STEPS).state
    assert state.to_bytes()[-34:] == bytes([16] * 34)
    rescaled = encode_levels(state, 2 * ones, STEPS / 2).state
    assert rescaled.to_bytes()[-34:] == bytes([40] * 34)
    kept = encode_levels(state, 2 * ones, STEPS).state
    assert kept.to_bytes()[-34:] == bytes([36] * 34)
