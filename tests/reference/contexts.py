# SPDX-License-Identifier: Apache-2.0
"""The contexts: adaptive probabilities (spec 6.2) and the tables of them (7.1 to 7.7)."""

from __future__ import annotations

import itertools
import struct
from typing import Any

from reference.mixing import Mixer

FAST = 0
MAX = 1


class Context:
    """Two running estimates of the probability of a 1, one quick and one slow (6.2)."""

    __slots__ = ("count", "fast", "name", "slow")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fast = 1 << 23
        self.slow = 1 << 23
        self.count = 0

    @property
    def probability(self) -> int:
        """The mean of the two, in units of 2^-16, never certain."""
        return min(max((self.fast + self.slow) >> 9, 12), 65524)

    def update(self, bit: int) -> None:
        """Move both estimates towards what was coded, the younger the context the further."""
        target = (1 << 24) - 1 if bit else 0
        young = (1 << 17) // (2 * self.count + 3)
        self.fast += (target - self.fast) * max(young, (1 << 16) // 20) >> 16
        self.slow += (target - self.slow) * max(young, (1 << 16) // 220) >> 16
        self.count = min(self.count + 1, 255)

    def to_bytes(self) -> bytes:
        """Return the context as a saved state holds it (10.2)."""
        return struct.pack("<IIB", self.fast, self.slow, self.count)


class Table:
    """A table of contexts, or of mixers, that come into being when they are first used.

    Its order, last index fastest, is that of a saved state.
    """

    def __init__(self, name: str, *lengths: int, first: int = 0, n_inputs: int = 0) -> None:
        self.name = name
        self.n_inputs = n_inputs  # of each mixer; 0 in a table of contexts
        self.ranges = [range(length) for length in lengths]
        if first:  # `greater` counts from 1, as the document does
            self.ranges[0] = range(first, first + lengths[0])
        self.used: dict[tuple[int, ...], Context | Mixer] = {}

    def __getitem__(self, index: int | tuple[int, ...]) -> Any:
        place = index if isinstance(index, tuple) else (index,)
        if place not in self.used:
            assert all(part in whole for part, whole in zip(place, self.ranges, strict=True))
            name = self.name + "".join(f"[{part}]" for part in place)
            self.used[place] = Mixer(self.n_inputs) if self.n_inputs else Context(name)
        return self.used[place]

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that this table is."""
        untouched = (Mixer(self.n_inputs) if self.n_inputs else Context(self.name)).to_bytes()
        return b"".join(
            self.used[place].to_bytes() if place in self.used else untouched
            for place in itertools.product(*self.ranges)
        )


class StepContexts:
    """The contexts of steps, shared by all tensors of a stream (7.3)."""

    def __init__(self) -> None:
        self.repeats = Table("repeats", 2)
        self.prefix = Table("prefix", 24)
        self.negative = Context("negative")
        self.has_low_bits = Context("has_low_bits")

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that these are."""
        parts = (self.repeats, self.prefix, self.negative, self.has_low_bits)
        return b"".join(part.to_bytes() for part in parts)


class LevelContexts:
    """One of the two sets of contexts of levels (7.1): those of 7.3 and, for `max`, of 7.7."""

    def __init__(self, profile: int) -> None:
        self.tensor_zero = Context("tensor_zero")
        self.block_coded = Table("block_coded", 2, 2, 8)
        self.significant = Table("significant", 24, 16)
        self.negative = Table("negative", 9, 3)
        self.greater = Table("greater", 10, 24, first=1)
        self.remainder_prefix = Table("remainder_prefix", 24)
        self.in_saved_order = [
            self.tensor_zero,
            self.block_coded,
            self.significant,
            self.negative,
            self.greater,
            self.remainder_prefix,
        ]
        if profile == MAX:
            self.add_mixed()

    def add_mixed(self) -> None:
        """Add what only the profile `max` has."""
        bins = range(11)  # 0 is `significant`, k is `greater`[k]
        self.by_average = [Table(f"by_average[{j}]", 24, 17) for j in bins]
        self.by_neighbours = [Table(f"by_neighbours[{j}]", 12, 12) for j in bins]
        self.by_scales = [Table(f"by_scales[{j}]", 16, 16) for j in bins]
        self.by_around = [Table(f"by_around[{j}]", 24, 24) for j in bins]
        self.sign_by_average = Table("sign_by_average", 24, 17)
        self.sign_by_neighbours = Table("sign_by_neighbours", 3, 3, 9)
        self.magnitude_mixers = Table("magnitude mixer", 11, 24, n_inputs=5)
        self.sign_mixers = Table("sign mixer", 24, n_inputs=3)
        for j in bins:
            self.in_saved_order += [
                self.by_average[j],
                self.by_neighbours[j],
                self.by_scales[j],
                self.by_around[j],
            ]
        self.in_saved_order += [self.sign_by_average, self.sign_by_neighbours]
        self.in_saved_order += [self.magnitude_mixers, self.sign_mixers]

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that this set is."""
        return b"".join(part.to_bytes() for part in self.in_saved_order)
