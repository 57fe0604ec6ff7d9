# SPDX-License-Identifier: Apache-2.0
"""One pass of a stream through the codec, and the yardsticks timed beside it.

State runs from round 0; rounds 2 and later are counted. Time is CPU time of this process, which
computes on one thread.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import zstandard
from numpy.typing import NDArray
from synthetic import Update

import fl_deepcabac as dc

FIRST_COUNTED_ROUND = 2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Point:
    """One pass over a stream; speeds are weights a second."""

    step: float
    bits_per_weight: float
    rmse: float
    nonzero: float
    encode_speed: float
    decode_speed: float


def timed(call: Callable[[], Result]) -> tuple[float, Result]:
    """Return CPU seconds and result of a call."""
    begin = time.process_time()
    result = call()
    return time.process_time() - begin, result


def run_stream(updates: list[Update], config: dc.CodecConfig) -> Point:
    """Encode and decode a stream; the decoder must see what the encoder says it will."""
    schema = dc.Schema.from_arrays(updates[0])
    encoder, decoder = dc.UpdateEncoder(schema, config), dc.UpdateDecoder(schema, config)
    encode_time = decode_time = 0.0
    n_bits = n_nonzero = squared_error = 0.0
    for number, update in enumerate(updates):
        seconds, encoded = timed(lambda update=update: encoder.encode(update))
        encode_time += seconds
        seconds, decoded = timed(lambda packet=encoded.packet: decoder.decode(packet))
        decode_time += seconds
        for name, array in decoded.items():
            assert np.array_equal(array, encoded.decoded[name])
        if number >= FIRST_COUNTED_ROUND:
            n_bits += 8 * len(encoded.packet)
            n_nonzero += encoded.report.n_nonzero
            squared_error += encoded.report.rmse**2
    n_counted = len(updates) - FIRST_COUNTED_ROUND
    n_weights = schema.n_elements
    return Point(
        step=config.step,
        bits_per_weight=n_bits / n_counted / n_weights,
        rmse=(squared_error / n_counted) ** 0.5,
        nonzero=n_nonzero / n_counted / n_weights,
        encode_speed=n_weights * len(updates) / encode_time,
        decode_speed=n_weights * len(updates) / decode_time,
    )


def encode_stream(
    updates: list[Update], config: dc.CodecConfig, *, keep_state: bool = True
) -> list[dc.EncodedUpdate]:
    """Encode every round, after the ones before it or as if it were the first."""
    encoder = dc.UpdateEncoder(dc.Schema.from_arrays(updates[0]), config)
    coded = []
    for update in updates:
        coded.append(encoder.encode(update))
        if not keep_state:
            encoder.reset()
    return coded


def counted_bits_per_weight(updates: list[Update], packets: list[bytes]) -> float:
    """Return the bits a weight of the rounds that count."""
    counted = packets[FIRST_COUNTED_ROUND:]
    n_weights = sum(array.size for array in updates[0].values())
    return 8 * sum(map(len, counted)) / len(counted) / n_weights


def levels_of(coded: dc.EncodedUpdate) -> NDArray[np.int32]:
    """Return the levels of all tensors end to end, from what the decoder will see."""
    levels = [
        np.rint(coded.decoded[tensor.name].reshape(-1) / np.float32(tensor.step or 1))
        for tensor in coded.report.tensors
    ]
    return np.concatenate(levels).astype(np.int32)


def yardstick_speeds(updates: list[Update]) -> dict[str, float]:
    """Return the weights a second that two fast compressors make of a stream's float32 bytes."""
    compressors = {
        "zlib -1": lambda raw: zlib.compress(raw, 1),
        "zstd -3": zstandard.ZstdCompressor(level=3).compress,
    }
    raws = [b"".join(array.tobytes() for array in update.values()) for update in updates]
    n_weights = sum(map(len, raws)) / 4
    speeds = {}
    for name, compress in compressors.items():
        seconds, _ = timed(lambda compress=compress: [compress(raw) for raw in raws])
        speeds[name] = n_weights / seconds
    return speeds
