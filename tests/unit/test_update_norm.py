# SPDX-License-Identifier: Apache-2.0
"""A decoder that is told how long an update may be refuses longer ones, and stays as it was."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fl_deepcabac as dc
from fl_deepcabac.update_norm import CHUNK, update_norm

CONFIG = dc.CodecConfig(step=0.5)


def test_update_norm_is_that_of_all_floats_together() -> None:
    arrays = [
        np.full((2, 2), 3, np.float32),
        np.array(8, np.float64),
        np.full(5, 1000, np.int64),
        np.zeros((0, 3), np.float16),
    ]
    assert update_norm(arrays) == 10.0
    assert update_norm([np.ones(2 * CHUNK + 1, np.float16)]) == math.sqrt(2 * CHUNK + 1)
    assert update_norm([]) == 0.0


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e200])
def test_update_norm_is_no_number_where_there_is_none(value: float) -> None:
    assert not update_norm([np.array([value, 1.0])]) <= 1e300


def test_a_packet_of_forty_bytes_that_means_1e37_is_refused() -> None:
    absurd = {"w": np.array([1e37, 0, 0], np.float32)}
    schema = dc.Schema.from_arrays(absurd)
    packet = dc.compress(absurd, dc.CodecConfig(step=2.0**100))
    assert len(packet) < 50
    decoder = dc.UpdateDecoder(schema, CONFIG, max_update_norm=100.0)
    before = decoder.state_bytes()
    with pytest.raises(dc.UpdateNormError, match=r"norm of at most 100, found 1e\+37") as caught:
        decoder.decode(packet)
    assert caught.value.limit == 100.0
    assert caught.value.norm == pytest.approx(1e37, rel=0.2)
    assert decoder.state_bytes() == before
    assert decoder.report is None
    fine = {"w": np.array([60, 80, 0], np.float32)}
    assert decoder.decode(dc.compress(fine, CONFIG))["w"].tolist() == [60, 80, 0]


def test_exact_floats_count_too() -> None:
    update = {"w": np.zeros(4, np.float32), "scale": np.array(np.inf)}
    decoder = dc.UpdateDecoder(dc.Schema.from_arrays(update), CONFIG, max_update_norm=1e30)
    with pytest.raises(dc.UpdateNormError, match="found inf"):
        decoder.decode(dc.compress(update, CONFIG))


@pytest.mark.parametrize("limit", [0, -1.0, math.nan, True, "1"])
def test_a_limit_is_a_positive_number(limit: Any) -> None:
    schema = dc.Schema.from_arrays({"w": np.zeros(1, np.float32)})
    with pytest.raises(dc.ConfigError, match="max_update_norm"):
        dc.UpdateDecoder(schema, CONFIG, max_update_norm=limit)
