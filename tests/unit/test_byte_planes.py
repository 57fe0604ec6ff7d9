# SPDX-License-Identifier: Apache-2.0
"""Tensors as byte planes come back as they were, and nothing else is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import zstandard

import fl_deepcabac as dc
from fl_deepcabac.byte_planes import pack_planes, unpack_planes

DTYPES = ("float16", "float32", "float64", "int8", "uint16", "int64", "bool")


def tensors() -> dict[str, Any]:
    rng = np.random.default_rng(5)
    arrays: dict[str, Any] = {
        dtype: (50 * rng.normal(size=(7, 11))).astype(dtype) for dtype in DTYPES
    }
    arrays["strange"] = np.array([np.nan, -0.0, np.inf, 1e-45], np.float32)
    arrays["empty"] = np.zeros((3, 0), np.float32)
    arrays["scalar"] = np.array(2.5)
    arrays["columns"] = np.asfortranarray(rng.normal(size=(4, 5)))
    return arrays


def test_round_trip_is_bit_for_bit() -> None:
    arrays = tensors()
    schema = dc.Schema.from_arrays(arrays)
    unpacked = unpack_planes(pack_planes(arrays, schema), schema)
    for name, array in arrays.items():
        assert unpacked[name].dtype == array.dtype
        assert unpacked[name].shape == array.shape
        assert unpacked[name].tobytes() == array.tobytes()


def test_planes_are_smaller_than_plain_zstandard() -> None:
    weights = {"w": np.random.default_rng(6).normal(0, 0.05, (200, 300)).astype(np.float32)}
    packed = pack_planes(weights, dc.Schema.from_arrays(weights))
    plain = zstandard.ZstdCompressor(level=9).compress(weights["w"].tobytes())
    assert len(packed) < 0.95 * len(plain)


@pytest.mark.parametrize("damage", [b"", b"no frame", None])
def test_other_bytes_are_refused(damage: bytes | None) -> None:
    arrays = tensors()
    schema = dc.Schema.from_arrays(arrays)
    frame = pack_planes(arrays, schema)[:-9] if damage is None else damage
    with pytest.raises(dc.DecodeError):
        unpack_planes(frame, schema)


def test_frames_of_another_model_are_refused() -> None:
    small, large = {"w": np.zeros(3, np.float32)}, {"w": np.zeros(4, np.float32)}
    frame = pack_planes(large, dc.Schema.from_arrays(large))
    with pytest.raises(dc.DecodeError):
        unpack_planes(frame, dc.Schema.from_arrays(small))
