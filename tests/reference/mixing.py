# SPDX-License-Identifier: Apache-2.0
"""Mixing: several probabilities made one by a small network that learns as it goes (spec 7.6).

Probabilities are mixed as log odds, in units of 1/256, because there evidence adds up. The two
functions between the two are tables, made from integers so that every machine makes the same ones.
"""

from __future__ import annotations

import struct

LIMIT = 2047
SETTLED = 4096


def lg(value: int) -> int:
    """Return the logarithm to base 2 in units of 2^-8, by eight squarings."""
    whole = value.bit_length() - 1
    mantissa = value << (31 - whole)
    bits = 0
    for _ in range(8):
        mantissa = mantissa * mantissa >> 31
        bits <<= 1
        if mantissa >= 1 << 32:
            bits |= 1
            mantissa >>= 1
    return 256 * whole + bits


def make_stretch() -> list[int]:
    """Return the log odds of 4096 probabilities."""
    ln_2 = 45426  # in units of 2^-16
    stretch = [0] * 4096
    for c in range(2048):
        stretch[c] = -min((lg(8191 - 2 * c) - lg(2 * c + 1)) * ln_2 >> 16, LIMIT)
        stretch[4095 - c] = -stretch[c]
    return stretch


def make_squash() -> dict[int, int]:
    """Return the probability, in units of 2^-16, of each log odds from -2047 to 2047."""
    squash = {}
    w = 1 << 31
    for x in range(LIMIT + 1):
        squash[x] = min((1 << 47) // ((1 << 31) + w), 65528)
        squash[-x] = 65536 - squash[x]
        w = w * 4278222805 >> 32
    return squash


STRETCH = make_stretch()
SQUASH = make_squash()


def clip(value: int, limit: int) -> int:
    """Return the nearest value within [-limit, limit]."""
    return min(max(value, -limit), limit)


class Mixer:
    """One weight for each input, and how often it was used."""

    __slots__ = ("count", "weights")

    def __init__(self, n_inputs: int) -> None:
        self.weights = [5 * (1 << 16) // (4 * n_inputs)] * n_inputs
        self.count = 0

    def mix(self, inputs: list[int]) -> int:
        """Return the probability that the weighted sum of log odds stands for."""
        total = sum(weight * g for weight, g in zip(self.weights, inputs, strict=True))
        return SQUASH[clip(total >> 16, LIMIT)]

    def update(self, bit: int, inputs: list[int], probability: int) -> None:
        """Give more weight to the inputs that were right, less and less as the count grows."""
        error = (65536 if bit else 0) - probability
        h = 14 + sum(self.count >= threshold for threshold in (64, 256, 1024, SETTLED))
        self.weights = [
            clip(weight + ((error * g + (1 << (h - 1))) >> h), 1 << 19)
            for weight, g in zip(self.weights, inputs, strict=True)
        ]
        self.count += 1

    def settle(self) -> None:
        """Cut the count before a packet (7.8)."""
        self.count = min(self.count, SETTLED)

    def to_bytes(self) -> bytes:
        """Return the mixer as a saved state holds it (10.2)."""
        count = min(self.count, SETTLED)
        return struct.pack(f"<{len(self.weights)}iH", *self.weights, count)
