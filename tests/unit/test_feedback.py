# SPDX-License-Identifier: Apache-2.0
"""Error feedback: nothing is lost in the long run."""

from __future__ import annotations

import numpy as np
import pytest
from samples import sample_update, sample_values

import fl_deepcabac as dc
from fl_deepcabac.feedback import carry_residual, find_residual


def test_residual_is_what_the_packet_left_out() -> None:
    update = sample_update(0)
    schema = dc.Schema.from_arrays(update)
    encoded = dc.UpdateEncoder(schema, dc.CodecConfig(step=0.3)).encode(update)
    residual = find_residual(update, encoded.decoded, schema)
    assert set(residual) == {spec.name for spec in schema.level_tensors}
    for name, array in residual.items():
        assert array.dtype == np.float32
        assert array.shape == update[name].shape
        expected = update[name].astype(np.float64) - encoded.decoded[name]
        assert array == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_carrying_leaves_inputs_and_exact_tensors_alone() -> None:
    update = {"w": np.ones(3, np.float32), "i": np.arange(3)}
    schema = dc.Schema.from_arrays(update)
    residual = {"w": np.full(3, 0.25, np.float32)}
    carried = carry_residual(update, residual, schema)
    assert carried["w"].tolist() == [1.25] * 3
    assert carried["i"].tolist() == [0, 1, 2]
    assert update["w"].tolist() == [1.0] * 3
    assert residual["w"].tolist() == [0.25] * 3
    assert carry_residual(update, {}, schema)["w"].tolist() == [1.0] * 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_feedback_keeps_dtypes(dtype: str) -> None:
    update = {"w": sample_values(1, (4, 4), dtype, bits=6)}
    schema = dc.Schema.from_arrays(update)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(step=0.5))
    encoded = encoder.encode(update)
    carried = carry_residual(update, find_residual(update, encoded.decoded, schema), schema)
    assert carried["w"].dtype == dtype
    encoder.encode(carried)


def test_feedback_at_the_edge_of_float16_stays_finite() -> None:
    update = {"w": np.array([65504, -65504, 1], np.float16)}
    schema = dc.Schema.from_arrays(update)
    residual = {"w": np.array([100, -100, 1], np.float32)}
    carried = carry_residual(update, residual, schema)
    assert carried["w"].tolist() == [65504, -65504, 2]


def test_feedback_does_not_hide_non_finite_values() -> None:
    update = {"w": np.array([np.inf, np.nan], np.float16)}
    schema = dc.Schema.from_arrays(update)
    carried = carry_residual(update, {"w": np.ones(2, np.float32)}, schema)
    with pytest.raises(dc.NonFiniteError):
        dc.compress(carried, dc.CodecConfig())


def test_feedback_delivers_what_a_dead_zone_would_swallow() -> None:
    # Each update is a tenth of a step: without feedback nothing would ever arrive.
    update = {"w": np.full(50, 0.1, np.float32)}
    schema = dc.Schema.from_arrays(update)
    encoder = dc.UpdateEncoder(schema, dc.CodecConfig(step=1.0))
    arrived, residual = np.zeros(50), {}
    for _ in range(40):
        carried = carry_residual(update, residual, schema)
        decoded = encoder.encode(carried).decoded
        residual = find_residual(carried, decoded, schema)
        arrived += decoded["w"]
    assert arrived + residual["w"] == pytest.approx(np.full(50, 4.0), abs=1e-3)
    assert (arrived > 2).all()
