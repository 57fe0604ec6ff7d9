# SPDX-License-Identifier: Apache-2.0
"""The contexts: adaptive probabilities (spec 6.2), the tables of them (7.3, 7.7), merging (7.8)."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from typing import Any

from reference.mixing import SQUASH, Mixer

FAST = 0
MAX = 1
SETTLED = 255


LEAST = 8 << 16  # neither estimate is nearer to certain; units of 2^-32
CERTAIN = (1 << 32) - 1
START_COUNT = 4


class Context:
    """Two running estimates of the probability of a 1, one quick and one slow (6.2)."""

    __slots__ = ("count", "fast", "name", "slow")

    def __init__(self, name: str, start: int | None = None) -> None:
        """Begin at even odds, or at `start` log odds (7.3)."""
        self.name = name
        self.fast = self.slow = 1 << 31
        self.count = 0
        if start is not None:
            self.fast = self.slow = SQUASH[start] << 16
            self.count = START_COUNT

    @property
    def probability(self) -> int:
        """The mean of the two, in units of 2^-16, never certain."""
        return (self.fast + self.slow) >> 17

    def update(self, bit: int, is_steady: bool = False) -> None:
        """Move both estimates towards what was coded, the younger the context the further."""
        young = (1 << 17) // (2 * min(self.count, SETTLED) + 3)
        slow_rate = max(young, (1 << 16) // 256)
        fast_rate = slow_rate if is_steady else max(young, (1 << 16) // 16)
        self.fast = moved(self.fast, bit, fast_rate)
        self.slow = moved(self.slow, bit, slow_rate)
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


def moved(estimate: int, bit: int, rate: int) -> int:
    """Return an estimate after a bin: its distance from it shrinks, but not below the least."""
    distance = CERTAIN - estimate if bit else estimate
    distance -= (distance - LEAST) * rate >> 16
    return CERTAIN - distance if bit else distance


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

    def __init__(
        self,
        name: str,
        *lengths: int,
        first: int = 0,
        n_inputs: int = 0,
        start: Callable[..., int | None] = lambda *_: None,
    ) -> None:
        self.name = name
        self.start = start  # log odds of a context, by its indices; None for even odds
        self.n_inputs = n_inputs  # of each mixer; 0 in a table of contexts
        self.ranges = [range(length) for length in lengths]
        if first:  # `greater` counts from 1, as the document does
            self.ranges[0] = range(first, first + lengths[0])
        self.used: dict[tuple[int, ...], Any] = {}

    def __getitem__(self, index: int | tuple[int, ...]) -> Any:
        place = index if isinstance(index, tuple) else (index,)
        if place not in self.used:
            assert all(part in whole for part, whole in zip(place, self.ranges, strict=True))
            self.used[place] = self.fresh(place)
        return self.used[place]

    def fresh(self, place: tuple[int, ...]) -> Any:
        """Return an item as it is before its first bin."""
        if self.n_inputs:
            return Mixer(self.n_inputs)
        name = self.name + "".join(f"[{part}]" for part in place)
        return Context(name, self.start(*place))

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
        return b"".join(
            (self.used.get(place) or self.fresh(place)).to_bytes()
            for place in itertools.product(*self.ranges)
        )


# Where contexts of levels begin (7.3): log odds in units of 1/256.


def start_of_block_coded(left: int, up: int, activity: int) -> int:
    """Blocks near coded ones, or with a past, are more often coded."""
    return 500 * left + 150 * up + 110 * activity - 640


def start_of_left_half(_depth: int, balance: int) -> int:
    """The half with the larger averages holds a level more often."""
    return 150 * balance - 90


def start_of_right_half(depth: int, active: int) -> int:
    """Where the left half holds a level, the right one seldom does as well."""
    return max(60 - 150 * depth - 140 * active, -600)


def start_of_significant(q: int, history: int, spatial: int) -> int:
    """Both classes are logarithms of what a level is likely to be."""
    return min(128 * spatial + 77 * history + 128 * q - 1536, 900)


def start_of_negative(sign: int, left: int) -> int:
    """Signs are those of the past and of the level before."""
    return 140 * (4 - sign) + 200 * (1 - left)


def start_of_greater(g: int, magnitude: int) -> int:
    """As `significant`; where little was expected, levels beyond 1 have heavy tails."""
    if g in (1, 11):
        return min(max(230 * (magnitude - 8), -900), 900) + (128 if g == 11 else 0)
    return min(max(154 * (magnitude - 9), min(128 * g - 768, 150)), 900)


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
        self.block_coded = Table("block_coded", 2, 2, 8, start=start_of_block_coded)
        self.left_half = Table("left_half", 6, 3, start=start_of_left_half)
        self.right_half = Table("right_half", 6, 2, start=start_of_right_half)
        self.significant = Table("significant", 2, 24, 16, start=start_of_significant)
        self.negative = Table("negative", 9, 3, start=start_of_negative)
        self.greater = Table("greater", 11, 24, first=1, start=start_of_greater)
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
