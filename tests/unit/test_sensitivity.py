# SPDX-License-Identifier: Apache-2.0
"""Sensitivity: bits move between tensors, to those whose errors cost most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import PROFILES, examples

import fl_deepcabac as dc
from fl_deepcabac.allocation import (
    MOST_COARSER,
    MOST_FINER,
    move_by_sensitivity,
    unit_steps,
)
from fl_deepcabac.arrays import flatten_values

RNG = np.random.default_rng(29)
UPDATE: dict[str, NDArray[Any]] = {
    "w": RNG.standard_t(3, (60, 70)).astype(np.float32),
    "counter": np.array(3),
    "v": RNG.standard_t(3, (60, 70)).astype(np.float32),
    "b": RNG.normal(size=80),
}
SCHEMA = dc.Schema.from_arrays(UPDATE)
CONFIG = dc.CodecConfig(relative_step=1.0)


def encode(sensitivity: Any, config: dc.CodecConfig = CONFIG, **more: Any) -> dc.EncodedUpdate:
    return dc.UpdateEncoder(SCHEMA, config).encode(UPDATE, sensitivity=sensitivity, **more)


def units(sensitivity: Any, config: dc.CodecConfig = CONFIG) -> dict[str, float]:
    values = flatten_values(UPDATE, SCHEMA)
    found = unit_steps(values, schema=SCHEMA, config=config, sensitivity=sensitivity)
    names = [spec.name for spec in SCHEMA.level_tensors]
    return dict(zip(names, found.tolist(), strict=True))


def log_mean(steps: dict[str, float], names: str) -> float:
    """Return the mean logarithm of the steps over all weights of the tensors named."""
    sizes = [UPDATE[name].size for name in names]
    return float(np.average(np.log([steps[name] for name in names]), weights=sizes))


def test_steps_are_proportional_to_the_inverse_square_root() -> None:
    moved = units({"w": 4.0, "v": 1.0, "b": 9.0})
    assert moved["v"] / moved["w"] == pytest.approx(2.0)
    assert moved["v"] / moved["b"] == pytest.approx(3.0)


def test_mean_step_of_all_weights_stays() -> None:
    plain, moved = units(None), units({"w": 4.0, "v": 1.0, "b": 9.0})
    assert log_mean(moved, "wvb") == pytest.approx(log_mean(plain, "wvb"))


@examples(100)
@given(
    st.lists(
        st.tuples(st.floats(-60, 60), st.floats(-200, 200), st.integers(1, 10**6)), max_size=12
    )
)
def test_mean_and_bounds_hold_for_any_tensors(tensors: list[tuple[float, float, int]]) -> None:
    steps = np.exp2([tensor[0] for tensor in tensors])
    sizes = np.array([tensor[2] for tensor in tensors], np.int64)
    ratios = move_by_sensitivity(steps, np.array([tensor[1] for tensor in tensors]), sizes) / steps
    assert (ratios > 0.9999 / MOST_FINER).all()
    assert (ratios < 1.0001 * MOST_COARSER).all()
    assert float(sizes @ np.log(ratios)) == pytest.approx(0.0, abs=1e-6 * max(1, sizes.sum()))


def test_no_step_moves_further_than_its_bounds() -> None:
    plain = units(None)
    tight = units({"w": 1.0, "v": 1.0, "b": 1e30})
    assert plain["b"] / tight["b"] == pytest.approx(MOST_FINER)
    assert log_mean(tight, "wvb") == pytest.approx(log_mean(plain, "wvb"))
    loose = units({"w": 1.0, "v": 1.0, "b": 1e-30})
    assert loose["b"] / plain["b"] == pytest.approx(MOST_COARSER)


def test_tensors_that_are_not_named_keep_their_steps() -> None:
    plain, moved = units(None), units({"w": 1.0, "b": 9.0})
    assert moved["v"] == plain["v"]
    assert log_mean(moved, "wb") == pytest.approx(log_mean(plain, "wb"))
    assert moved["w"] / moved["b"] == pytest.approx(3.0)


@pytest.mark.parametrize("sensitivity", [{}, {"w": 7.0}, {"v": np.full((60, 70), 1e-30)}])
def test_sensitivity_of_one_tensor_moves_nothing(sensitivity: Any) -> None:
    assert units(sensitivity) == pytest.approx(units(None))
    assert encode(sensitivity).packet == encode(None).packet


@pytest.mark.parametrize("unit", [1e-300, 2.0**-40, 1e300])
def test_unit_of_sensitivity_does_not_matter(unit: float) -> None:
    sensitivity = {"w": 4.0, "v": 0.5, "b": 30.0}
    scaled = {name: unit * value for name, value in sensitivity.items()}
    assert encode(scaled).packet == encode(sensitivity).packet
    assert encode(sensitivity).packet != encode(None).packet


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_only_the_mean_of_an_array_counts(dtype: Any) -> None:
    array = np.zeros((60, 70), dtype)
    array[::2] = 8.0
    expected = encode({"w": 4, "v": np.float32(1.0), "b": np.array(0.5)})
    assert encode({"w": array, "v": 1.0, "b": np.full(80, 0.5)}).packet == expected.packet


def test_means_neither_overflow_nor_vanish() -> None:
    largest = {"w": np.full((60, 70), 1.7e308), "v": np.full((60, 70), 1.7e308)}
    smallest = {"w": np.full((60, 70), 5e-324), "v": np.full((60, 70), 5e-324)}
    assert units(largest) == pytest.approx(units({"w": 1.0, "v": 1.0}))
    assert units(smallest) == pytest.approx(units({"w": 1.0, "v": 1.0}))


def test_overrides_are_factors_on_what_sensitivity_gives() -> None:
    sensitivity = {"w": 4.0, "v": 1.0, "b": 9.0}
    config = dc.CodecConfig(relative_step=1.0, step_overrides={"w": 0.25})
    moved, changed = units(sensitivity), units(sensitivity, config)
    assert changed == pytest.approx({**moved, "w": 0.25 * moved["w"]})


def test_sensitivity_starts_from_the_allocation() -> None:
    uniform = dc.CodecConfig(relative_step=1.0, allocation="uniform")
    sensitivity = {"w": 4.0, "v": 1.0, "b": 1.0}
    assert log_mean(units(sensitivity, uniform), "wvb") == pytest.approx(
        log_mean(units(None, uniform), "wvb")
    )


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("quantizer", ["rdoq", "deadzone", "uniform", "stochastic"])
def test_errors_are_smaller_where_they_cost_more(profile: Any, quantizer: Any) -> None:
    config = dc.CodecConfig(relative_step=1.0, profile=profile, quantizer=quantizer)
    plain, moved = encode({"w": 1.0, "v": 1.0}, config), encode({"w": 9.0, "v": 1.0}, config)
    errors = {
        name: [np.mean((UPDATE[name] - each.decoded[name]) ** 2) for each in (plain, moved)]
        for name in "wv"
    }
    assert errors["w"][1] < errors["w"][0]
    assert errors["v"][1] > errors["v"][0]
    decoder = dc.UpdateDecoder(SCHEMA, config)
    assert decoder.decode(moved.packet)["w"].tobytes() == moved.decoded["w"].tobytes()


def test_bits_move_within_a_budget() -> None:
    config = dc.CodecConfig(target_bytes=900)
    plain, moved = encode({"w": 1.0, "v": 1.0}, config), encode({"w": 9.0, "v": 1.0}, config)
    for encoded in (plain, moved):
        assert 0.9 * 900 <= len(encoded.packet) <= 900
    n_bytes = [[tensor.n_bytes for tensor in each.report.tensors] for each in (plain, moved)]
    assert n_bytes[1][0] > 1.2 * n_bytes[0][0]
    assert n_bytes[1][2] < n_bytes[0][2]


def test_importance_is_another_matter() -> None:
    counts = RNG.gamma(0.5, size=(60, 70)) + 0.01
    moved = encode({"w": counts, "v": 1.0})
    weighted = encode({"w": counts, "v": 1.0}, importance={"w": counts})
    assert moved.packet == encode({"w": float(counts.mean()), "v": 1.0}).packet
    assert weighted.packet != moved.packet
    assert [tensor.step for tensor in weighted.report.tensors] == [
        tensor.step for tensor in moved.report.tensors
    ]


def test_steps_follow_the_update_without_its_residual() -> None:
    update = {name: array for name, array in UPDATE.items() if name != "counter"}
    schema = dc.Schema.from_arrays(update)
    own = flatten_values(update, schema)
    steps = [
        unit_steps(
            values, schema=schema, config=CONFIG, own_values=own, sensitivity={"w": 4.0, "v": 1.0}
        ).tolist()
        for values in (own, 3 * own)
    ]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("value", [0.0, -0.0, 0, -1e-9, -1, float("nan"), float("inf")])
def test_bad_sensitivity_of_a_tensor_is_named(value: float) -> None:
    for given_value in (value, np.array(float(value))):
        with pytest.raises(dc.SensitivityError, match=r"'w'.*above 0, found") as caught:
            encode({"v": 1.0, "w": given_value})
        assert (caught.value.tensor, caught.value.index) == ("w", ())
        assert isinstance(caught.value, dc.EncodeError)


@pytest.mark.parametrize("value", [-1e-9, float("nan"), float("inf"), -float("inf")])
def test_bad_sensitivity_of_a_weight_is_named(value: float) -> None:
    sensitivity = np.ones((60, 70), np.float32)
    sensitivity[3, 5] = value
    with pytest.raises(dc.SensitivityError, match=r"'w'.*\(3, 5\)") as caught:
        encode({"w": sensitivity})
    assert (caught.value.tensor, caught.value.index) == ("w", (3, 5))


def test_a_tensor_of_zeros_has_no_sensitivity() -> None:
    with pytest.raises(dc.SensitivityError, match=r"'w'.*found 0.0$") as caught:
        encode({"w": np.zeros((60, 70))})
    assert caught.value.index == ()


@pytest.mark.parametrize(
    ("sensitivity", "found"),
    [
        ({"w": np.ones((70, 60))}, r"\(70, 60\)"),
        ({"w": np.ones((60, 70), np.int64)}, "int64"),
        ({"w": True}, "bool"),
        ({"w": "much"}, "str"),
        ({"counter": 1.0}, "counter"),
        ({"u": np.ones(3)}, "'u'"),
    ],
)
def test_sensitivity_of_another_model_is_refused(sensitivity: Any, found: str) -> None:
    with pytest.raises(dc.SchemaMismatchError, match=found):
        encode(sensitivity)


def test_an_absolute_step_leaves_nothing_to_share_out() -> None:
    with pytest.raises(dc.ConfigError, match="with sensitivity") as caught:
        encode({}, dc.CodecConfig(step=0.5))
    assert caught.value.field == "step"


def test_a_failed_call_leaves_the_stream_as_it_was() -> None:
    encoder = dc.UpdateEncoder(SCHEMA, CONFIG)
    before = encoder.state_digest
    with pytest.raises(dc.SensitivityError):
        encoder.encode(UPDATE, sensitivity={"w": 0.0})
    assert encoder.state_digest == before


@pytest.mark.parametrize("settings", [{"relative_step": 1.0}, {"target_bytes": 200}])
def test_tensors_without_values_take_no_part(settings: Any) -> None:
    update = {
        "zeros": np.zeros((4, 5), np.float32),
        "empty": np.zeros((0, 5), np.float32),
        "w": np.ones((4, 5), np.float32),
        "v": np.ones((4, 5), np.float32),
    }
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), dc.CodecConfig(**settings))
    encoded = encoder.encode(update, sensitivity=dict.fromkeys(update, 2.0))
    assert not encoded.decoded["zeros"].any()
    assert encoded.decoded["empty"].shape == (0, 5)
    assert len(encoder.encode(update, sensitivity={"empty": 1.0}).packet) <= 200


def test_values_too_large_are_named_as_without_sensitivity() -> None:
    update = {"w": np.array([1.0, 1e300]), "v": np.ones(3)}
    for settings in ({}, {"target_bytes": 1000}):
        encoder = dc.UpdateEncoder(dc.Schema.from_arrays(update), dc.CodecConfig(**settings))
        with pytest.raises(dc.LevelRangeError):
            encoder.encode(update, sensitivity={"w": 1.0, "v": 2.0})
