# SPDX-License-Identifier: Apache-2.0
"""From places to values (spec 8): what a decoder may know better than the middle of a place."""

from __future__ import annotations

import struct

from reference.chunks import BLOCK
from reference.history import signed_value_of
from reference.mixing import clip

# Zero gain, gain, shift one, shift more, zero gain middle, zero gain low, near gain.
Offsets = tuple[int, ...]
N_OFFSETS = 7
NO_OFFSETS: Offsets = (0,) * N_OFFSETS
LARGEST_OFFSET = 127
LOW_BELOW, MIDDLE_BELOW = 6, 13  # magnitudes of the signed average, units of 1/32 step
NEAR_CLIP = 2  # half steps


def gained(gain: int, average: int) -> int:
    """Return gain / 64 of a signed average, in units of 2^-8 step, truncated towards zero."""
    product = gain * average
    return -(-product // 8) if product < 0 else product // 8


def near(places: list[int], i: int) -> int:
    """Return the sum of the places beside a level of one part, as far as they are in its block."""
    before = places[i - 1] if i % BLOCK != 0 else 0
    has_next = (i + 1) % BLOCK != 0 and i + 1 < len(places)
    return clip(before + (places[i + 1] if has_next else 0), NEAR_CLIP)


def zero_value(around: int, average: int, offsets: Offsets) -> int:
    """Return the value of a zero in units of 2^-8 step; `around` is what `near` says."""
    zero_gain, _, _, _, zero_gain_middle, zero_gain_low, near_gain = offsets
    if abs(average) < LOW_BELOW:
        g = 4 * zero_gain_low
    else:
        g = zero_gain_middle if abs(average) < MIDDLE_BELOW else zero_gain
    return gained(g, average) + near_gain * around


def fixed_value(place: int, around: int, signed_code: int, offsets: Offsets) -> int:
    """Return the value of a place in units of 2^-8 step; `around` is what `near` says."""
    average = signed_value_of(signed_code)
    if place == 0:
        return zero_value(around, average, offsets)
    _, gain, shift_one, shift_more, *_ = offsets
    shift = 2 * (shift_one if abs(place) <= 2 else shift_more)
    return 128 * place + (shift if place > 0 else -shift) + gained(gain, average)


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
