# SPDX-License-Identifier: Apache-2.0
"""Damaged payloads raise one of our errors, or decode to finite values; memory stays small."""

from __future__ import annotations

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from experiments.baseline_samples import (
    SPECS,
    Update,
    decode,
    encode,
    label,
    make_update,
    method_of,
)

from fl_deepcabac import Schema
from fl_deepcabac.errors import DecodeError, LimitExceededError
from fl_deepcabac.experiments.baselines.payload import squeeze, unsqueeze

# Small, so that every bit can take its turn.
UPDATE: Update = {
    "w": make_update()["fc.weight"][:4, :9],
    "b": make_update()["bias"][:3],
    "n": np.array(7, np.int16),
    "mask": np.array([True, False]),
}
SCHEMA = Schema.from_arrays(UPDATE)
# What the decoder of a model of 41 numbers may need; torch and NumPy take some for themselves.
MOST_BYTES = 2_000_000


def assert_decodes_or_raises_ours(spec: dict[str, Any], payload: bytes) -> bool:
    """Say whether it decoded."""
    try:
        decoded, _ = method_of(spec).decode(payload, SCHEMA, {})
    except DecodeError:
        return False
    for tensor in SCHEMA.tensors:
        array = decoded[tensor.name]
        assert (array.shape, array.dtype.name) == (tensor.shape, tensor.dtype)
        assert np.isfinite(array).all()
    return True


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_payload_of_another_length_raises(spec: dict[str, Any]) -> None:
    method = method_of(spec)
    payload, _ = encode(method, UPDATE)
    decode(method, payload, UPDATE)
    for n_bytes in range(len(payload)):
        with pytest.raises(DecodeError):
            method.decode(payload[:n_bytes], SCHEMA, {})
    for extra in (b"\0", b"\xff" * 9):
        with pytest.raises(DecodeError):
            method.decode(payload + extra, SCHEMA, {})


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_flipped_bits_decode_or_raise(spec: dict[str, Any]) -> None:
    payload, _ = encode(method_of(spec), UPDATE)
    tracemalloc.start()
    try:
        for bit in range(8 * len(payload)):
            changed = bytearray(payload)
            changed[bit >> 3] ^= 1 << (bit & 7)
            assert_decodes_or_raises_ours(spec, bytes(changed))
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_random_payloads_decode_or_raise(spec: dict[str, Any]) -> None:
    payload, _ = encode(method_of(spec), UPDATE)
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        for _ in range(100):
            n_kept = int(rng.integers(len(payload)))
            tail = rng.integers(0, 256, len(payload) - n_kept, np.uint8).tobytes()
            assert_decodes_or_raises_ours(spec, payload[:n_kept] + tail)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["topk", "stc"])
def test_counts_beyond_the_model_are_refused(name: str) -> None:
    payload, _ = encode(method_of({"name": name}), UPDATE)
    exact_bytes = sum(spec.raw_bytes for spec in SCHEMA.exact_tensors)
    crafted = bytearray(payload)
    crafted[exact_bytes : exact_bytes + 4] = struct.pack("<I", 2**32 - 1)
    with pytest.raises(LimitExceededError, match="expected at most 39, found 4294967295"):
        method_of({"name": name}).decode(bytes(crafted), SCHEMA, {})


def test_frame_that_states_more_is_refused_before_it_is_read() -> None:
    bomb = squeeze(bytes(10**7))
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceededError):
            unsqueeze(bomb, at_most=1000, what="x")
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_boolean_that_is_neither_is_refused() -> None:
    payload, _ = encode(method_of({"name": "fp16"}), UPDATE)
    with pytest.raises(DecodeError, match="'mask'"):
        method_of({"name": "fp16"}).decode(payload[:2] + b"\2" + payload[3:], SCHEMA, {})


@pytest.mark.parametrize("name", ["fp16", "bf16", "zstd", "uniform", "powersgd"])
def test_numbers_that_are_not_finite_are_refused(name: str) -> None:
    """Of floats that a payload holds as they are, each byte may be 0xff."""
    payload, _ = encode(method_of({"name": name}), UPDATE)
    decoded = [
        assert_decodes_or_raises_ours(
            {"name": name}, payload[:i] + b"\xff\xff\xff\xff" + payload[i + 4 :]
        )
        for i in range(4, len(payload) - 4)
    ]
    assert not all(decoded)
