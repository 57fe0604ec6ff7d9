# SPDX-License-Identifier: Apache-2.0
"""From places to values (spec 8): what a decoder may know better than the middle of a place."""

from __future__ import annotations

import struct

from reference.history import signed_value_of

Offsets = tuple[int, ...]  # zero gain, gain, shift one, shift more
NO_OFFSETS: Offsets = (0, 0, 0, 0)
LARGEST_OFFSET = 127


def gained(gain: int, signed_code: int) -> int:
    """Return gain / 64 of the signed average, in units of 2^-8 step, truncated towards zero."""
    product = gain * signed_value_of(signed_code)
    return -(-product // 8) if product < 0 else product // 8


def fixed_value(place: int, signed_code: int, offsets: Offsets) -> int:
    """Return the value of a place in units of 2^-8 step."""
    zero_gain, gain, shift_one, shift_more = offsets
    if place == 0:
        return gained(zero_gain, signed_code)
    shift = 2 * (shift_one if abs(place) <= 2 else shift_more)
    return 128 * place + (shift if place > 0 else -shift) + gained(gain, signed_code)


def as_float32(number: float) -> float:
    """Return the nearest float32, of two the one with an even mantissa."""
    return struct.unpack("<f", struct.pack("<f", number))[0]


def values_of(fixed: list[int], step: int, dtype: str) -> bytes:
    """Return the little-endian values, in the dtype of the schema.

    Products of two float32 are exact in Python's float64, so that packing them rounds once.
    """
    unit = struct.unpack("<f", struct.pack("<I", step))[0] / 256
    out = []
    for number in fixed:
        value = as_float32(as_float32(number) * unit)
        if dtype == "float16":
            value = min(max(value, -65504.0), 65504.0)
        out.append(struct.pack({"float16": "<e", "float32": "<f", "float64": "<d"}[dtype], value))
    return b"".join(out)
