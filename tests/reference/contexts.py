# SPDX-License-Identifier: Apache-2.0
"""The contexts: adaptive probabilities (spec 6.2), the tables of them (7.3, 7.7), merging (7.8)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

from reference.mixing import Mixer

FAST = 0
MAX = 1
SETTLED = 255


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

    def update(self, bit: int, is_steady: bool = False) -> None:
        """Move both estimates towards what was coded, the younger the context the further."""
        target = (1 << 24) - 1 if bit else 0
        young = (1 << 17) // (2 * min(self.count, SETTLED) + 3)
        slow_rate = max(young, (1 << 16) // 220)
        fast_rate = slow_rate if is_steady else max(young, (1 << 16) // 20)
        self.fast += (target - self.fast) * fast_rate >> 16
        self.slow += (target - self.slow) * slow_rate >> 16
        self.count += 1

    def settle(self) -> None:
        """Cut the count before a packet (7.8)."""
        self.count = min(self.count, SETTLED)

    def merge(self, copies: list[Context]) -> None:
        """Become the mean of what copies of this context have become (7.8)."""
        n_bins = [copy.count - self.count for copy in copies]
        self.fast = weighted_mean([copy.fast for copy in copies], n_bins, self.fast)
        self.slow = weighted_mean([copy.slow for copy in copies], n_bins, self.slow)
        self.count += sum(n_bins)

    def to_bytes(self) -> bytes:
        """Return the context as a saved state holds it (10.2)."""
        return struct.pack("<IIB", self.fast, self.slow, min(self.count, SETTLED))


def weighted_mean(numbers: list[int], weights: list[int], otherwise: int) -> int:
    """Return the mean, truncated towards zero; `otherwise` where all weights are 0."""
    total = sum(weights)
    if total == 0:
        return otherwise
    weighed = sum(number * weight for number, weight in zip(numbers, weights, strict=True))
    return -(-weighed // total) if weighed < 0 else weighed // total


def merge_mixers(before: Mixer, copies: list[Mixer]) -> None:
    """Make a mixer the mean of what copies of it have become (7.8)."""
    n_bins = [copy.count - before.count for copy in copies]
    before.weights = [
        weighted_mean([copy.weights[i] for copy in copies], n_bins, weight)
        for i, weight in enumerate(before.weights)
    ]
    before.count += sum(n_bins)


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
        self.used: dict[tuple[int, ...], Any] = {}

    def __getitem__(self, index: int | tuple[int, ...]) -> Any:
        place = index if isinstance(index, tuple) else (index,)
        if place not in self.used:
            assert all(part in whole for part, whole in zip(place, self.ranges, strict=True))
            name = self.name + "".join(f"[{part}]" for part in place)
            self.used[place] = Mixer(self.n_inputs) if self.n_inputs else Context(name)
        return self.used[place]

    def settle(self) -> None:
        """Cut all counts before a packet (7.8)."""
        for item in self.used.values():
            item.settle()

    def merge(self, copies: list[Table]) -> None:
        """Make every item the mean of what copies of it have become (7.8)."""
        merge_one: Callable[[Any, list[Any]], None]
        merge_one = merge_mixers if self.n_inputs else Context.merge
        for place in {place for copy in copies for place in copy.used}:
            merge_one(self[place], [copy[place] for copy in copies])

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that this table is."""
        untouched = (Mixer(self.n_inputs) if self.n_inputs else Context(self.name)).to_bytes()
        return b"".join(
            self.used[place].to_bytes() if place in self.used else untouched
            for place in itertools.product(*self.ranges)
        )


class TensorContexts:
    """The contexts of what is coded once a packet or once a tensor (7.3)."""

    def __init__(self) -> None:
        self.dependent = Context("dependent")
        self.tensor_zero = Table("tensor_zero", 2)
        self.repeats = Table("repeats", 2)
        self.prefix = Table("prefix", 24)
        self.negative = Context("negative")
        self.has_low_bits = Context("has_low_bits")
        self.keeps_offsets = Context("keeps_offsets")
        self.copies_offsets = Context("copies_offsets")
        self.offset_prefix = Table("offset_prefix", 24)

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that these are: in the order above."""
        return b"".join(part.to_bytes() for part in vars(self).values())


class LevelContexts:
    """One of the two sets of contexts of levels (7.1): those of 7.3 and, for `max`, of 7.7."""

    def __init__(self, profile: int) -> None:
        self.block_coded = Table("block_coded", 2, 2, 8)
        self.left_half = Table("left_half", 6, 3)
        self.right_half = Table("right_half", 6, 2)
        self.significant = Table("significant", 2, 24, 16)
        self.negative = Table("negative", 9, 3)
        self.greater = Table("greater", 11, 24, first=1)
        self.remainder_prefix = Table("remainder_prefix", 24)
        self.in_saved_order = [
            self.block_coded,
            self.left_half,
            self.right_half,
            self.significant,
            self.negative,
            self.greater,
            self.remainder_prefix,
        ]
        if profile == MAX:
            self.add_mixed()

    def add_mixed(self) -> None:
        """Add what only the profile `max` has."""
        bins = range(1, 14)  # up to 11 `greater`, then `significant` of either quantiser
        self.by_average = {j: Table(f"by_average[{j}]", 24, 17) for j in bins}
        self.by_neighbours = {j: Table(f"by_neighbours[{j}]", 12, 12) for j in bins}
        self.by_scales = {j: Table(f"by_scales[{j}]", 16, 16) for j in bins}
        self.by_around = {j: Table(f"by_around[{j}]", 24, 24) for j in bins}
        self.sign_by_average = Table("sign_by_average", 24, 17)
        self.sign_by_neighbours = Table("sign_by_neighbours", 3, 3, 9)
        self.magnitude_mixers = Table("magnitude mixer", 13, 24, first=1, n_inputs=5)
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

    def settle(self) -> None:
        """Cut all counts before a packet (7.8)."""
        for table in self.in_saved_order:
            table.settle()

    def merge(self, copies: list[LevelContexts]) -> None:
        """Make every context the mean of what copies of it have become (7.8)."""
        for number, table in enumerate(self.in_saved_order):
            table.merge([copy.in_saved_order[number] for copy in copies])

    def to_bytes(self) -> bytes:
        """Return the part of 10.2 that this set is."""
        return b"".join(part.to_bytes() for part in self.in_saved_order)
